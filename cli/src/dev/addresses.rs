//! The table of addresses that `tollgate dev` prints (design, section 2).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tollgate_engine::snapshot::{ApiIdentity, Stage};

/// Where the proxy listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listeners {
    /// Plain HTTP.
    pub http: SocketAddr,
    /// HTTPS.
    pub https: Option<SocketAddr>,
    /// Health, metrics, configuration.
    pub admin: Option<SocketAddr>,
}

/// APIs and the names of their stages that serve something.
pub type Apis = BTreeMap<(String, String), Api>;

/// One API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Api {
    /// `apiId`
    pub id: String,
    /// Stage names.
    pub stages: Vec<String>,
}

/// The APIs that `stages` belong to.
pub fn apis<'a>(stages: impl Iterator<Item = &'a Stage>) -> Apis {
    let mut apis = Apis::new();
    for stage in stages {
        let ApiIdentity { api_id, namespace, name } = &stage.api;
        let api = apis.entry((namespace.clone(), name.clone())).or_default();
        api.id.clone_from(api_id);
        api.stages.push(stage.stage_name.clone());
    }
    apis.values_mut().for_each(|api| api.stages.sort());
    apis
}

/// The table, with a line break at the end.
pub fn table(apis: &Apis, listeners: &Listeners) -> String {
    let port = |address: SocketAddr, default: u16| match address.port() {
        port if port == default => String::new(),
        port => format!(":{port}"),
    };
    let http = port(listeners.http, 80);
    let mut text = String::new();
    if apis.is_empty() {
        text += "no API is served yet: an HttpApi needs at least one Route and one Stage\n";
    }
    for ((namespace, name), api) in apis {
        text += &format!("HttpApi {namespace}/{name}, apiId {}\n", api.id);
        for stage in &api.stages {
            let path = if stage == "$default" { String::new() } else { format!("{stage}/") };
            let mut label = stage.as_str();
            let mut line = |address: String| {
                text += &format!("  {label:<12}{address}\n");
                label = "";
            };
            if apis.len() == 1 {
                line(format!("http://localhost{http}/{path}"));
            }
            line(format!("http://{}.execute-api.localhost{http}/{path}", api.id));
            line(format!("http://{name}.{namespace}.localhost{http}/{path}"));
            line(format!("http://localhost{http}/_aws/execute-api/{}/{path}", api.id));
        }
    }
    if apis.len() > 1 {
        text += &format!(
            "http://localhost{http}/ answers 404: there are {} APIs, so use one of the addresses above\n",
            apis.len()
        );
    }
    if let Some(https) = listeners.https {
        let https = port(https, 443);
        text += &format!("the same with https://…{https}/, with a certificate that nobody signed (curl -k)\n");
    }
    if let Some(admin) = listeners.admin {
        text += &format!("metrics and what runs: http://{admin}/metrics, /config\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listeners() -> Listeners {
        Listeners { http: "127.0.0.1:8080".parse().expect("an address"), https: None, admin: None }
    }

    fn api(id: &str, stages: &[&str]) -> Api {
        Api { id: id.into(), stages: stages.iter().map(|&stage| stage.into()).collect() }
    }

    #[test]
    fn one_api_is_reached_by_localhost_alone() {
        let apis = Apis::from([(("shop".into(), "books".into()), api("abc", &["$default", "beta"]))]);
        let expected = "\
HttpApi shop/books, apiId abc
  $default    http://localhost:8080/
              http://abc.execute-api.localhost:8080/
              http://books.shop.localhost:8080/
              http://localhost:8080/_aws/execute-api/abc/
  beta        http://localhost:8080/beta/
              http://abc.execute-api.localhost:8080/beta/
              http://books.shop.localhost:8080/beta/
              http://localhost:8080/_aws/execute-api/abc/beta/
";
        assert_eq!(table(&apis, &listeners()), expected);
    }

    #[test]
    fn two_apis_need_their_names() {
        let apis = Apis::from([
            (("shop".into(), "books".into()), api("abc", &["$default"])),
            (("shop".into(), "toys".into()), api("def", &["$default"])),
        ]);
        let text = table(&apis, &listeners());
        assert!(text.contains("answers 404: there are 2 APIs"), "{text}");
        assert!(!text.contains("  http://localhost:8080/\n"), "{text}");
    }

    #[test]
    fn no_api_is_told() {
        assert!(table(&Apis::new(), &listeners()).contains("no API is served yet"));
    }
}
