//! Settings from the command line and the environment. [`Args`] is what clap reads, as text; [`Settings`] is what the
//! program runs with. The step between them reports every bad setting, not only the first.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::feed::auth::AllowedAccount;
use crate::feed::parse_fleet;
use crate::lease::Timings;

/// The Tollgate controller: watches the cluster, translates, publishes the feed and writes status.
#[derive(Clone, Debug, Parser)]
#[command(name = "tollgate-controller", version)]
pub struct Args {
    /// Address of the feed, HTTP/2 over TLS.
    #[arg(long, env = "TOLLGATE_FEED_LISTEN", default_value = "0.0.0.0:8443")]
    pub feed_listen: String,
    /// Address of /livez, /readyz, /metrics and /log, plain HTTP.
    #[arg(long, env = "TOLLGATE_ADMIN_LISTEN", default_value = "0.0.0.0:8081")]
    pub admin_listen: String,
    /// The controller's own namespace: its Lease, and the feed's CA.
    #[arg(long, env = "TOLLGATE_NAMESPACE", default_value = "")]
    pub namespace: String,
    /// Unique name of this replica; in a cluster the pod's name.
    #[arg(long, env = "TOLLGATE_IDENTITY", default_value = "")]
    pub identity: String,
    /// Domain under which every API is reachable as {apiId}.execute-api.{baseDomain}.
    #[arg(long, env = "TOLLGATE_BASE_DOMAIN", default_value = "localhost")]
    pub base_domain: String,
    /// What addresses in `status.apiEndpoint` begin with: `http`, or `https` when the proxies or what is in front of them
    /// serve TLS.
    #[arg(long, env = "TOLLGATE_ENDPOINT_SCHEME", default_value = "http")]
    pub endpoint_scheme: String,
    /// DNS names and addresses in the feed's serving certificate; repeat or separate with commas.
    #[arg(long, env = "TOLLGATE_FEED_DNS_NAMES", value_delimiter = ',', default_value = "localhost,127.0.0.1")]
    pub feed_dns_names: Vec<String>,
    /// ServiceAccount that may read the feed: [FLEET=]NAMESPACE/NAME, where FLEET is public or private and binds the
    /// account to that fleet; repeat or separate with commas.
    #[arg(long = "proxy-service-account", env = "TOLLGATE_PROXY_SERVICE_ACCOUNTS", value_delimiter = ',')]
    pub proxy_service_accounts: Vec<String>,
    /// Watch only these namespaces; repeat or separate with commas. Without it: all.
    #[arg(long, env = "TOLLGATE_WATCH_NAMESPACES", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,
    /// Log filter, e.g. `info` or `info,tollgate_controller::feed=debug`.
    #[arg(long, env = "TOLLGATE_LOG", default_value = "info")]
    pub log: String,
    /// Log as JSON lines (true) or as text (false).
    #[arg(long, env = "TOLLGATE_LOG_JSON", default_value = "true", num_args = 0..=1, default_missing_value = "true")]
    pub log_json: String,
    /// How long others wait after the last renewal before they take the lease.
    // 15/10/2 s are what client-go's leader election uses; operators know them.
    #[arg(long, env = "TOLLGATE_LEASE_DURATION", default_value = "15s")]
    pub lease_duration: String,
    /// How long the holder acts on a lease that it could not renew; less than the duration.
    #[arg(long, env = "TOLLGATE_LEASE_RENEW_DEADLINE", default_value = "10s")]
    pub lease_renew_deadline: String,
    /// Time between two looks at the lease.
    #[arg(long, env = "TOLLGATE_LEASE_RETRY", default_value = "2s")]
    pub lease_retry: String,
    /// After this silence a proxy no longer counts in `Programmed n/m`.
    // Long enough for a paused virtual machine to come back, short enough that a vanished node does not hold up a rollout.
    #[arg(long, env = "TOLLGATE_PROXY_TIMEOUT", default_value = "60s")]
    pub proxy_timeout: String,
    /// A kubeconfig file; without it: in-cluster credentials, else the usual kubeconfig.
    #[arg(long, env = "TOLLGATE_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
}

