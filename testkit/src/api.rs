//! Snapshots of small APIs, written as JSON.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tollgate_engine::meter::{Digest, digest, shard_of};
use tollgate_engine::snapshot::{ContentHash, Deployment, Unit};

/// Units of one API `abc123` (`shop/books`), to be completed.
#[derive(Clone, Debug)]
pub struct Api {
    pub deployment: Value,
    pub stages: Vec<Value>,
    pub endpoints: Vec<Value>,
    /// Usage plans and parts of the API keys.
    pub plans: Vec<Value>,
    /// Whole units beside those of the API.
    pub more: Vec<Value>,
    pub credentials: Vec<Value>,
}

impl Api {
    /// Routes to their integrations, all in stage `$default`.
    pub fn new(routes: &[(&str, Value)]) -> Self {
        let api = json!({"apiId": "abc123", "namespace": "shop", "name": "books"});
        let mut integrations = serde_json::Map::new();
        let mut list = Vec::new();
        for (number, (key, backend)) in routes.iter().enumerate() {
            let id = format!("i{number}");
            let mut route =
                json!({"key": key, "source": format!("shop/r{number}"), "target": {"type": "integration", "id": id}});
            if let Some(extra) = backend.get("route") {
                for (name, value) in extra.as_object().unwrap() {
                    route[name] = value.clone();
                }
            }
            if let Some(target) = backend.get("backend") {
                let timeout = backend.get("timeout").and_then(Value::as_u64).unwrap_or(30_000);
                let mut integration =
                    json!({"source": format!("Route/shop/r{number}"), "timeoutInMillis": timeout, "backend": target});
                for name in ["requestParameters", "responseParameters"] {
                    if let Some(parameters) = backend.get(name) {
                        integration[name] = parameters.clone();
                        route["requires"] = json!(["parameterMapping"]);
                    }
                }
                integrations.insert(id, integration);
            }
            list.push(route);
        }
        let deployment = json!({"api": api, "integrations": integrations, "routes": list});
        Self {
            deployment,
            stages: vec![json!({"stageName": "$default"})],
            endpoints: Vec::new(),
            plans: Vec::new(),
            more: Vec::new(),
            credentials: Vec::new(),
        }
    }

    pub fn stage(mut self, stage: Value) -> Self {
        self.stages.push(stage);
        self
    }

    pub fn only_stage(mut self, stage: Value) -> Self {
        self.stages = vec![stage];
        self
    }

    pub fn set(mut self, field: &str, value: Value) -> Self {
        self.deployment[field] = value;
        self
    }

    pub fn endpoints(mut self, service: &str, addresses: &[SocketAddr]) -> Self {
        let list: Vec<Value> =
            addresses.iter().map(|address| json!({"address": address.ip(), "port": address.port()})).collect();
        self.endpoints.push(json!({"service": {"namespace": "shop", "name": service, "port": 80}, "endpoints": list}));
        self
    }

    /// A usage plan `shop/{name}` that contains `stages` of this API.
    pub fn plan(mut self, name: &str, stages: &[&str], mut plan: Value) -> Self {
        plan["kind"] = "plan".into();
        plan["source"] = format!("shop/{name}").into();
        if plan.get("stages").is_none() {
            let stages = stages.iter().map(|stage| json!({"apiId": "abc123", "stageName": stage}));
            plan["stages"] = stages.collect();
        }
        self.plans.push(plan);
        self
    }

    /// An API key `shop/{name}`.
    pub fn key(mut self, name: &str, value: &str, plans: &[&str], extra: &Value) -> Self {
        let plans: Vec<String> = plans.iter().map(|plan| format!("shop/{plan}")).collect();
        let mut key = json!({"digest": digest(value.as_bytes()).to_hex(), "source": format!("shop/{name}"),
            "enabled": true, "plans": plans});
        for (field, value) in extra.as_object().into_iter().flatten() {
            key[field] = value.clone();
        }
        let shard = |key: &Value| Digest::from_hex(key["digest"].as_str()?).map(|digest| shard_of(&digest));
        let same = |unit: &&mut Value| unit["kind"] == "keys" && shard(&unit["keys"][0]) == shard(&key);
        match self.plans.iter_mut().find(same) {
            Some(unit) => unit["keys"].as_array_mut().unwrap().push(key),
            None => self.plans.push(json!({"kind": "keys", "keys": [key]})),
        }
        self
    }

    pub fn unit(mut self, unit: Value) -> Self {
        self.more.push(unit);
        self
    }

    /// Keys in the Secret `shop/{secret}`.
    pub fn credentials(mut self, secret: &str, access_key_id: &str) -> Self {
        self.credentials.push(json!({
            "apiId": "abc123",
            "secret": {"namespace": "shop", "name": secret},
            "accessKeyId": access_key_id,
            "secretAccessKey": "s3cret",
            "sessionToken": "t0ken",
        }));
        self
    }

    pub fn units(&self) -> Vec<Unit> {
        let deployment = serde_json::from_value(self.deployment.clone()).unwrap();
        let hash = ContentHash::of(&deployment as &Deployment);
        let mut units = vec![Unit::Deployment(deployment)];
        for stage in &self.stages {
            let mut stage = stage.clone();
            stage["api"] = self.deployment["api"].clone();
            stage["source"] = "shop/stage".into();
            if stage.get("deployment").is_none() {
                stage["deployment"] = hash.as_str().into();
            }
            units.push(Unit::Stage(serde_json::from_value(stage).unwrap()));
        }
        for credentials in &self.credentials {
            units.push(Unit::Credentials(serde_json::from_value(credentials.clone()).unwrap()));
        }
        for endpoints in &self.endpoints {
            units.push(Unit::Endpoints(serde_json::from_value(endpoints.clone()).unwrap()));
        }
        units.extend(self.plans.iter().map(|plan| serde_json::from_value(plan.clone()).unwrap()));
        units.extend(self.more.iter().map(|unit| serde_json::from_value(unit.clone()).unwrap()));
        units
    }
}

pub fn http(uri: &str) -> Value {
    json!({"backend": {"type": "http", "uri": uri}})
}

pub fn service(name: &str) -> Value {
    json!({"backend": {"type": "service", "service": {"namespace": "shop", "name": name, "port": 80}}})
}

pub fn function(address: SocketAddr, version: &str) -> Value {
    json!({"backend": {"type": "lambda", "functionName": "function", "payloadFormatVersion": version,
        "endpoint": {"type": "url", "url": format!("http://{address}")}}})
}
