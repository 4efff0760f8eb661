//! The certificates that clients are shown, chosen by SNI, followed while their files change.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tracing::{error, info, warn};

use super::{BadPair, Pair, provider};
use crate::metrics::{ControlMetrics, Metrics};

/// Most certificates that are served.
const MAX_CERTIFICATES: usize = 5_000;
/// Largest file taken; a Secret holds at most a megabyte.
const MAX_FILE: u64 = 1 << 20;
/// How often files are looked at. A kubelet brings a changed Secret within a minute, so a second adds nothing to feel.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The server certificates of the process; a clone is a pointer.
#[derive(Clone, Debug)]
pub struct Certificates {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    directories: Vec<PathBuf>,
    table: Arc<Table>,
    loaded: Mutex<Loaded>,
    metrics: ControlMetrics,
}

/// A certificate whose files cannot be used. Its last good version, if there was one, stays in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateProblem {
    /// Directory with `tls.crt` and `tls.key`.
    pub directory: PathBuf,
    /// What is wrong.
    pub why: BadPair,
}

/// What was read, by directory.
#[derive(Debug, Default)]
struct Loaded {
    fallback: Option<Pair>,
    entries: BTreeMap<PathBuf, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    seen: Option<(FileState, FileState)>,
    pair: Option<Pair>,
    problem: Option<BadPair>,
}