/// What the program runs with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// See [`Args::feed_listen`].
    pub feed_listen: SocketAddr,
    /// See [`Args::admin_listen`].
    pub admin_listen: SocketAddr,
    /// See [`Args::namespace`].
    pub namespace: String,
    /// See [`Args::identity`].
    pub identity: String,
    /// See [`Args::base_domain`].
    pub base_domain: String,
    /// See [`Args::endpoint_scheme`].
    pub https: bool,
    /// See [`Args::feed_dns_names`].
    pub feed_names: Vec<String>,
    /// See [`Args::proxy_service_accounts`].
    pub proxy_accounts: Vec<AllowedAccount>,
    /// Empty: all.
    pub watch_namespaces: Vec<String>,
    /// See [`Args::log`].
    pub log: String,
    /// See [`Args::log_json`].
    pub log_json: bool,
    /// Of the lease.
    pub lease: Timings,
    /// See [`Args::proxy_timeout`].
    pub proxy_timeout: Duration,
    /// See [`Args::kubeconfig`].
    pub kubeconfig: Option<PathBuf>,
}

/// Everything that is wrong with the settings, one line each.
#[derive(Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct BadSettings(pub Vec<String>);

impl fmt::Display for BadSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl TryFrom<Args> for Settings {
    type Error = BadSettings;

    fn try_from(args: Args) -> Result<Self, BadSettings> {
        let Args {
            feed_listen,
            admin_listen,
            namespace,
            identity,
            base_domain,
            endpoint_scheme,
            feed_dns_names,
            proxy_service_accounts,
            watch_namespaces,
            log,
            log_json,
            lease_duration,
            lease_renew_deadline,
            lease_retry,
            proxy_timeout,
            kubeconfig,
        } = args;
        let mut bad = BadSettings::default();
        let lease = Timings {
            duration: bad.check("--lease-duration", &lease_duration, parse_duration),
            renew_deadline: bad.check("--lease-renew-deadline", &lease_renew_deadline, parse_duration),
            retry: bad.check("--lease-retry", &lease_retry, parse_duration),
        };
        if bad.0.is_empty() && !(lease.retry < lease.renew_deadline && lease.renew_deadline < lease.duration) {
            bad.0.push("--lease-retry must be below --lease-renew-deadline, and that below --lease-duration".into());
        }
        if lease.duration < Duration::from_secs(1) && bad.0.is_empty() {
            bad.0.push("--lease-duration: a Lease counts whole seconds; use at least 1s".into());
        }
        let settings = Self {
            feed_listen: bad.check("--feed-listen", &feed_listen, parse_address),
            admin_listen: bad.check("--admin-listen", &admin_listen, parse_address),
            namespace: bad.check("--namespace", &namespace, |text| parse_label(text, 63)),
            identity: bad.check("--identity", &identity, |text| parse_label(text, 253)),
            base_domain: bad.check("--base-domain", &base_domain, |text| parse_label(text, 253)),
            https: bad.check("--endpoint-scheme", &endpoint_scheme, parse_scheme),
            feed_names: bad.check_all("--feed-dns-names", &feed_dns_names, |text| parse_label(text, 253)),
            proxy_accounts: bad.check_all("--proxy-service-account", &proxy_service_accounts, parse_allowed_account),
            watch_namespaces: bad.check_all("--watch-namespaces", &watch_namespaces, |text| parse_label(text, 63)),
            log,
            log_json: bad.check("--log-json", &log_json, |text| text.parse().map_err(|_| "use true or false")),
            lease,
            proxy_timeout: bad.check("--proxy-timeout", &proxy_timeout, parse_duration),
            kubeconfig,
        };
        if proxy_service_accounts.iter().all(|text| text.trim().is_empty()) {
            bad.0.push("--proxy-service-account is missing: name the proxies' ServiceAccount as NAMESPACE/NAME".into());
        }
        if let Err(error) = settings.log.parse::<tracing_subscriber::EnvFilter>() {
            bad.0.push(format!("--log {:?}: {error}", settings.log));
        }
        if bad.0.is_empty() { Ok(settings) } else { Err(bad) }
    }
}

impl BadSettings {
    fn check<T, E: fmt::Display>(&mut self, name: &str, text: &str, parse: impl Fn(&str) -> Result<T, E>) -> T
    where
        T: Fallback,
    {
        parse(text.trim()).unwrap_or_else(|error| {
            self.0.push(format!("{name} {text:?}: {error}"));
            T::fallback()
        })
    }

    fn check_all<T, E: fmt::Display>(
        &mut self,
        name: &str,
        texts: &[String],
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        let mut values = Vec::new();
        for text in texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty()) {
            match parse(text) {
                Ok(value) => values.push(value),
                Err(error) => self.0.push(format!("{name} {text:?}: {error}")),
            }
        }
        values
    }
}

/// A value to go on with while the other settings are checked; never seen by anyone, because a problem was noted.
trait Fallback {
    fn fallback() -> Self;
}

