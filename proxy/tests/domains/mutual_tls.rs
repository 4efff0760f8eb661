//! Certificates of clients (section 7.4 of the spec).

use super::*;

fn guarded(name: &str, trust: &str) -> Unit {
    let mut domain = domain(name, &[mapping("", "$default"), mapping("logged", "prod")]);
    domain["mutualTls"] = json!({"truststorePem": trust});
    secured(domain)
}

struct Guarded {
    gateway: Gateway,
    server: Authority,
    issued: Issued,
}

impl Guarded {
    fn new(trust: &str) -> Self {
        let server = Authority::new("server root");
        let issued = server.server(&["*.example.com"]);
        let mut guarded = Self { gateway: gateway(), server, issued };
        guarded.trust(trust);
        guarded
    }

    fn trust(&mut self, trust: &str) {
        let units = vec![
            guarded("api.example.com", trust),
            certificate("api.example.com", &self.issued),
            secured(domain("open.example.com", &[mapping("", "$default")])),
            certificate("open.example.com", &self.issued),
        ];
        publish(&mut self.gateway, &api(), units);
        // One worker: what comes after this request comes after the change.
        assert_eq!(self.gateway.call("GET /pets").status, 200);
    }

    fn client(&self, own: Option<&Issued>) -> TlsClient {
        TlsClient::new(&self.server.pem, own)
    }

    fn status(&self, own: Option<&Issued>) -> Option<u16> {
        self.client(own)
            .call(self.gateway.tls_address.unwrap(), "api.example.com", "GET /pets")
            .ok()
            .map(|reply| reply.status)
    }
}

