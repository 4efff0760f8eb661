//! The example with a host of its own: certificates are made here, as its README says, and `tollgate dev` serves it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tollgate_testkit::{Authority, Client, Issued, Program, TlsClient};

/// Long enough for the slowest machine; nothing waits this long unless it fails.
const AMPLE: Duration = Duration::from_secs(30);
const HOST: &str = "partners.example.com";

struct Dev {
    _program: Program,
    directory: tempfile::TempDir,
    http: SocketAddr,
    https: SocketAddr,
}

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/custom-domain")
}

/// What the README has kubectl write.
fn certificates(server: &Issued, truststore: &str) -> String {
    let block = |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<String>();
    format!(
        "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {{name: partners-tls, namespace: partners}}\nstringData:\n  \
         tls.crt: |\n{}  tls.key: |\n{}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: partners-truststore, \
         namespace: partners}}\ndata:\n  ca.crt: |\n{}",
        block(&server.certificate),
        block(&server.key),
        block(truststore)
    )
}

fn serve(certificates: &str) -> Dev {
    let directory = tempfile::tempdir().expect("a directory");
    for entry in fs::read_dir(example()).expect("the example") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, directory.path().join(path.file_name().expect("a name"))).expect("copied");
    }
    fs::write(directory.path().join("certificates.yaml"), certificates).expect("written");
    let program = Program::start(
        Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .args(["dev", "--listen", "127.0.0.1:0", "--tls-listen", "127.0.0.1:0"])
            .arg(directory.path()),
    );
    let http = ([127, 0, 0, 1], program.port_after("http://localhost:")).into();
    let https = ([127, 0, 0, 1], program.port_after("https://…:")).into();
    Dev { _program: program, directory, http, https }
}

/// What the client is answered; `None` when it is not let in.
fn whoami(dev: &Dev, client: &TlsClient) -> Option<(u16, String)> {
    let reply = client.call(dev.https, HOST, "GET /v1/whoami").ok()?;
    Some((reply.status, reply.text().to_owned()))
}

#[test]
fn the_custom_domain_example_does_what_its_readme_says() {
    let readme = fs::read_to_string(example().join("README.md")).expect("the README");
    let said = readme.split("```json\n").nth(1).and_then(|rest| rest.lines().next()).expect("an answer");
    let (authority, partner) = (Authority::new("Example CA"), Authority::new("Partner CA"));
    let server = authority.server(&[HOST]);
    let dev = serve(&certificates(&server, &authority.pem));
    let client = |own: Option<&Issued>| TlsClient::new(&authority.pem, own);
    let (reader, of_partner) = (authority.client("reader"), partner.client("of a partner"));

    assert_eq!(whoami(&dev, &client(Some(&reader))), Some((200, said.to_owned())));
    assert_eq!(whoami(&dev, &client(None)), None, "without a certificate");
    assert_eq!(whoami(&dev, &client(Some(&of_partner))), None, "with one of another authority");
    // Not around it either: over plain HTTP, or by the generated address.
    let plain = |host: &str, path: &str| Client::connect(dev.http).call(&format!("GET {path}\nHost: {host}")).status;
    assert_eq!(plain(HOST, "/v1/whoami"), 403);
    assert_eq!(plain("localhost", "/prod/whoami"), 404);

    // The truststore changes while it runs.
    fs::write(dev.directory.path().join("certificates.yaml"), certificates(&server, &partner.pem)).expect("written");
    let changed = Instant::now();
    while whoami(&dev, &client(Some(&of_partner))).is_none() {
        assert!(changed.elapsed() < AMPLE, "the new truststore does not count");
    }
    assert_eq!(whoami(&dev, &client(Some(&reader))), None, "no longer trusted");
    let checked = Command::new(env!("CARGO_BIN_EXE_tollgate")).arg("check").arg(dev.directory.path()).output();
    let checked = checked.expect("the program starts");
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stdout));
}
