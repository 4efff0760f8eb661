//! Looking at many bytes at once.

/// Whether all of `bytes` are as wanted. Asked in blocks and without stopping at the first that is not, so that the compiler can look at a block
/// in one step.
pub(crate) fn all(bytes: &[u8], wanted: impl Fn(u8) -> bool) -> bool {
    let (blocks, rest) = bytes.as_chunks::<16>();
    let whole = |block: &[u8]| block.iter().fold(true, |all, &byte| all & wanted(byte));
    blocks.iter().all(|block| whole(block)) && whole(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_byte_is_found_wherever_it_stands() {
        for length in 0..70 {
            let mut bytes = vec![b'a'; length];
            assert!(all(&bytes, |byte| byte == b'a'));
            for at in 0..length {
                bytes[at] = b'b';
                assert!(!all(&bytes, |byte| byte == b'a'), "{at} of {length}");
                bytes[at] = b'a';
            }
        }
    }
}
