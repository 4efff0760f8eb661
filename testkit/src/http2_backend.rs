//! Backends that speak HTTP/2, each stream in the hands of the test.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::Identity;

/// One request as it came.
#[derive(Debug)]
pub struct Http2Call {
    /// Which connection, from 0.
    pub connection: usize,
    pub head: http::request::Parts,
    pub body: RecvStream,
    pub respond: SendResponse<Bytes>,
}

impl Http2Call {
    /// What comes next of the body; `None` at its end.
    pub async fn data(&mut self) -> Option<Bytes> {
        loop {
            let data = self.body.data().await?.unwrap();
            self.body.flow_control().release_capacity(data.len()).unwrap();
            // The last frame may be no more than the end.
            if !data.is_empty() {
                return Some(data);
            }
        }
    }

    /// The rest of the body.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(data) = self.data().await {
            all.extend(data);
        }
        all
    }
}

/// A backend on a thread of its own; it ends with the test program.
#[derive(Debug)]
pub struct Http2Backend {
    tls: Option<Arc<rustls::ServerConfig>>,
    most_streams: Option<u32>,
    leave_after: usize,
}

impl Default for Http2Backend {
    fn default() -> Self {
        Self { tls: None, most_streams: None, leave_after: usize::MAX }
    }
}

impl Http2Backend {
    /// With TLS, where it agrees to HTTP/2.
    #[must_use]
    pub fn tls(self, identity: &Identity) -> Self {
        let mut tls = rustls::ServerConfig::clone(&identity.server);
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Self { tls: Some(Arc::new(tls)), ..self }
    }

    /// Each connection takes so many requests at a time.
    #[must_use]
    pub fn most_streams(self, most: u32) -> Self {
        Self { most_streams: Some(most), ..self }
    }

    /// Each connection ends, in the way that loses nothing, after so many requests.
    #[must_use]
    pub fn leave_after(self, requests: usize) -> Self {
        Self { leave_after: requests, ..self }
    }

    /// Starts it; `answer` is called for each request.
    pub fn start<F, A>(self, answer: F) -> SocketAddr
    where
        F: Fn(Http2Call) -> A + Send + Sync + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (this, answer, count) = (Arc::new(self), Arc::new(answer), AtomicUsize::new(0));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    stream.set_nodelay(true).unwrap();
                    let (this, answer) = (Arc::clone(&this), Arc::clone(&answer));
                    let number = count.fetch_add(1, Ordering::Relaxed);
                    tokio::spawn(async move {
                        match this.tls.clone() {
                            None => this.serve(number, stream, answer).await,
                            Some(tls) => {
                                let accepted = tokio_rustls::TlsAcceptor::from(tls).accept(stream).await;
                                if let Ok(stream) = accepted {
                                    this.serve(number, stream, answer).await;
                                }
                            }
                        }
                    });
                }
            });
        });
        address
    }

    async fn serve<S, F, A>(&self, number: usize, stream: S, answer: Arc<F>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
        F: Fn(Http2Call) -> A + Send + Sync + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        let mut builder = h2::server::Builder::new();
        if let Some(most) = self.most_streams {
            builder.max_concurrent_streams(most);
        }
        let Ok(mut connection) = builder.handshake(stream).await else { return };
        let mut requests = 0;
        while let Some(Ok((request, respond))) = connection.accept().await {
            let (head, body) = request.into_parts();
            tokio::spawn(answer(Http2Call { connection: number, head, body, respond }));
            requests += 1;
            if requests == self.leave_after {
                connection.graceful_shutdown();
            }
        }
    }
}
