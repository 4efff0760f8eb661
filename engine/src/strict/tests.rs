use proptest::prelude::*;

use super::*;

/// What the parser gets when the bytes come in pieces of this size.
fn passed(bytes: &[u8], piece: usize) -> Vec<u8> {
    let mut strict = Strict::default();
    let mut out = Vec::new();
    for piece in bytes.chunks(piece) {
        let mut piece = piece.to_vec();
        assert!(strict.check(&mut piece));
        out.extend(piece);
    }
    out
}

const PIECES: [usize; 6] = [1, 2, 3, 7, 50, 10_000];

#[test]
fn clear_requests_pass_as_they_are() {
    let all = concat!(
        "GET /a?x=1 HTTP/1.1\r\nHost: x\r\n\r\n",
        "\r\nPOST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n\r\n#\n\nGET / # \n\n",
        "POST /a HTTP/1.1\r\nTransfer-Encoding:\tChunked \r\n\r\n",
        "5;a=b\r\n\n#\n#\n\r\nA ;x\r\n0123456789\r\n000\r\nX: y\r\n\r\n",
        "POST /a HTTP/1.1\r\ncontent-length:0\r\n\r\n",
        "GET / HTTP/1.1\r\nX-Content-Length: 1, 2\r\nContent-Lengthy: #\r\n\r\n",
    );
    for piece in PIECES {
        assert_eq!(passed(all.as_bytes(), piece), all.as_bytes(), "in pieces of {piece}");
    }
}

/// What is refused is spoiled before the parser has seen the end of it, wherever the pieces begin.
#[test]
fn ambiguous_requests_are_spoiled() {
    for (good, bad) in [
        ("", "GET /a HTTP/1.1\n"),
        ("GET /a HTTP/1.1\r\n", "Host: x\n"),
        ("GET /a HTTP/1.1\r\nHost: x\r\n", "\n"),
        ("", "GET /a#b HTTP/1.1\r\n"),
        ("POST / HTTP/1.1\r\nContent-Length: 3\r\n", "Transfer-Encoding: chunked\r\n"),
        ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n", "content-length: 3\r\n"),
        ("POST / HTTP/1.1\r\nContent-Length: 3\r\n", "Content-Length: 3\r\n"),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\n"),
        ("POST / HTTP/1.1\r\n", "Content-Length: 3, 3\r\n"),
        ("POST / HTTP/1.1\r\n", "Content-Length:\r\n"),
        ("POST / HTTP/1.1\r\n", "Content-Length: 99999999999999999999\r\n"),
        ("POST / HTTP/1.1\r\n", "Transfer-Encoding: gzip, chunked\r\n"),
        ("POST / HTTP/1.1\r\n", "Transfer-Encoding:\r\n"),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "3 \r\n"),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "3\n"),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "3;a=\nb\r\n"),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", ";\r\n"),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;\r\nabc\r\n", "10000000000000000\r\n"),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;\r\nabc\r\n", "ffffffffffffffff\r\n"),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "X: y\n"),
    ] {
        let after = "GET /next HTTP/1.1\r\n\r\n";
        let bytes = format!("{good}{bad}{after}");
        for piece in PIECES {
            let passed = passed(bytes.as_bytes(), piece);
            let spoiled = passed.iter().position(|byte| *byte == SPOIL);
            let spoiled = spoiled.unwrap_or_else(|| panic!("{bad:?} in pieces of {piece}"));
            // Within a chunked body the end of the line itself may be what stops the parser.
            let end = good.len() + bad.len();
            let in_body = good.contains("\r\n\r\n") && spoiled == end && matches!(passed[end - 1], b'\n' | b'\r');
            let stopped = if in_body { end - 1 } else { spoiled };
            assert!((good.len()..end).contains(&stopped), "{bad:?} in pieces of {piece}: {spoiled}");
            assert!(passed[spoiled..].iter().all(|byte| *byte == SPOIL), "{bad:?} in pieces of {piece}: {passed:?}");
        }
    }
}

#[test]
fn endless_lines_are_not_kept() {
    let mut strict = Strict::default();
    for _ in 0..100 {
        assert!(strict.check(&mut [b'a'; 1024]));
        assert!(strict.begun.len() <= MAX_LINE);
    }
}

#[test]
fn who_speaks_something_else_gets_no_answer() {
    for (bytes, speaks) in [
        ("INVALID CONNECTION PREFACE\r\n\r\n", false),
        ("\r\nSSH-2.0-x\r\n", false),
        ("PROXY TCP4 10.1.2.3 127.0.0.1 5000 80\r\n", true),
        ("GET /a HTTP/9.9\r\n", true),
        ("GET /a HTTP/1.1\r\n\r\nEHLO\r\n", true),
    ] {
        let mut strict = Strict::default();
        assert_eq!(strict.check(&mut bytes.as_bytes().to_vec()), speaks, "{bytes:?}");
    }
}

proptest! {
    /// Where the pieces begin makes no difference to what is refused.
    #[test]
    fn pieces_do_not_matter(text in "GET / HTTP/1.1\r\n(GET / HTTP/1.1\r?\n|Content-Length: [0-9]{1,2}\r\n|Transfer-Encoding: chunked\r\n|\r?\n|[0-3]\r\n|[a#\n]){0,12}", piece in 1_usize..9) {
        let whole = passed(text.as_bytes(), 10_000);
        let pieces = passed(text.as_bytes(), piece);
        let first = |bytes: &[u8]| bytes.iter().position(|byte| *byte == SPOIL);
        prop_assert_eq!(first(&whole), first(&pieces));
    }
}
