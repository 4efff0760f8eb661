//! The id of a request: 11 random bytes in URL-safe base64, 16 characters (H-ERR-7).

use std::fmt;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Sent as `apigw-requestid`, and `$context.requestId` (H-ERR-6). Lives on the stack.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId([u8; RequestId::LENGTH]);

impl RequestId {
    /// Characters of an id; the last one is `=`.
    pub const LENGTH: usize = 16;

    /// The id made of these bytes. They should be hard to guess, not secret.
    pub fn from_random(random: [u8; 11]) -> Self {
        let mut text = [b'='; Self::LENGTH];
        let mut padded = [0_u8; 12];
        padded[..11].copy_from_slice(&random);
        for (group, out) in padded.chunks_exact(3).zip(text.chunks_exact_mut(4)) {
            let bits = u32::from(group[0]) << 16 | u32::from(group[1]) << 8 | u32::from(group[2]);
            for (place, character) in out.iter_mut().enumerate() {
                *character = ALPHABET[(bits >> (18 - 6 * place) & 63) as usize];
            }
        }
        text[Self::LENGTH - 1] = b'=';
        Self(text)
    }

    /// The 16 characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("made of characters of the alphabet and `=`")
    }

    /// The 16 characters.
    pub fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }

    /// The value of the `apigw-requestid` header.
    pub fn header_value(&self) -> http::HeaderValue {
        http::HeaderValue::from_bytes(&self.0).expect("made of visible ASCII characters")
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Proves H-ERR-7.
        #[test]
        fn it_is_url_safe_base64(random: [u8; 11]) {
            let id = RequestId::from_random(random);
            prop_assert_eq!(id.as_str(), URL_SAFE.encode(random));
            prop_assert_eq!(id.to_string(), id.as_str());
            prop_assert_eq!(id.header_value(), id.as_str());
        }
    }

    /// Proves H-ERR-7.
    #[test]
    fn fifteen_characters_and_an_equals_sign() {
        assert_eq!(RequestId::from_random([0xff; 11]).as_str(), "______________8=");
        assert_eq!(RequestId::from_random([0; 11]).as_str(), "AAAAAAAAAAAAAAA=");
    }
}
