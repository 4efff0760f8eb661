//! What the controller reports about an object.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// What the gateway made of the object. Written by the controller only.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The generation of the object that the rest of the status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted: the object is valid. ResolvedRefs: everything it refers to was found and can be read. Programmed: every
    /// ready proxy serves this generation. Ready: all three. While Accepted or ResolvedRefs is False, the last accepted
    /// version keeps serving.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
    /// The generated id of the API, ten characters, as in the addresses of its default endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10))]
    pub api_id: Option<String>,
    /// Where the default endpoint answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub api_endpoint: Option<String>,
    /// How many proxies there are and how many serve this generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_plane: Option<DataPlane>,
    /// The same as text, e.g. 2/2: proxies that serve this generation, of the ready ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub programmed: Option<String>,
}

/// Proxies, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataPlane {
    /// Ready proxies of the fleet that serves the API.
    #[schemars(range(min = 0))]
    pub ready: u32,
    /// Those of them that acknowledged this generation.
    #[schemars(range(min = 0))]
    pub acknowledged: u32,
}

/// `metav1.Condition` with the limits that Kubernetes documents for it.
pub(crate) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 8,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": {
                    "description": "Accepted, ResolvedRefs, Programmed or Ready.",
                    "type": "string", "maxLength": 316
                },
                "status": {
                    "description": "True, False or Unknown.",
                    "type": "string", "enum": ["True", "False", "Unknown"]
                },
                "observedGeneration": {
                    "description": "The generation of the object that the condition describes.",
                    "type": "integer", "format": "int64", "minimum": 0
                },
                "lastTransitionTime": {
                    "description": "When the status last changed.",
                    "type": "string", "format": "date-time"
                },
                "reason": {
                    "description": "One word for programs, from a constant catalogue.",
                    "type": "string", "minLength": 1, "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"
                },
                "message": {
                    "description": "For people: field path, value, rule and fix.",
                    "type": "string", "maxLength": 32768
                }
            }
        }
    })
}
