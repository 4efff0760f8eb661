//! Whether a path begins with a key.

/// How many bytes of `path`, its first slash included, are the key `key`; `None` if it does not begin with it.
///
/// Escapes in the path are read as the characters that they stand for, as routes read them (H-ROUTE-24), so that `/%61dmin` does not go
/// another way than `/admin`. An encoded slash is no slash. With `whole_segments` the key has to end where a segment does.
pub(super) fn matched(path: &str, key: &str, whole_segments: bool) -> Option<usize> {
    let bytes = path.as_bytes();
    let mut at = path.strip_prefix('/').map(|_| 1)?;
    for &wanted in key.as_bytes() {
        let (byte, length) = read(&bytes[at..])?;
        if byte != wanted || (length > 1 && wanted == b'/') {
            return None;
        }
        at += length;
    }
    (!whole_segments || matches!(bytes.get(at), None | Some(b'/'))).then_some(at)
}

/// The first character, and how many bytes it takes.
fn read(bytes: &[u8]) -> Option<(u8, usize)> {
    match bytes {
        [b'%', high, low, ..] => {
            let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => Some((high << 4 | low, 3)),
                _ => Some((b'%', 1)),
            }
        }
        [byte, ..] => Some((*byte, 1)),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_prefix_of_the_path_as_routes_read_it() {
        for (path, key, whole, expected) in [
            ("/orders", "orders", true, Some(7)),
            ("/orders/1", "orders", true, Some(7)),
            ("/orders/", "orders", true, Some(7)),
            ("/ordersandmore", "orders", true, None),
            ("/ordersandmore", "orders", false, Some(7)),
            ("/%6frders/1", "orders", true, Some(9)),
            ("/orders%2Fv1", "orders/v1", false, None),
            ("/orders%2Fv1", "orders", true, None),
            ("/Orders", "orders", true, None),
            ("/order", "orders", true, None),
            ("/", "orders", true, None),
            ("//orders", "orders", true, None),
            ("/%zzorders", "orders", true, None),
            ("*", "orders", true, None),
        ] {
            assert_eq!(matched(path, key, whole), expected, "{path} {key} {whole}");
        }
    }
}