impl Fallback for String {
    fn fallback() -> Self {
        Self::new()
    }
}

impl Fallback for bool {
    fn fallback() -> Self {
        false
    }
}

impl Fallback for Duration {
    fn fallback() -> Self {
        Self::ZERO
    }
}

impl Fallback for SocketAddr {
    fn fallback() -> Self {
        Self::from(([127, 0, 0, 1], 0))
    }
}

fn parse_address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "use ADDRESS:PORT, for example 0.0.0.0:8443 or [::]:8443")
}

fn parse_label(text: &str, longest: usize) -> Result<String, String> {
    if text.is_empty() {
        return Err("must not be empty".into());
    }
    if text.len() > longest {
        return Err(format!("is {} characters long; at most {longest}", text.len()));
    }
    if let Some(wrong) = text.chars().find(|c| !c.is_ascii_alphanumeric() && !"-._:".contains(*c)) {
        return Err(format!("{wrong:?} is not allowed; use letters, digits, '-', '.' and ':'"));
    }
    Ok(text.to_owned())
}

fn parse_scheme(text: &str) -> Result<bool, &'static str> {
    match text {
        "http" => Ok(false),
        "https" => Ok(true),
        _ => Err("use http or https"),
    }
}

fn parse_allowed_account(text: &str) -> Result<AllowedAccount, &'static str> {
    let (fleet, account) = match text.split_once('=') {
        Some((fleet, account)) => (Some(parse_fleet(fleet).ok_or("the fleet is public or private")?), account),
        None => (None, text),
    };
    let (namespace, name) = account.split_once('/').ok_or("use NAMESPACE/NAME or FLEET=NAMESPACE/NAME")?;
    if namespace.is_empty() || name.is_empty() || name.contains('/') {
        return Err("use NAMESPACE/NAME or FLEET=NAMESPACE/NAME");
    }
    Ok(AllowedAccount { fleet, namespace: namespace.to_owned(), name: name.to_owned() })
}

/// `500ms`, `60s`, `5m` or `1h`.
fn parse_duration(text: &str) -> Result<Duration, &'static str> {
    const RULE: &str = "use a whole number above 0 with ms, s, m or h, for example 60s";
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u32 = number.parse().map_err(|_| RULE)?;
    let unit = match unit {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        "h" => Duration::from_secs(3600),
        _ => return Err(RULE),
    };
    if number == 0 { Err(RULE) } else { Ok(unit * number) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::Fleet;

    fn args(more: &[&str]) -> Args {
        let least =
            ["tollgate-controller", "--namespace", "tg", "--identity", "tg-0", "--proxy-service-account", "tg/proxy"];
        Args::try_parse_from(least.iter().chain(more)).unwrap()
    }

    #[test]
    fn defaults_hold() {
        let settings = Settings::try_from(args(&[])).unwrap();
        assert_eq!(settings.feed_listen.port(), 8443);
        assert_eq!(settings.lease.duration, Duration::from_secs(15));
        assert_eq!(settings.proxy_timeout, Duration::from_secs(60));
        assert_eq!(settings.feed_names, ["localhost", "127.0.0.1"]);
        assert!(settings.watch_namespaces.is_empty());
        assert!(!settings.https);
    }

    #[test]
    fn every_bad_setting_is_reported() {
        let bad = Settings::try_from(args(&[
            "--feed-listen",
            "8443",
            "--endpoint-scheme",
            "tcp",
            "--proxy-timeout",
            "soon",
            "--proxy-service-account",
            "edge=a/b",
            "--log",
            "a=b=c",
        ]))
        .unwrap_err();
        assert_eq!(bad.0.len(), 5, "{bad}");
        assert!(bad.0[0].starts_with("--feed-listen \"8443\": use ADDRESS:PORT"), "{bad}");
    }

    #[test]
    fn lease_timings_must_rise() {
        let bad = Settings::try_from(args(&["--lease-renew-deadline", "20s"])).unwrap_err();
        assert_eq!(bad.0.len(), 1, "{bad}");
    }

    #[test]
    fn an_account_may_be_bound_to_a_fleet() {
        let settings = Settings::try_from(args(&["--proxy-service-account", "private=tg/inner"])).unwrap();
        assert_eq!(settings.proxy_accounts[0].fleet, None);
        assert_eq!(settings.proxy_accounts[1].fleet, Some(Fleet::Private));
        assert_eq!(settings.proxy_accounts[1].name, "inner");
    }
}
