//! An HTTP/1.1 client that sends bytes as they are and shows what comes back.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// A response as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} is there more than once: {:?}", self.headers);
        value
    }

    /// The values of a header, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }

    /// A header of the request that the echo backend saw.
    pub fn seen(&self, name: &str) -> Option<String> {
        let json = self.json();
        let headers = json["headers"].as_array().unwrap();
        let mut values = headers.iter().filter(|pair| pair[0] == name);
        let value = values.next().map(|pair| pair[1].as_str().unwrap().to_owned());
        assert!(values.next().is_none(), "{name} was sent more than once: {json}");
        value
    }
}

/// Nothing in a test takes longer than this; reading fails then.
const DEADLINE: Duration = Duration::from_secs(20);

/// One end of a connection: an HTTP/1.1 client that sends bytes as they are, or what a [`crate::raw_backend`] accepted.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        Self::of(TcpStream::connect(address).unwrap())
    }

    pub fn of(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// `request` in lines; the blank line and, if missing, `Host` are added. A body follows after a blank line.
    pub fn call(&mut self, request: &str) -> Reply {
        let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
        let mut lines: Vec<String> = head.lines().map(|line| line.trim().to_owned()).collect();
        lines[0].push_str(" HTTP/1.1");
        if !lines.iter().any(|line| line.to_ascii_lowercase().starts_with("host:")) {
            lines.push("Host: abc123.execute-api.gw.example".to_owned());
        }
        if !body.is_empty() {
            lines.push(format!("Content-Length: {}", body.len()));
        }
        let head_only = lines[0].starts_with("HEAD ");
        self.send(format!("{}\r\n\r\n{body}", lines.join("\r\n")).as_bytes());
        self.read(head_only)
    }

    pub fn read(&mut self, head_only: bool) -> Reply {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            assert!(self.fill() > 0, "the connection ended early: {:?}", String::from_utf8_lossy(&self.buffer));
        };
        let head = String::from_utf8(self.buffer[..end].to_vec()).unwrap();
        self.buffer.drain(..end + 4);
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let find = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        let body = if head_only || status == 204 || status == 304 {
            Vec::new()
        } else if let Some(length) = find("content-length") {
            self.take(length.parse().unwrap())
        } else if find("transfer-encoding").as_deref() == Some("chunked") {
            self.chunks()
        } else {
            while self.fill() > 0 {}
            std::mem::take(&mut self.buffer)
        };
        Reply { status, headers, body }
    }

    /// Sends as much as the other side takes; it may close before the end.
    pub fn try_send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Bytes up to and including `text`; `None` when the other side closes before.
    pub fn until(&mut self, text: &str) -> Option<String> {
        loop {
            if let Some(at) = self.buffer.windows(text.len()).position(|window| window == text.as_bytes()) {
                let bytes = self.buffer.drain(..at + text.len()).collect();
                return Some(String::from_utf8(bytes).unwrap());
            }
            if self.fill() == 0 {
                return None;
            }
        }
    }

    /// Everything until the other side closes.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.fill() > 0 {}
        std::mem::take(&mut self.buffer)
    }

    /// Whether the other side closes without sending anything more.
    pub fn is_closed(&mut self) -> bool {
        self.fill() == 0 && self.buffer.is_empty()
    }

    /// Sends no more, but still reads.
    pub fn finish(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = loop {
                if let Some(end) = self.buffer.windows(2).position(|window| window == b"\r\n") {
                    break self.take(end + 2);
                }
                assert!(self.fill() > 0, "the body ended early");
            };
            let size = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
            body.extend(self.take(size));
            self.take(2);
            if size == 0 {
                return body;
            }
        }
    }

    pub fn take(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            assert!(self.fill() > 0, "the body ended early");
        }
        self.buffer.drain(..length).collect()
    }

    fn fill(&mut self) -> usize {
        let mut bytes = [0; 16 * 1024];
        let read = match self.stream.read(&mut bytes) {
            Ok(read) => read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("nothing came within {DEADLINE:?}; before that: {:?}", String::from_utf8_lossy(&self.buffer))
            }
            // Closed with bytes unread.
            Err(_) => 0,
        };
        self.buffer.extend_from_slice(&bytes[..read]);
        read
    }
}
