//! The command line of `tollgate-proxy`, parsed once into the types that the rest uses. Every option has an environment variable.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Parser;
use http::{HeaderValue, Uri};
use tollgate_engine::throttle::AccountLimit;

use crate::access_log::Destination;
use crate::usage::Topology;

/// The data plane of Tollgate: serves the APIs that its controllers publish.
#[derive(Clone, Debug, Parser)]
#[command(name = "tollgate-proxy", version, about)]
pub struct Args {
    /// Address of the plain HTTP listener
    #[arg(long, env = "TOLLGATE_LISTEN", value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Address of the HTTPS listener; needs at least one --tls-certificate
    #[arg(long, env = "TOLLGATE_TLS_LISTEN", value_name = "ADDR")]
    pub tls_listen: Option<SocketAddr>,
    /// Directory with tls.crt and tls.key, as a kubernetes.io/tls Secret is mounted; may be given more than once, the first is
    /// shown to clients that name no other. Changed files are taken up within seconds
    #[arg(long, env = "TOLLGATE_TLS_CERTIFICATE", value_name = "DIR", value_delimiter = ',')]
    pub tls_certificate: Vec<PathBuf>,
    /// Address of the admin port: /livez, /readyz, /metrics, /config, /loglevel
    #[arg(long, env = "TOLLGATE_ADMIN", value_name = "ADDR", default_value = "127.0.0.1:8081")]
    pub admin: SocketAddr,
    /// Controllers' feed, https://host:port; a host may have several addresses. Without it the proxy serves what --state holds
    #[arg(long, env = "TOLLGATE_FEED", value_name = "URL", value_delimiter = ',')]
    pub feed: Vec<Uri>,
    /// PEM file of the certificates that controllers are signed with
    #[arg(long, env = "TOLLGATE_FEED_CA", value_name = "FILE")]
    pub feed_ca: Option<PathBuf>,
    /// File of the token that proves to controllers who this proxy is
    #[arg(long, env = "TOLLGATE_FEED_TOKEN", value_name = "FILE")]
    pub feed_token: Option<PathBuf>,
    /// Which APIs to serve: public (endpointType REGIONAL) or private
    #[arg(long, env = "TOLLGATE_FLEET", default_value = "public")]
    pub fleet: String,
    /// Name of this proxy in status and traces
    #[arg(long, env = "TOLLGATE_NAME", default_value = "proxy")]
    pub name: String,
    /// Directory for the last good configuration, served after a restart while no controller answers
    #[arg(long, env = "TOLLGATE_STATE", value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Worker threads [default: one per CPU that this process may use]
    #[arg(long, env = "TOLLGATE_WORKERS", value_name = "N")]
    pub workers: Option<NonZeroUsize>,
    /// Suffix of generated host names: {apiId}.execute-api.DOMAIN
    #[arg(long, env = "TOLLGATE_BASE_DOMAIN", value_name = "DOMAIN", default_value = "localhost")]
    pub base_domain: String,
    /// Account that events and logs name
    #[arg(long, env = "TOLLGATE_ACCOUNT_ID", default_value = "000000000000")]
    pub account_id: String,
    /// Region that ARNs name
    #[arg(long, env = "TOLLGATE_REGION", default_value = "local")]
    pub region: String,
    /// How long a stopping proxy goes on accepting, so that load balancers notice: 10s, 500ms
    #[arg(long, env = "TOLLGATE_MIN_DRAIN", value_name = "TIME", default_value = "10s")]
    pub min_drain: Time,
    /// How long requests in flight are waited for after that
    #[arg(long, env = "TOLLGATE_MAX_DRAIN", value_name = "TIME", default_value = "60s")]
    pub max_drain: Time,
    /// Where access-log entries go: stdout, off, or a file
    #[arg(long, env = "TOLLGATE_ACCESS_LOG", default_value = "stdout")]
    pub access_log: Destination,
    /// Valkey or Redis 7 where proxies share the counts of usage plans, redis://host:port or rediss://host:port for TLS; of a cluster
    /// or of sentinels several. Without it each proxy counts for itself
    #[arg(long, env = "TOLLGATE_USAGE_STORE", value_name = "URL", value_delimiter = ',')]
    pub usage_store: Vec<String>,
    /// What --usage-store names: single, cluster, or sentinel:NAME for sentinels that know the primary as NAME
    #[arg(long, env = "TOLLGATE_USAGE_STORE_TOPOLOGY", default_value = "single")]
    pub usage_store_topology: Topology,
    /// File with the password of the store
    #[arg(long, env = "TOLLGATE_USAGE_STORE_PASSWORD_FILE", value_name = "FILE")]
    pub usage_store_password_file: Option<PathBuf>,
    /// PEM file of the certificates to trust for rediss://, instead of the system's
    #[arg(long, env = "TOLLGATE_USAGE_STORE_CA", value_name = "FILE")]
    pub usage_store_ca: Option<PathBuf>,
    /// Throttles of stages, of routes and of --account-throttle count over all proxies with this --usage-store. Without it each proxy has
    /// them for itself
    #[arg(long, env = "TOLLGATE_SHARED_THROTTLES")]
    pub shared_throttles: bool,
    /// Base URL of an OpenTelemetry collector (OTLP over HTTP)
    #[arg(long, env = "TOLLGATE_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<Uri>,
    /// Share of the requests without a traceparent that get a span, 0 to 1
    #[arg(long, env = "TOLLGATE_TRACE_RATIO", value_name = "RATIO", default_value_t = 0.01)]
    pub trace_ratio: f64,
    /// What all APIs of this proxy (with --shared-throttles: of all proxies) may do together, e.g. 10000:5000. No limit when absent, where AWS has these two
    #[arg(long, env = "TOLLGATE_ACCOUNT_THROTTLE", value_name = "RATE:BURST")]
    pub account_throttle: Option<AccountThrottle>,
    /// Expect a PROXY protocol header (v1 or v2) on every client connection. Only behind a load balancer that sends it: anybody else
    /// could forge client addresses
    #[arg(long, env = "TOLLGATE_PROXY_PROTOCOL")]
    pub proxy_protocol: bool,
    /// How many entries at the end of X-Forwarded-For were written by proxies that are trusted
    #[arg(long, env = "TOLLGATE_TRUSTED_HOPS", value_name = "N", default_value_t = 0)]
    pub trusted_hops: u8,
    /// Via of requests to backends
    #[arg(long, env = "TOLLGATE_VIA", value_name = "TEXT", default_value = "HTTP/1.1 AmazonAPIGateway")]
    pub via: HeaderValue,
    /// What to log: error, warn, info, debug, or directives such as info,tollgate_proxy::feed=debug
    #[arg(long, env = "TOLLGATE_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,
    /// Form of our own log
    #[arg(long, env = "TOLLGATE_LOG_FORMAT", value_enum, default_value_t = LogFormat::Plain)]
    pub log_format: LogFormat,
}

