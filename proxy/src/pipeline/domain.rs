//! Custom domains: whether this connection may call one, and which stage the request is for (H-FLOW-1, steps 1, 3 and 5).

use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use http::uri::PathAndQuery;
use http::{Uri, Version};
use rustls::pki_types::UnixTime;
use tollgate_engine::client_cert::ClientCert;
use tollgate_engine::context::DomainFacts;
use tollgate_engine::reject::Reject;

use crate::client_io::{Connection, Security};
use crate::domains::{CompiledDomain, ServedDomain};
use crate::gateway::Served;

/// What a request has from its custom domain, for events and logs.
#[derive(Debug)]
pub(crate) struct OnDomain {
    client_path: Box<str>,
    base_path: Box<str>,
    rule: Option<Box<str>>,
    lower_case_headers: bool,
    client_cert: Option<Rc<ClientCert>>,
}

impl OnDomain {
    pub(crate) fn facts(&self) -> DomainFacts<'_> {
        DomainFacts {
            client_path: &self.client_path,
            base_path: &self.base_path,
            rule: self.rule.as_deref(),
            lower_case_headers: self.lower_case_headers,
            client_cert: self.client_cert.as_deref(),
        }
    }
}

/// A stage found through a custom domain.
pub(super) struct OnStage<'g> {
    pub(super) served: &'g Arc<Served>,
    pub(super) facts: Box<OnDomain>,
    /// The request target with the stage in place of the mapping key (H-EV2-6), if that differs from the client's.
    pub(super) target: Option<Box<Uri>>,
    /// Bytes of the stage segment at the start of the path.
    pub(super) stage_segment: usize,
}

/// Finds the stage of a request on a custom domain.
///
/// # Errors
/// The connection was not made for this domain, its client is not trusted, or no mapping or rule takes the path.
pub(super) fn stage<'g>(
    domain: &'g ServedDomain,
    connection: &Connection,
    head: &http::request::Parts,
) -> Result<OnStage<'g>, Reject> {
    let compiled = &domain.compiled;
    let client_cert = admit(compiled, connection, head.version)?;
    let path = head.uri.path();
    let chosen = compiled.domain.choose(path, &head.headers)?;
    let served = domain.targets[chosen.target].as_ref().map_err(|reject| *reject)?;
    let stage_name = (!served.stage.is_default()).then_some(&*served.stage.stage_name);
    let rest = &path[chosen.strip..];
    let target = (chosen.strip > 0 || stage_name.is_some()).then(|| retarget(stage_name, rest, head.uri.query()));
    let facts = Box::new(OnDomain {
        client_path: path.into(),
        base_path: chosen.base_path.into(),
        rule: chosen.rule.map(Into::into),
        lower_case_headers: compiled.domain.lower_cases_headers(),
        client_cert,
    });
    Ok(OnStage {
        served,
        facts,
        target: target.transpose()?.map(Box::new),
        stage_segment: stage_name.map_or(0, |name| 1 + name.len()),
    })
}

/// `/stage` and what is left of the path. What a string-prefix key leaves may lack its slash (H-APM-7).
fn retarget(stage_name: Option<&str>, rest: &str, query: Option<&str>) -> Result<Uri, Reject> {
    let mut text = String::with_capacity(rest.len() + query.map_or(0, str::len) + stage_name.map_or(0, str::len) + 3);
    if let Some(name) = stage_name {
        text.push('/');
        text.push_str(name);
    }
    if !rest.starts_with('/') && (!rest.is_empty() || text.is_empty()) {
        text.push('/');
    }
    text.push_str(rest);
    if let Some(query) = query {
        text.push('?');
        text.push_str(query);
    }
    PathAndQuery::try_from(text).map(Uri::from).map_err(|_| Reject::BadRequest)
}

/// Whether the connection was made for this domain and its client is let in; its certificate on domains that ask for one.
fn admit(domain: &CompiledDomain, connection: &Connection, version: Version) -> Result<Option<Rc<ClientCert>>, Reject> {
    let own = match connection.security() {
        Security::Plain => None,
        Security::Tls { domain: named, client } => match named {
            Some(named) if **named == *domain.domain.name => Some(client),
            // Another custom domain (H-DOM-5).
            Some(_) => return Err(mismatch(version)),
            None => None,
        },
    };
    let Some(trust) = &domain.trust else { return Ok(None) };
    // Only a handshake that named this very domain was asked for a certificate.
    let Some(client) = own else {
        return Err(if version == Version::HTTP_2 && connection.is_secure() {
            Reject::Misdirected
        } else {
            Reject::ClientCertificate
        });
    };
    let trusted = client.as_ref().filter(|client| client.is_trusted_by(trust, unix_time()));
    match trusted {
        Some(client) => Ok(Some(Rc::clone(&client.facts))),
        None => {
            // The domain changed since the handshake: a new one is needed.
            connection.finish();
            Err(Reject::ClientCertificate)
        }
    }
}

fn mismatch(version: Version) -> Reject {
    if version == Version::HTTP_2 { Reject::Misdirected } else { Reject::DomainMismatch }
}

fn unix_time() -> UnixTime {
    UnixTime::since_unix_epoch(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}
