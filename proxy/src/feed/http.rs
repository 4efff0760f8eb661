//! Controllers over HTTP: `GET /v1/feed`, `POST /v1/reports`.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use tokio::sync::Mutex;
use tollgate_engine::snapshot::ReportAnswer;
use tracing::warn;

use super::{Chunks, Controller, FeedSettings, Transport};
use crate::hosts::Hosts;
use crate::http_client::{Connection, HttpClient, complete};
use crate::tls::control_config;

/// From the first packet to the head of the answer.
const OPEN_LIMIT: Duration = Duration::from_secs(10);
/// An answer to a report, or the text of a refusal.
const MAX_ANSWER: usize = 64 << 10;
/// Tokens and certificates are a few kilobytes.
const MAX_FILE: u64 = 1 << 20;

/// Reaches controllers by their URLs.
#[derive(Debug)]
pub struct HttpTransport {
    settings: FeedSettings,
    /// Kept for reports. A connection is taken out while it is used, so one that broke is not put back.
    connections: Mutex<HashMap<Controller, Connection>>,
}

impl HttpTransport {
    pub(super) fn new(settings: FeedSettings) -> Self {
        Self { settings, connections: Mutex::default() }
    }

    /// A client with the trust of this moment: the controllers' CA rotates.
    async fn client(&self) -> Result<HttpClient, String> {
        let ca = match &self.settings.ca_file {
            Some(path) => Some(read(path).await?),
            None => None,
        };
        let tls = control_config(ca.as_deref()).map_err(|error| error.to_string())?;
        Ok(HttpClient::new(tls, Hosts::default()))
    }

    async fn connect(&self, controller: &Controller) -> Result<Connection, String> {
        let connecting = self.client().await?;
        let connecting = connecting.connect(&controller.url, controller.address);
        connecting.await.map_err(|error| error.full_text())
    }

    async fn request(&self, request: http::request::Builder, body: Bytes) -> Result<Request<Full<Bytes>>, String> {
        let mut request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        if let Some(path) = &self.settings.token_file {
            let token = read(path).await?;
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
                .map_err(|_| format!("{} holds no token", path.display()))?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        Ok(request)
    }
}

impl Transport for HttpTransport {
    async fn controllers(&self) -> Vec<Controller> {
        let resolver = match self.client().await {
            Ok(client) => client,
            Err(error) => {
                warn!(error, "controllers cannot be trusted");
                return Vec::new();
            }
        };
        let mut controllers = Vec::new();
        for url in &self.settings.controllers {
            match tokio::time::timeout(OPEN_LIMIT, resolver.resolve(url)).await {
                Ok(Ok(addresses)) => {
                    controllers.extend(addresses.into_iter().map(|address| Controller { url: url.clone(), address }));
                }
                Ok(Err(error)) => warn!(%url, error = error.full_text(), "controllers cannot be found"),
                Err(_) => warn!(%url, "controllers cannot be found in time"),
            }
        }
        controllers
    }

    async fn open(&self, controller: &Controller) -> Result<Chunks, String> {
        let opening = async {
            let FeedSettings { fleet, proxy, .. } = &self.settings;
            let uri = endpoint(&controller.url, &format!("/v1/feed?fleet={fleet}&proxy={proxy}"))?;
            let request = self.request(Request::get(uri), Bytes::new()).await?;
            let mut connection = self.connect(controller).await?;
            let answer = connection.send(request).await.map_err(|error| error.full_text())?;
            if answer.status() == StatusCode::OK {
                return Ok((connection, answer.into_body()));
            }
            let answer = complete(answer, MAX_ANSWER).await.map_err(|error| error.full_text())?;
            Err(refusal(answer.status, &answer.body))
        };
        let (connection, body) = tokio::time::timeout(OPEN_LIMIT, opening).await.map_err(|_| "no answer in time")??;
        let chunks = body.into_data_stream().map(move |chunk| {
            // The connection lives as long as the stream that is read from it.
            let _ = &connection;
            chunk.map_err(|error| error.to_string())
        });
        Ok(stream::StreamExt::boxed(chunks))
    }

    async fn report(&self, controller: &Controller, report: Bytes) -> Result<ReportAnswer, String> {
        let uri = endpoint(&controller.url, "/v1/reports")?;
        let request = Request::post(uri).header(CONTENT_TYPE, "application/json");
        let request = self.request(request, report).await?;
        let kept = self.connections.lock().await.remove(controller).filter(|connection| !connection.is_closed());
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.connect(controller).await?,
        };
        let answer = connection.send(request).await.map_err(|error| error.full_text())?;
        let answer = complete(answer, MAX_ANSWER).await.map_err(|error| error.full_text())?;
        let mut connections = self.connections.lock().await;
        connections.retain(|_, connection| !connection.is_closed());
        connections.insert(controller.clone(), connection);
        drop(connections);
        if answer.status != StatusCode::OK {
            return Err(refusal(answer.status, &answer.body));
        }
        serde_json::from_slice(&answer.body).map_err(|error| format!("the answer is not understood: {error}"))
    }
}

