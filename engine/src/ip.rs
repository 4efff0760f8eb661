//! IP addresses as text without the heap.

use std::fmt;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};

/// An address as text on the stack. An IPv4 address that came in over an IPv6 socket is written as IPv4.
#[derive(Clone, Copy)]
pub struct IpText {
    text: [u8; 39],
    length: u8,
}

impl IpText {
    /// The text of an address.
    pub fn new(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::v4(address),
            IpAddr::V6(address) => {
                let mut text = [0; 39];
                let mut rest = &mut text[..];
                write!(rest, "{address}").expect("an IPv6 address has at most 39 characters");
                let left = rest.len();
                Self { text, length: u8::try_from(39 - left).expect("at most 39") }
            }
        }
    }

    fn v4(address: Ipv4Addr) -> Self {
        let mut text = [0; 39];
        let mut length = 0;
        let mut push = |byte| {
            text[length] = byte;
            length += 1;
        };
        for (index, octet) in address.octets().into_iter().enumerate() {
            if index > 0 {
                push(b'.');
            }
            if octet >= 100 {
                push(b'0' + octet / 100);
            }
            if octet >= 10 {
                push(b'0' + octet / 10 % 10);
            }
            push(b'0' + octet % 10);
        }
        Self { text, length: u8::try_from(length).expect("at most 15") }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("addresses are ASCII")
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..usize::from(self.length)]
    }
}

impl fmt::Display for IpText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for IpText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IpText({self})")
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_text_is_that_of_the_standard_library(v4: u32, v6: u128) {
            let v4 = Ipv4Addr::from_bits(v4);
            let v6 = Ipv6Addr::from_bits(v6);
            prop_assert_eq!(IpText::new(v4.into()).to_string(), v4.to_string());
            prop_assert_eq!(IpText::new(v4.to_ipv6_mapped().into()).to_string(), v4.to_string());
            prop_assert_eq!(IpText::new(v6.into()).to_string(), IpAddr::from(v6).to_canonical().to_string());
        }
    }

    #[test]
    fn the_longest_address_fits() {
        assert_eq!(IpText::new(Ipv6Addr::from_bits(u128::MAX).into()).as_str().len(), 39);
    }
}