/// Tells a changed file without reading it. A kubelet swaps a symbolic link, which changes the inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileState {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl Certificates {
    /// Certificates of directories that hold `tls.crt` and `tls.key`, or sub-directories that do, in the order of their paths.
    /// `fallback` is shown where no certificate of the directories is: without SNI or to unknown names; without it the first
    /// certificate is.
    pub fn new(directories: Vec<PathBuf>, fallback: Option<Pair>, metrics: &Metrics) -> Self {
        let loaded = Mutex::new(Loaded { fallback, entries: BTreeMap::new() });
        let shared = Shared { directories, table: Arc::default(), loaded, metrics: metrics.control().clone() };
        let certificates = Self { shared: Arc::new(shared) };
        certificates.publish(&certificates.lock());
        certificates.refresh();
        certificates
    }

    /// TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1. Handshakes see certificates as they are at that moment.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.shared.table) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Tickets, encrypted with keys that rotate and never leave the process: they work on every worker and cost no memory.
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 1;
        Ok(Arc::new(config))
    }

    /// Whether there is anything to show to a client.
    pub fn is_empty(&self) -> bool {
        self.shared.table.state.load().default.is_none()
    }

    /// What cannot be used at the moment.
    pub fn problems(&self) -> Vec<CertificateProblem> {
        let loaded = self.lock();
        let problem = |(directory, entry): (&PathBuf, &Entry)| {
            entry.problem.clone().map(|why| CertificateProblem { directory: directory.clone(), why })
        };
        loaded.entries.iter().filter_map(problem).collect()
    }

    /// Looks at the files and takes over what changed. Blocks on the file system.
    pub fn refresh(&self) {
        let mut loaded = self.lock();
        let mut found = Vec::new();
        for directory in &self.shared.directories {
            match pairs_below(directory) {
                Ok(pairs) => found.extend(pairs),
                Err(error) => {
                    // Whatever was read from there before stays.
                    warn!(%error, directory = %directory.display(), "certificate directory cannot be read");
                    found.extend(loaded.entries.keys().filter(|path| path.starts_with(directory)).cloned());
                }
            }
        }
        if found.len() > MAX_CERTIFICATES {
            error!(count = found.len(), limit = MAX_CERTIFICATES, "too many certificates, the last ones are left out");
            found.truncate(MAX_CERTIFICATES);
        }
        let before = loaded.entries.len();
        loaded.entries.retain(|path, _| found.contains(path));
        let mut changed = loaded.entries.len() != before;
        for path in found {
            changed |= loaded.entries.entry(path.clone()).or_default().refresh(&path);
        }
        if changed {
            self.publish(&loaded);
        }
    }

    /// Looks at the files every second, for as long as the process lives.
    pub async fn watch(self) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let this = self.clone();
            if let Err(error) = tokio::task::spawn_blocking(move || this.refresh()).await {
                error!(%error, "certificates could not be looked at");
            }
        }
    }

    fn publish(&self, loaded: &Loaded) {
        let pairs: Vec<&Pair> = loaded.entries.values().filter_map(|entry| entry.pair.as_ref()).collect();
        let metrics = &self.shared.metrics;
        metrics.certificates.set(i64::try_from(pairs.len()).unwrap_or(i64::MAX));
        let refused = loaded.entries.values().filter(|entry| entry.problem.is_some()).count();
        metrics.certificates_refused.set(i64::try_from(refused).unwrap_or(i64::MAX));
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are exact in 53 bits")]
        metrics.certificate_expiry.set(pairs.iter().map(|pair| pair.not_after).min().unwrap_or(0) as f64);
        self.shared.table.state.store(Arc::new(Names::of(loaded.fallback.as_ref(), &pairs)));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Loaded> {
        self.shared.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Reads the pair again if its files changed; whether anything is different now.
    fn refresh(&mut self, directory: &Path) -> bool {
        let (certificate, key) = (directory.join("tls.crt"), directory.join("tls.key"));
        let seen = FileState::of(&certificate).zip(FileState::of(&key));
        if seen.is_some() && seen == self.seen {
            return false;
        }
        self.seen = seen;
        let result = read("tls.crt", &certificate)
            .and_then(|certificate| Ok((certificate, read("tls.key", &key)?)))
            .and_then(|(certificate, key)| Pair::from_pem(&certificate, &key));
        match result {
            Ok(pair) => {
                info!(directory = %directory.display(), names = %pair, "certificate loaded");
                self.pair = Some(pair);
                self.problem = None;
                true
            }
            Err(why) => {
                let news = self.problem.as_ref() != Some(&why);
                if news {
                    let kept = self.pair.is_some();
                    warn!(directory = %directory.display(), error = %why, kept, "certificate cannot be used");
                }
                self.problem = Some(why);
                news
            }
        }
    }
}

impl FileState {
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

fn read(file: &'static str, path: &Path) -> Result<Vec<u8>, BadPair> {
    let unreadable = |why: String| BadPair::Unreadable { file, why };
    let mut bytes = Vec::new();
    let source = File::open(path).map_err(|error| unreadable(error.to_string()))?;
    source.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() as u64 > MAX_FILE { Err(unreadable(format!("more than {MAX_FILE} bytes"))) } else { Ok(bytes) }
}

/// The directory itself or those directly below it, ordered. Names that begin with two dots are the kubelet's own.
fn pairs_below(directory: &Path) -> io::Result<Vec<PathBuf>> {
    if directory.join("tls.crt").exists() || directory.join("tls.key").exists() {
        return Ok(vec![directory.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        if !entry.file_name().as_encoded_bytes().starts_with(b"..") && path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// What handshakes look names up in.
#[derive(Debug, Default)]
struct Table {
    state: ArcSwap<Names>,
}

#[derive(Debug, Default)]
struct Names {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what follows `*.`.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    default: Option<Arc<CertifiedKey>>,
}

impl Names {
    /// Of two certificates with one name the one that ends later counts, so that a renewal beside the old one takes over.
    fn of(fallback: Option<&Pair>, pairs: &[&Pair]) -> Self {
        let mut names = Self::default();
        let mut ordered: Vec<&Pair> = pairs.to_vec();
        ordered.sort_by_key(|pair| pair.not_after);
        for pair in fallback.into_iter().chain(ordered) {
            for name in &pair.names {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut names.wildcard, parent),
                    None => (&mut names.exact, name.as_str()),
                };
                map.insert(name.to_owned(), Arc::clone(&pair.key));
            }
        }
        names.default = fallback.or(pairs.first().copied()).map(|pair| Arc::clone(&pair.key));
        names
    }

    /// Exact before wildcard, and a wildcard stands for one label.
    fn find(&self, name: Option<&str>) -> Option<&Arc<CertifiedKey>> {
        let Some(name) = name else { return self.default.as_ref() };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let wildcard = || name.split_once('.').and_then(|(_, parent)| self.wildcard.get(parent));
        self.exact.get(&name).or_else(wildcard).or(self.default.as_ref())
    }
}

impl ResolvesServerCert for Table {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.state.load().find(hello.server_name()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_pair(directory: &Path, names: &[&str]) -> Vec<u8> {
        fs::create_dir_all(directory).unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        // As a kubelet does it, a new file takes the old one's place.
        for (file, content) in [("tls.crt", made.cert.pem()), ("tls.key", made.signing_key.serialize_pem())] {
            let temporary = directory.join(format!("{file}.new"));
            fs::write(&temporary, content).unwrap();
            fs::rename(temporary, directory.join(file)).unwrap();
        }
        made.cert.der().to_vec()
    }

    fn shown(certificates: &Certificates, name: Option<&str>) -> Option<Vec<u8>> {
        certificates.shared.table.state.load().find(name).map(|key| key.end_entity_cert().unwrap().to_vec())
    }

    #[test]
    fn names_choose_the_certificate() {
        let root = tempfile::tempdir().unwrap();
        let first = write_pair(&root.path().join("a"), &["a.example.com"]);
        let wild = write_pair(&root.path().join("b"), &["*.example.com", "example.com"]);
        let exact = write_pair(&root.path().join("c"), &["shop.example.com"]);
        fs::create_dir(root.path().join("..2026_data")).unwrap();
        let certificates = Certificates::new(vec![root.path().to_owned()], None, &Metrics::new());
        for (name, expected) in [
            (Some("a.example.com"), &first),
            (Some("SHOP.example.com"), &exact),
            (Some("shop.example.com."), &exact),
            (Some("other.example.com"), &wild),
            (Some("example.com"), &wild),
            (Some("x.y.example.com"), &first),
            (Some("example.org"), &first),
            (None, &first),
        ] {
            assert_eq!(shown(&certificates, name).as_ref(), Some(expected), "{name:?}");
        }
        assert_eq!(certificates.problems(), []);
    }

    #[test]
    fn a_changed_pair_takes_over_and_a_broken_one_keeps_the_old() {
        let root = tempfile::tempdir().unwrap();
        let metrics = Metrics::new();
        let old = write_pair(root.path(), &["a.example.com"]);
        let certificates = Certificates::new(vec![root.path().to_owned()], None, &metrics);
        assert_eq!(shown(&certificates, None), Some(old));
        let new = write_pair(root.path(), &["a.example.com"]);
        certificates.refresh();
        assert_eq!(shown(&certificates, None).as_ref(), Some(&new));

        let other = rcgen::generate_simple_self_signed(["b.example.com".to_owned()]).unwrap();
        fs::write(root.path().join("tls.key"), other.signing_key.serialize_pem()).unwrap();
        certificates.refresh();
        assert_eq!(shown(&certificates, None).as_ref(), Some(&new), "the last good one stays");
        assert!(matches!(certificates.problems()[..], [CertificateProblem { why: BadPair::Mismatch { .. }, .. }]));
        assert_eq!(metrics.control().certificates_refused.get(), 1);
        assert_eq!(metrics.control().certificates.get(), 1);

        fs::remove_file(root.path().join("tls.key")).unwrap();
        certificates.refresh();
        assert_eq!(shown(&certificates, None).as_ref(), Some(&new));
        assert!(matches!(certificates.problems()[..], [CertificateProblem { why: BadPair::Unreadable { .. }, .. }]));

        let newest = write_pair(root.path(), &["a.example.com"]);
        certificates.refresh();
        assert_eq!(shown(&certificates, None), Some(newest));
        assert_eq!(certificates.problems(), []);
        assert_eq!(metrics.control().certificates_refused.get(), 0);
    }

    #[test]
    fn a_directory_that_goes_takes_its_certificate_along() {
        let root = tempfile::tempdir().unwrap();
        let a = write_pair(&root.path().join("a"), &["a.example.com"]);
        let b = write_pair(&root.path().join("b"), &["b.example.com"]);
        let certificates = Certificates::new(vec![root.path().to_owned()], None, &Metrics::new());
        assert_eq!(shown(&certificates, Some("b.example.com")), Some(b));
        fs::remove_dir_all(root.path().join("b")).unwrap();
        certificates.refresh();
        assert_eq!(shown(&certificates, Some("b.example.com")), Some(a.clone()));
        fs::remove_dir_all(root.path()).unwrap();
        certificates.refresh();
        assert_eq!(shown(&certificates, None), Some(a), "an unreadable root keeps what it had");
    }

    #[test]
    fn the_fallback_is_for_names_that_no_directory_has() {
        let root = tempfile::tempdir().unwrap();
        let real = write_pair(&root.path().join("a"), &["a.example.com"]);
        let fallback = super::super::self_signed(&["localhost".to_owned()], None).unwrap();
        let certificates = Certificates::new(vec![root.path().to_owned()], Some(fallback.clone()), &Metrics::new());
        let fallback = fallback.key.end_entity_cert().unwrap().to_vec();
        assert_eq!(shown(&certificates, Some("a.example.com")), Some(real));
        assert_eq!(shown(&certificates, Some("b.example.com")), Some(fallback.clone()));
        assert_eq!(shown(&certificates, None), Some(fallback));
    }

    #[test]
    fn nothing_to_show_is_known() {
        let certificates = Certificates::new(Vec::new(), None, &Metrics::new());
        assert!(certificates.is_empty());
        assert!(certificates.server_config().is_ok());
    }
}