fn endpoint(base: &Uri, path: &str) -> Result<Uri, String> {
    let base = base.to_string();
    format!("{}{path}", base.trim_end_matches('/')).parse().map_err(|_| format!("{base}{path} is not a URL"))
}

fn refusal(status: StatusCode, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(200)]);
    format!("status {}: {}", status.as_u16(), text.trim())
}

async fn read(path: &Path) -> Result<String, String> {
    use tokio::io::AsyncReadExt;
    let failed = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let mut text = String::new();
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    file.take(MAX_FILE).read_to_string(&mut text).await.map_err(failed)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;

    use futures::channel::mpsc;
    use http::Response;
    use http_body_util::combinators::UnsyncBoxBody;
    use http_body_util::{Full, StreamBody};
    use hyper::body::{Frame, Incoming};
    use hyper::server::conn::http2;
    use hyper::service::service_fn;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::metrics::Metrics;
    use crate::tls::{Certificates, Pair};

    type Body = UnsyncBoxBody<Bytes, Infallible>;
    type Heard = std::sync::Mutex<Vec<String>>;

    /// Answers as a controller does, and notes what it heard.
    async fn answer(request: Request<Incoming>, heard: Arc<Heard>) -> Result<Response<Body>, Infallible> {
        let token =
            request.headers().get(AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        let uri = request.uri().path_and_query().unwrap().to_string();
        let version = request.version();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        heard.lock().unwrap().push(format!("{version:?} {uri} {token} {}", String::from_utf8_lossy(&body)));
        let text = |text: &'static str| Full::from(text).boxed_unsync();
        Ok(match uri.as_str() {
            "/v1/reports" => Response::new(text(r#"{"resend":true}"#)),
            _ if token.ends_with("first") => {
                // It never ends by itself.
                let (sender, receiver) = mpsc::unbounded();
                sender.unbounded_send(Ok(Frame::data(Bytes::from_static(b"{\"op\":")))).unwrap();
                std::mem::forget(sender);
                Response::new(StreamBody::new(receiver).boxed_unsync())
            }
            _ => Response::builder().status(401).body(text("send a token\n")).unwrap(),
        })
    }

    async fn controller(directory: &Path) -> (Uri, Arc<Heard>) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(directory.join("ca.crt"), made.cert.pem()).unwrap();
        let pair = Pair::from_pem(made.cert.pem().as_bytes(), made.signing_key.serialize_pem().as_bytes()).unwrap();
        let config = Certificates::new(Vec::new(), Some(pair), &Metrics::new()).server_config().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("https://localhost:{}", listener.local_addr().unwrap().port()).parse().unwrap();
        let heard = Arc::new(Heard::default());
        let noted = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, noted) = (TlsAcceptor::from(Arc::clone(&config)), Arc::clone(&noted));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    noted.lock().unwrap().push("connected".into());
                    let service = service_fn(move |request| answer(request, Arc::clone(&noted)));
                    let _ =
                        http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        (uri, heard)
    }

    #[tokio::test]
    async fn the_token_is_read_for_each_request_and_reports_share_a_connection() {
        let directory = tempfile::tempdir().unwrap();
        let (url, heard) = controller(directory.path()).await;
        let token = directory.path().join("token");
        std::fs::write(&token, "first\n").unwrap();
        let transport = HttpTransport::new(FeedSettings {
            controllers: vec![url.clone()],
            ca_file: Some(directory.path().join("ca.crt")),
            token_file: Some(token.clone()),
            fleet: "public".into(),
            proxy: "proxy-0".into(),
            session: "s".into(),
        });
        let controllers = transport.controllers().await;
        let controller = controllers.into_iter().find(|one| one.address.is_ipv4()).unwrap();
        let mut chunks = transport.open(&controller).await.unwrap();
        assert_eq!(chunks.next().await.unwrap().unwrap(), "{\"op\":");
        let answer = transport.report(&controller, "one".into()).await.unwrap();
        assert!(answer.resend);
        std::fs::write(&token, "second").unwrap();
        transport.report(&controller, "two".into()).await.unwrap();
        let refused = transport.open(&controller).await.map(drop).unwrap_err();
        assert_eq!(refused, "status 401: send a token");
        assert_eq!(
            *heard.lock().unwrap(),
            [
                "connected",
                "HTTP/2.0 /v1/feed?fleet=public&proxy=proxy-0 Bearer first ",
                "connected",
                "HTTP/2.0 /v1/reports Bearer first one",
                "HTTP/2.0 /v1/reports Bearer second two",
                "connected",
                "HTTP/2.0 /v1/feed?fleet=public&proxy=proxy-0 Bearer second ",
            ]
        );
        std::fs::write(directory.path().join("ca.crt"), "none").unwrap();
        assert!(
            transport.open(&controller).await.map(drop).unwrap_err().contains("CA bundle holds no usable certificate")
        );
    }
}
