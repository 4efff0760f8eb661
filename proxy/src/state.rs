//! The last good set of units on disk, so that a restarted proxy serves without a controller (promise P8).
//!
//! The file holds the lines of a feed and at its end a checksum of them. It is replaced as a whole, so a crash leaves the old one or the
//! new one. It holds what the feed brought, private keys of custom domains included, and nothing else: it belongs on a memory-backed volume,
//! and only its owner can read it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tollgate_engine::snapshot::{ContentHash, FORMAT, Line, Unit, UnitId};

use crate::feed::{BadStream, Reader};
use crate::units::{MAX_TOTAL_BYTES, UnitSet};

const FILE: &str = "units.ndjson";
const TEMPORARY: &str = "units.ndjson.new";

/// Where the last good set is kept.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
}

/// Why the file is not used.
#[derive(Debug, thiserror::Error)]
pub enum BadState {
    /// It cannot be read.
    #[error("{path} cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its checksum is missing or is another file's.
    #[error("the file is damaged")]
    Damaged,
    /// Its lines are not a set.
    #[error("the file's lines are not a complete set")]
    Lines(#[source] Option<BadStream>),
}

/// A [`Line::Put`] without a copy of the unit.
#[derive(Serialize)]
struct Put<'a> {
    op: &'static str,
    id: &'a UnitId,
    hash: &'a ContentHash,
    unit: &'a Unit,
}

/// The last line. To a reader of [`Line`]s it is an unknown one.
#[derive(Serialize, Deserialize)]
struct Checksum {
    op: String,
    sha256: String,
}

impl Store {
    /// Makes the directory if it is not there.
    pub fn open(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        Ok(Self { directory: directory.to_owned() })
    }

    /// Writes the set in place of the one before. Blocks on the disk.
    pub fn save(&self, units: &UnitSet) -> io::Result<()> {
        let temporary = self.directory.join(TEMPORARY);
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        let mut out = Summed { out: BufWriter::with_capacity(256 << 10, file), hash: Sha256::new() };
        out.line(&Line::Hello { format: FORMAT })?;
        for (id, held) in units.iter() {
            out.line(&Put { op: "put", id, hash: &held.hash, unit: &held.unit })?;
        }
        out.line(&Line::Commit { revision: 0 })?;
        let checksum = Checksum { op: "checksum".into(), sha256: hex(&out.hash.clone().finalize()) };
        out.line(&checksum)?;
        let file = out.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        fs::rename(&temporary, self.directory.join(FILE))?;
        File::open(&self.directory)?.sync_all()
    }

    /// The set of the last [`Store::save`]; `None` when there never was one. Blocks on the disk.
    pub fn load(&self) -> Result<Option<UnitSet>, BadState> {
        let path = self.directory.join(FILE);
        let bytes = match read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(BadState::Unreadable { path, source }),
        };
        let lines = checked(&bytes).ok_or(BadState::Damaged)?;
        let mut reader = Reader::default();
        reader.push(lines);
        let batch = reader.next_batch().map_err(|error| BadState::Lines(Some(error)))?.ok_or(BadState::Lines(None))?;
        if !reader.is_between_batches() {
            return Err(BadState::Lines(None));
        }
        UnitSet::default().apply(batch).map(Some).map_err(|error| BadState::Lines(Some(error.into())))
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Twice what units may have: room for what writing adds.
    let mut bytes = Vec::new();
    File::open(path)?.take(2 * MAX_TOTAL_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The lines before the checksum, if it is theirs.
fn checked(bytes: &[u8]) -> Option<&[u8]> {
    let start = memchr::memrchr(b'\n', bytes.strip_suffix(b"\n")?)? + 1;
    let (lines, last) = bytes.split_at(start);
    let checksum: Checksum = serde_json::from_slice(last).ok()?;
    (checksum.op == "checksum" && checksum.sha256 == hex(&Sha256::digest(lines))).then_some(lines)
}

struct Summed<W> {
    out: W,
    hash: Sha256,
}

impl<W: Write> Summed<W> {
    fn line(&mut self, line: &impl Serialize) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        self.hash.update(&bytes);
        self.out.write_all(&bytes)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tollgate_engine::snapshot::{Endpoints, ServicePort};

    use super::*;
    use crate::units::{Batch, Held};

    fn set(names: &[&str]) -> UnitSet {
        let mut batch = Batch::new(true);
        for name in names {
            let service = ServicePort { namespace: "shop".into(), name: (*name).into(), port: 80 };
            let id = UnitId::endpoints(&service);
            let unit = Unit::Endpoints(Endpoints { service, endpoints: Vec::new(), protocol: None });
            batch.put(id, Held { hash: ContentHash::of(&unit), unit, bytes: 100 }).unwrap();
        }
        let unknown = UnitId::stage("plan", "x");
        batch.put(unknown, Held { hash: ContentHash::of_json(b"x"), unit: Unit::Unknown, bytes: 10 }).unwrap();
        UnitSet::default().apply(batch).unwrap()
    }

    #[test]
    fn a_set_comes_back_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("state")).unwrap();
        assert!(store.load().unwrap().is_none());
        store.save(&set(&["a", "b"])).unwrap();
        store.save(&set(&["b", "c"])).unwrap();
        let loaded = store.load().unwrap().unwrap();
        assert!(loaded.same_content(&set(&["b", "c"])));
        let units: Vec<_> = loaded.iter().map(|(_, held)| held.unit.clone()).collect();
        let saved: Vec<_> = set(&["b", "c"]).iter().map(|(_, held)| held.unit.clone()).collect();
        assert_eq!(units, saved);
        let files: Vec<_> =
            fs::read_dir(directory.path().join("state")).unwrap().map(|file| file.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        assert_eq!(fs::metadata(&files[0]).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn an_empty_set_is_a_set() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        store.save(&UnitSet::default()).unwrap();
        assert!(store.load().unwrap().is_some_and(|units| units.is_empty()));
    }

    #[test]
    fn a_damaged_file_is_refused_wherever_it_is_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        store.save(&set(&["a"])).unwrap();
        let path = directory.path().join(FILE);
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut flipped = good.clone();
            flipped[at] ^= 1;
            fs::write(&path, &flipped).unwrap();
            assert!(store.load().is_err(), "a bit of byte {at}");
            fs::write(&path, &good[..at]).unwrap();
            assert!(store.load().is_err(), "cut at {at}");
        }
        fs::write(&path, &good).unwrap();
        assert!(store.load().unwrap().is_some());
    }

    #[test]
    fn a_file_of_a_newer_format_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let lines = "{\"op\":\"hello\",\"format\":99}\n{\"op\":\"commit\",\"revision\":0}\n";
        let sum = hex(&Sha256::digest(lines));
        fs::write(directory.path().join(FILE), format!("{lines}{{\"op\":\"checksum\",\"sha256\":\"{sum}\"}}\n"))
            .unwrap();
        assert!(matches!(store.load(), Err(BadState::Lines(Some(BadStream::Format(99))))));
    }
}
