//! Reading what may be megabytes.
//!
//! To find the tag of a tagged enum `serde` first makes a copy of everything in it, and once more for an enum within. Deployments of APIs
//! with thousands of routes travel with every change of one of these, so they are read without: where the tag stands first, as
//! controllers write it, the rest is read as what it says.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::{Backend, ContentHash, Line, RouteTarget, Unit, UnitId};

impl Unit {
    /// Reads a unit; as by `serde`.
    ///
    /// # Errors
    /// The text is not a unit.
    pub fn from_json(text: &str) -> serde_json::Result<Self> {
        if text.starts_with(r#"{"kind":"deployment","#) {
            // The tag is one more field, of which a deployment knows nothing.
            return serde_json::from_str(text).map(Self::Deployment);
        }
        serde_json::from_str(text)
    }
}

impl Line {
    /// Reads a line without its end; as by `serde`.
    ///
    /// # Errors
    /// The text is not a line.
    pub fn from_json(text: &[u8]) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        struct Put<'a> {
            id: UnitId,
            hash: ContentHash,
            #[serde(borrow)]
            unit: &'a RawValue,
        }
        if text.starts_with(br#"{"op":"put","#) {
            let Put { id, hash, unit } = serde_json::from_slice(text)?;
            return Ok(Self::Put { id, hash, unit: Box::new(Unit::from_json(unit.get())?) });
        }
        serde_json::from_slice(text)
    }
}

/// An enum with the tag `type` that thousands of routes hold.
trait Tagged<'de>: Sized {
    /// Reads what comes behind the tag.
    fn behind<D: Deserializer<'de>>(tag: &str, rest: D) -> Result<Self, D::Error>;
    /// Reads the whole, wherever the tag stands.
    fn anywhere(whole: serde_json::Value) -> serde_json::Result<Self>;
}

struct Read<T>(PhantomData<T>);

impl<'de, T: Tagged<'de>> Visitor<'de> for Read<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a type")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<T, A::Error> {
        let first: Option<Cow<'_, str>> = fields.next_key()?;
        if first.as_deref() == Some("type") {
            let tag: Cow<'_, str> = fields.next_value()?;
            return T::behind(&tag, MapAccessDeserializer::new(fields));
        }
        let mut whole = serde_json::Map::new();
        if let Some(name) = first {
            whole.insert(name.into_owned(), fields.next_value()?);
        }
        while let Some((name, value)) = fields.next_entry()? {
            whole.insert(name, value);
        }
        T::anywhere(serde_json::Value::Object(whole)).map_err(A::Error::custom)
    }
}

impl<'de> Tagged<'de> for RouteTarget {
    fn behind<D: Deserializer<'de>>(tag: &str, rest: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Integration {
            id: String,
        }
        match tag {
            "integration" => Integration::deserialize(rest).map(|Integration { id }| Self::Integration { id }),
            "none" => IgnoredAny::deserialize(rest).map(|_| Self::None),
            "refused" => IgnoredAny::deserialize(rest).map(|_| Self::Refused),
            _ => IgnoredAny::deserialize(rest).map(|_| Self::Unknown),
        }
    }

    fn anywhere(whole: serde_json::Value) -> serde_json::Result<Self> {
        Self::deserialize(whole)
    }
}

impl<'de> Tagged<'de> for Backend {
    fn behind<D: Deserializer<'de>>(tag: &str, rest: D) -> Result<Self, D::Error> {
        match tag {
            "service" => Deserialize::deserialize(rest).map(Self::Service),
            "http" => Deserialize::deserialize(rest).map(Self::Http),
            "lambda" => Deserialize::deserialize(rest).map(Self::Lambda),
            "aws" => Deserialize::deserialize(rest).map(Self::Aws),
            _ => IgnoredAny::deserialize(rest).map(|_| Self::Unknown),
        }
    }

    fn anywhere(whole: serde_json::Value) -> serde_json::Result<Self> {
        Self::deserialize(whole)
    }
}

impl<'de> Deserialize<'de> for RouteTarget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Read(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Backend {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Read(PhantomData))
    }
}

// As derived: `remote` leaves both halves to us.

impl Serialize for RouteTarget {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl Serialize for Backend {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}