/// Proves H-MTLS-4, H-MTLS-5, H-MTLS-7, H-EV2-27, H-EV1-11, C92, C93.
#[test]
fn clients_show_a_certificate_that_is_trusted() {
    let (root, stranger) = (Authority::new("root"), Authority::new("stranger"));
    let guarded = Guarded::new(&root.pem);
    let own = root.client("reader");
    assert_eq!(guarded.status(Some(&own)), Some(200));
    assert_eq!(guarded.status(None), None, "no certificate");
    assert_eq!(guarded.status(Some(&stranger.client("reader"))), None, "of another authority");
    assert_eq!(guarded.status(Some(&root.expired_client("reader"))), None, "ended");

    let address = guarded.gateway.tls_address.unwrap();
    let call = |path: &str| {
        guarded.client(Some(&own)).call(address, "api.example.com", &format!("GET {path}")).unwrap().json()
    };
    let event = call("/v2");
    let cert = &event["requestContext"]["authentication"]["clientCert"];
    assert_eq!((&cert["subjectDN"], &cert["issuerDN"]), (&json!("CN=reader"), &json!("CN=root")));
    assert_eq!(cert["clientCertPem"].as_str().unwrap().replace("\r\n", "\n"), own.certificate.replace("\r\n", "\n"));
    assert_eq!(cert["validity"]["notBefore"], "Jan  1 00:00:00 1975 GMT");
    assert!(cert["serialNumber"].as_str().unwrap().contains(':'));
    assert_eq!(&call("/v1")["requestContext"]["identity"]["clientCert"], cert);
    assert_eq!(call("/logged/pets")["target"], "/prod/pets");
    // HTTP backends are told what is mapped and nothing else.
    assert!(!call("/pets").to_string().contains("reader"));
    assert!(call("/mapped").to_string().contains(r#"["x-client-subject","CN=reader"]"#));
    let log = guarded.gateway.stop();
    assert_eq!(log.lines().next(), Some("api.example.com api logged - /logged/pets CN=reader"));
}

/// Proves H-MTLS-4, H-MTLS-6, H-DOM-5.
#[test]
fn there_is_no_way_around() {
    let root = Authority::new("root");
    let guarded = Guarded::new(&root.pem);
    let (gateway, address) = (&guarded.gateway, guarded.gateway.tls_address.unwrap());
    let refused = |reply: tollgate_testkit::Reply| assert_eq!((reply.status, reply.text()), FORBIDDEN);
    // Without TLS.
    refused(gateway.call("GET /pets\nHost: api.example.com"));
    // A handshake for another domain, or for a default endpoint.
    let mut other = guarded.client(None).connect(address, "open.example.com").unwrap();
    refused(other.call("GET /pets\nHost: api.example.com").unwrap());
    assert_eq!(other.call("GET /pets\nHost: open.example.com").unwrap().status, 200);
    let default = TlsClient::new(&gateway.certificate, None);
    let mut default = default.connect(address, "abc123.execute-api.gw.example").unwrap();
    refused(default.call("GET /pets\nHost: api.example.com").unwrap());
    assert_eq!(default.call("GET /pets\nHost: abc123.execute-api.gw.example").unwrap().status, 200, "stays open");
    // Hosts that contradict each other are nobody's.
    let contradiction = "GET http://api.example.com/pets\nHost: abc123.execute-api.gw.example";
    assert_eq!(default.call(contradiction).unwrap().status, 400);
    // A session of a domain that asks nobody for a certificate.
    let client = guarded.client(None);
    let first = client.call(address, "open.example.com", "GET /pets").unwrap();
    assert_eq!(first.status, 200);
    assert!(client.connect(address, "open.example.com").unwrap().is_resumed());
    assert!(client.call(address, "api.example.com", "GET /pets").is_err());
    // An HTTP/2 connection that a browser shares.
    let mut http2 = Http2Client::connect_tls(address, "open.example.com", &guarded.server.pem);
    assert_eq!(http2.call(Request::get("https://api.example.com/pets"), "").status, 421);
    for (authority, host) in [("open", "api"), ("api", "open")] {
        let request = Request::get(format!("https://{authority}.example.com/pets"));
        assert_eq!(http2.call(request.header("host", format!("{host}.example.com")), "").status, 400);
    }
}

/// Proves H-MTLS-8, P5.
#[test]
fn a_truststore_is_changed_while_clients_are_connected() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let (of_old, of_new) = (old.client("of old"), new.client("of new"));
    let mut guarded = Guarded::new(&old.pem);
    let address = guarded.gateway.tls_address.unwrap();
    let mut first = guarded.client(Some(&of_old)).connect(address, "api.example.com").unwrap();
    assert_eq!(first.call("GET /pets\nHost: api.example.com").unwrap().status, 200);
    assert_eq!(guarded.status(Some(&of_new)), None);

    guarded.trust(&format!("{}{}", old.pem, new.pem));
    assert_eq!((guarded.status(Some(&of_old)), guarded.status(Some(&of_new))), (Some(200), Some(200)));
    assert_eq!(first.call("GET /pets\nHost: api.example.com").unwrap().status, 200, "still trusted");

    guarded.trust(&new.pem);
    assert_eq!((guarded.status(Some(&of_old)), guarded.status(Some(&of_new))), (None, Some(200)));
    let reply = first.call("GET /pets\nHost: api.example.com").unwrap();
    assert_eq!((reply.status, reply.text()), FORBIDDEN, "the open connection's certificate is looked at again");
    assert_eq!(reply.header("connection"), Some("close"));
}

/// Proves P3.
#[test]
fn a_truststore_that_cannot_be_read_lets_nobody_in() {
    let root = Authority::new("root");
    let mut guarded = Guarded::new(&root.pem);
    let own = root.client("reader");
    assert_eq!(guarded.status(Some(&own)), Some(200));
    let units = [
        api().units(),
        vec![super::mutual_tls::guarded("api.example.com", "nothing"), certificate("api.example.com", &guarded.issued)],
    ];
    let reports = guarded.gateway.publish(&units.concat());
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].problems[0].path, "mutualTls.truststorePem");
    assert_eq!(guarded.gateway.call("GET /pets").status, 200);
    assert_eq!(guarded.status(Some(&own)), None);
}

/// Switching mutual TLS on reaches connections that were made before.
#[test]
fn a_connection_without_certificate_is_no_longer_good_enough() {
    let root = Authority::new("root");
    let mut guarded = Guarded::new(&root.pem);
    let address = guarded.gateway.tls_address.unwrap();
    let mut open = guarded.client(None).connect(address, "open.example.com").unwrap();
    assert_eq!(open.call("GET /pets\nHost: open.example.com").unwrap().status, 200);
    let units = vec![
        super::mutual_tls::guarded("open.example.com", &root.pem),
        certificate("open.example.com", &guarded.issued),
    ];
    publish(&mut guarded.gateway, &api(), units);
    assert_eq!(guarded.gateway.call("GET /pets").status, 200);
    let reply = open.call("GET /pets\nHost: open.example.com").unwrap();
    assert_eq!((reply.status, reply.text()), FORBIDDEN);
}