/// Form of the program's own log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Plain,
    /// One JSON object a line.
    Json,
}

/// Requests a second, and the size of the bucket: `10000:5000`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AccountThrottle(pub AccountLimit);

impl FromStr for AccountThrottle {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once(':').and_then(|(rate, burst)| {
            let rate = rate.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate >= 0.0)?;
            Some(AccountLimit { rate, burst: burst.parse().ok()? })
        });
        let limit = parsed.ok_or("write requests a second and the size of the bucket, e.g. 10000:5000")?;
        Ok(Self(limit))
    }
}

/// A length of time as people write it: `10s`, `500ms`, `2m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Duration);

/// Why a text is not a length of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a length of time: write a whole number and ms, s or m, e.g. 10s")]
pub struct TimeError(String);

impl FromStr for Time {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let error = || TimeError(text.to_owned());
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let number: u64 = text[..digits].parse().map_err(|_| error())?;
        let duration = match &text[digits..] {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number.checked_mul(60).ok_or_else(error)?),
            _ => return Err(error()),
        };
        Ok(Self(duration))
    }
}

impl Args {
    /// What is wrong with settings that are each well-formed, all of it.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.listen.is_none() && self.tls_listen.is_none() {
            problems.push("there is nothing to listen on: set --listen or --tls-listen".to_owned());
        }
        if self.tls_listen.is_some() && self.tls_certificate.is_empty() {
            problems.push("--tls-listen is set, but there is no certificate: add --tls-certificate DIR".to_owned());
        }
        if self.feed.is_empty() && self.state.is_none() {
            problems.push("there is nowhere to get a configuration from: set --feed or --state".to_owned());
        }
        for url in &self.feed {
            if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none() {
                problems.push(format!("--feed {url} is not a URL: write https://host:port"));
            }
        }
        if self.shared_throttles && self.usage_store.is_empty() {
            problems
                .push("--shared-throttles is set, but there is nowhere to share them: set --usage-store".to_owned());
        }
        if !(0.0..=1.0).contains(&self.trace_ratio) {
            problems.push(format!("--trace-ratio {} is not between 0 and 1", self.trace_ratio));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        let parse = |text: &str| text.parse::<Time>().map(|time| time.0).ok();
        assert_eq!(parse("10s"), Some(Duration::from_secs(10)));
        assert_eq!(parse("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse("2m"), Some(Duration::from_secs(120)));
        for text in ["", "10", "s", "-1s", "1.5s", "1h"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_throttle_is_a_rate_and_a_burst() {
        let parse = |text: &str| text.parse::<AccountThrottle>().map(|limit| (limit.0.rate, limit.0.burst)).ok();
        assert_eq!(parse("10000:5000"), Some((10_000.0, 5_000)));
        // As Helm writes large numbers.
        assert_eq!(parse("1e+06:1"), Some((1_000_000.0, 1)));
        assert_eq!(parse("0.5:0"), Some((0.5, 0)));
        for text in ["", "10", "10:", ":10", "-1:5", "inf:5", "NaN:5", "10:-5", "10:5:1"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn every_bad_setting_is_reported() {
        let args =
            Args::parse_from(["tollgate-proxy", "--tls-listen", "[::]:8443", "--feed", "/x", "--trace-ratio", "2"]);
        assert_eq!(args.problems().len(), 3, "{:?}", args.problems());
        let args = Args::parse_from(["tollgate-proxy", "--listen", "[::]:8080", "--feed", "https://a:1,https://b:2"]);
        assert_eq!((args.problems().len(), args.feed.len()), (0, 2));
    }
}
