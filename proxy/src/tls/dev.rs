//! A certificate for `tollgate dev`, made here.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Pair;

/// Browsers refuse longer ones (825 days, also for private roots).
const VALID: Duration = Duration::from_secs(800 * 86_400);
/// One that ends sooner than this is made anew.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 86_400);

/// A self-signed certificate for `names`. With `keep_in`, it is written to `tls.crt` and `tls.key` there and used again at the next
/// start, so that a browser has to be told only once to trust it.
pub fn self_signed(names: &[String], keep_in: Option<&Path>) -> io::Result<Pair> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
    if let Some(pair) = keep_in.and_then(|directory| kept(directory, names, now)) {
        return Ok(pair);
    }
    let (certificate, key) = make(names, now).map_err(io::Error::other)?;
    if let Some(directory) = keep_in {
        fs::create_dir_all(directory)?;
        write_private(&directory.join("tls.key"), key.as_bytes())?;
        fs::write(directory.join("tls.crt"), &certificate)?;
    }
    Pair::from_pem(certificate.as_bytes(), key.as_bytes()).map_err(io::Error::other)
}

fn kept(directory: &Path, names: &[String], now: Duration) -> Option<Pair> {
    let certificate = fs::read(directory.join("tls.crt")).ok()?;
    let pair = Pair::from_pem(&certificate, &fs::read(directory.join("tls.key")).ok()?).ok()?;
    let lasts = u64::try_from(pair.not_after).ok()? > (now + RENEW_BEFORE).as_secs();
    let fits = names.iter().all(|name| is_address(name) || pair.names.contains(&name.to_ascii_lowercase()));
    (lasts && fits).then_some(pair)
}

fn is_address(name: &str) -> bool {
    name.parse::<std::net::IpAddr>().is_ok()
}

fn make(names: &[String], now: Duration) -> Result<(String, String), rcgen::Error> {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let mut parameters = rcgen::CertificateParams::new(names)?;
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "Tollgate development");
    parameters.extended_key_usages.push(rcgen::ExtendedKeyUsagePurpose::ServerAuth);
    // A day back, for clocks that differ.
    parameters.not_before = epoch + now.saturating_sub(Duration::from_secs(86_400));
    parameters.not_after = epoch + now + VALID;
    let key = rcgen::KeyPair::generate()?;
    Ok((parameters.self_signed(&key)?.pem(), key.serialize_pem()))
}

fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    // A file that is there keeps its mode, so it is made anew.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(content)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_kept_until_its_names_do_not_do() {
        let directory = tempfile::tempdir().unwrap();
        let keep_in = directory.path().join("tls");
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let der = |pair: &Pair| pair.key.end_entity_cert().unwrap().to_vec();
        let first = self_signed(&names(&["localhost", "*.localhost", "127.0.0.1"]), Some(&keep_in)).unwrap();
        let again = self_signed(&names(&["localhost", "127.0.0.1"]), Some(&keep_in)).unwrap();
        assert_eq!(der(&first), der(&again));
        let mode = fs::metadata(keep_in.join("tls.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let more = self_signed(&names(&["localhost", "api.test"]), Some(&keep_in)).unwrap();
        assert_ne!(der(&first), der(&more));
        assert_eq!(more.names, ["localhost", "api.test"]);
        fs::write(keep_in.join("tls.crt"), "broken").unwrap();
        assert!(self_signed(&names(&["localhost"]), Some(&keep_in)).is_ok());
    }
}
