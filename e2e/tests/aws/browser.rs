//! What a real browser makes of our CORS answers: headless Chromium loads a page from one API of the gateway, and the page's script
//! calls others.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tollgate_e2e::suite;

use crate::Shared;

pub(crate) fn tests(shared: &Arc<Shared>) -> Vec<Trial> {
    vec![suite::test("browser::scripts_may_do_what_cors_allows", shared, cors)]
}

/// Debian's, which `cargo xtask test` installs.
const CHROMIUM: &str = "chromium";

const OBJECTS: &str = include_str!("browser.yaml");
const PAGE: &str = include_str!("browser.html");

/// Proves H-CORS-6, H-CORS-9, H-CORS-13, H-CORS-14, H-CORS-16.
async fn cors(shared: &Shared) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let backend = listener.local_addr()?;
    let serving = tokio::spawn(serve(listener));
    let yaml = OBJECTS.replace("BACKEND", &backend.to_string());
    let gateway = shared.parts().gateway("browser", &yaml).await?;
    let told = look(gateway.address).await;
    serving.abort();
    let told = told?;
    let expected = json!({
        "preflighted": "200 PUT custom=1 told=yes hidden=null",
        "cookie": "200 GET cookie=seen=1",
        "anonymous": "200 GET cookie=",
        "any origin": "200 GET",
        "any origin with credentials": "refused",
        "method not listed": "refused",
        "header not listed": "refused",
        "refused origin": "refused",
        "refused origin without preflight": "refused",
        "no token": "401 Unauthorized",
        "no route": "404 Not Found",
        "no integration": "500 Internal Server Error",
        "throttled": "429 Too Many Requests",
        "unreachable": "503 Service Unavailable"
    });
    ensure!(told == expected, "the browser says {told:#}\ninstead of {expected:#}");
    Ok(())
}

/// Opens the page and returns what its script found.
async fn look(gateway: SocketAddr) -> Result<Value> {
    let profile = tempfile::TempDir::with_prefix("tollgate-browser-")?;
    let mut command = tokio::process::Command::new(CHROMIUM);
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        // The script's requests take no time of the page's own clock, which ends when all is done.
        "--virtual-time-budget=30000",
        "--dump-dom",
    ]);
    command.arg(format!("--user-data-dir={}", profile.path().display()));
    command.arg(format!("http://page.default.localhost:{}/", gateway.port()));
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(120), command.output()).await;
    let output = output.context("the browser does not end")?.with_context(|| format!("starting {CHROMIUM}"))?;
    let page = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = || String::from_utf8_lossy(&output.stderr).into_owned();
    let (_, result) = page.split_once("<pre id=\"result\">").with_context(|| format!("{page}\n{}", errors()))?;
    let (result, _) = result.split_once("</pre>").context("the result has an end")?;
    serde_json::from_str(result).with_context(|| format!("{page}\n{}", errors()))
}

/// Serves the page, and answers everything else with what it got. It says of CORS what it should not.
async fn serve(listener: TcpListener) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        tokio::spawn(async move {
            let service = service_fn(async |request| Ok::<_, Infallible>(answer(&request)));
            // A connection that is closed early is no news here.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn answer<B>(request: &http::Request<B>) -> http::Response<Full<Bytes>> {
    let text = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let response = http::Response::builder()
        .header("access-control-allow-origin", "http://elsewhere.example")
        .header("access-control-expose-headers", "x-hidden")
        .header("x-told", "yes")
        .header("x-hidden", "yes");
    let (kind, body) = match request.uri().path() {
        "/" => ("text/html", PAGE.to_owned()),
        _ => {
            let told =
                json!({"method": request.method().as_str(), "cookie": text("cookie"), "custom": text("x-custom")});
            ("application/json", told.to_string())
        }
    };
    let cookie = if request.uri().path() == "/set" { "seen=1; Path=/" } else { "" };
    let response = response.header("content-type", kind);
    let response = if cookie.is_empty() { response } else { response.header("set-cookie", cookie) };
    response.body(Full::new(body.into())).expect("the parts are right")
}
