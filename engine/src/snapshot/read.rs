//! Reading what may be megabytes.
//!
//! To find the tag of a tagged enum `serde` first makes a copy of everything in it, and once more for an enum within. Deployments of APIs
//! with thousands of routes travel with every change of one of these, so they are read without: where the tag stands first, as
//! controllers write it, the rest is read as what it says.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{ContentHash, Line, Unit, UnitId};

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
