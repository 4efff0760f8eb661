//! An HTTP/2 client.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

use crate::client::Reply;

/// One HTTP/2 connection.
#[derive(Debug)]
pub struct Http2Client {
    runtime: Runtime,
    sender: SendRequest<Full<Bytes>>,
}

impl Http2Client {
    /// With prior knowledge (RFC 9113 section 3.3).
    pub fn connect(address: SocketAddr) -> Self {
        Self::start(async move { TcpStream::connect(address).await.unwrap() })
    }

    /// Over TLS; the server has to agree to `h2` and to prove `name` with the certificate `trust`.
    pub fn connect_tls(address: SocketAddr, name: &str, trust: &str) -> Self {
        let config = tollgate_proxy::tls::control_config(Some(trust)).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        Self::start(async move {
            let stream = TcpStream::connect(address).await.unwrap();
            let stream = TlsConnector::from(Arc::clone(&config)).connect(name, stream).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            stream
        })
    }

    fn start<S>(connect: impl Future<Output = S>) -> Self
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let sender = runtime.block_on(async {
            let io = TokioIo::new(connect.await);
            let (sender, connection) = http2::Builder::new(TokioExecutor::new()).handshake(io).await.unwrap();
            tokio::spawn(connection);
            sender
        });
        Self { runtime, sender }
    }

    /// Sends a request whose URI is absolute.
    pub fn call(&mut self, request: http::request::Builder, body: &str) -> Reply {
        self.try_call(request, body).unwrap()
    }

    /// As [`Http2Client::call`]; an error when the stream ends early.
    pub fn try_call(&mut self, request: http::request::Builder, body: &str) -> hyper::Result<Reply> {
        let request: Request<Full<Bytes>> = request.body(Full::from(body.to_owned())).unwrap();
        let answered = async {
            self.sender.ready().await?;
            let (head, body) = self.sender.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes().to_vec();
            let headers = head.headers.iter();
            let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
            Ok(Reply { status: head.status.as_u16(), headers, body })
        };
        self.runtime.block_on(answered)
    }

    /// Sends a request and gives it up when `until` returns.
    pub fn give_up(&mut self, request: http::request::Builder, until: impl FnOnce()) {
        let request: Request<Full<Bytes>> = request.body(Full::default()).unwrap();
        let answer = self.runtime.spawn(self.sender.send_request(request));
        until();
        answer.abort();
    }

    /// Whether the server has asked for no more requests.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}
