//! Text that must not be seen: secret access keys and session tokens (promise P7).

use std::fmt;

use aws_lc_rs::constant_time;
use serde::{Deserialize, Serialize};

/// A secret. `Debug` hides it, and there is no `Display`; it travels in its unit and nowhere else.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(Box<str>);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Whether `text` is the secret; takes the same time whatever it is.
    pub fn is(&self, text: &str) -> bool {
        constant_time::verify_slices_are_equal(self.0.as_bytes(), text.as_bytes()).is_ok()
    }

    /// The text, to reckon with.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves P7.
    #[test]
    fn secrets_do_not_show() {
        let secret = Secret::new("s3cret");
        assert_eq!(format!("{secret:?} {:#?}", Some(&secret)), "(secret) Some(\n    (secret),\n)");
        assert!(secret.is("s3cret") && !secret.is("") && !secret.is("S3cret"));
    }
}
