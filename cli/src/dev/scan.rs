//! Which files changed since the last look, and reading them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::path::{self, Path, PathBuf};
use std::time::SystemTime;

use crate::load::files::{self, Found};
use crate::load::{Parsed, parse_file};
use crate::problem::Problem;

/// Looks at files again and again.
#[derive(Debug)]
pub struct Scanner {
    roots: Vec<PathBuf>,
    known: BTreeMap<PathBuf, Stamp>,
    /// Files that held objects and were found gone or empty once.
    doubted: BTreeSet<PathBuf>,
}

/// What tells that a file is another than before.
#[derive(Clone, Debug, PartialEq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    inode: u64,
}

/// What a look found.
#[derive(Debug, Default)]
pub struct Scan {
    /// Files that changed; `None`: gone.
    pub changed: Vec<(PathBuf, Option<Parsed>)>,
    /// Files that need a second look before they are believed.
    pub doubtful: bool,
    /// Directories, for watching.
    pub directories: Vec<PathBuf>,
    /// What could not be looked at.
    pub problems: Vec<Problem>,
}

impl Scanner {
    /// Looks at what is below `roots`.
    pub fn new(roots: Vec<PathBuf>) -> Self {
        Self { roots, known: BTreeMap::new(), doubted: BTreeSet::new() }
    }

    /// Reads what changed since the last look, and `touched` files (absolute paths) even if they look the same.
    ///
    /// `held` says whether a file held objects when it was last read: such a file is doubted once when it is gone or empty,
    /// because that is what a file looks like while an editor saves it.
    pub fn scan(&mut self, touched: &BTreeSet<PathBuf>, held: impl Fn(&Path) -> bool) -> Scan {
        let Found { files, directories, mut problems, .. } = files::find(&self.roots);
        let mut scan = Scan { directories, ..Scan::default() };
        let gone: Vec<PathBuf> = self.known.keys().filter(|path| files.binary_search(path).is_err()).cloned().collect();
        for path in gone {
            if self.believe(&path, held(&path), true, &mut scan) {
                self.known.remove(&path);
                scan.changed.push((path, None));
            }
        }
        let mut bytes = 0;
        for path in files {
            let Ok(metadata) = path.metadata() else { continue };
            bytes += metadata.len();
            if bytes > files::MAX_TOTAL_BYTES {
                let message =
                    format!("more than {} MiB of files; {} is left out", files::MAX_TOTAL_BYTES >> 20, path.display());
                problems.push(Problem::new("TooLarge", message).fix("name a smaller directory"));
                break;
            }
            let stamp = Stamp::of(&metadata);
            let named = || path::absolute(&path).is_ok_and(|path| touched.contains(&path));
            if self.known.get(&path) == Some(&stamp) && !self.doubted.contains(&path) && !named() {
                continue;
            }
            let parsed = parse_file(&path);
            let empty = parsed.objects.is_empty() && parsed.refused.is_empty() && !parsed.unnamed;
            if self.believe(&path, held(&path), empty, &mut scan) {
                self.known.insert(path.clone(), stamp);
                scan.changed.push((path, Some(parsed)));
            }
        }
        scan.problems = problems;
        scan
    }

    fn believe(&mut self, path: &Path, held: bool, nothing: bool, scan: &mut Scan) -> bool {
        let believed = !(nothing && held) || self.doubted.contains(path);
        if believed {
            self.doubted.remove(path);
        } else {
            self.doubted.insert(path.to_owned());
            scan.doubtful = true;
        }
        believed
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Self { modified: metadata.modified().ok(), bytes: metadata.len(), inode }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";

    fn names(scan: &Scan) -> Vec<(String, bool)> {
        let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
        scan.changed.iter().map(|(path, parsed)| (name(path), parsed.is_some())).collect()
    }

    #[test]
    fn a_file_is_read_when_it_changed_and_believed_gone_at_the_second_look() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.yaml");
        fs::write(&path, MAP).expect("written");
        let mut scanner = Scanner::new(vec![directory.path().to_owned()]);
        let nothing = BTreeSet::new();
        assert_eq!(names(&scanner.scan(&nothing, |_| false)), [("a.yaml".to_owned(), true)]);
        assert_eq!(names(&scanner.scan(&nothing, |_| true)), []);
        assert_eq!(names(&scanner.scan(&BTreeSet::from([path.clone()]), |_| true)), [("a.yaml".to_owned(), true)]);
        fs::remove_file(&path).expect("removed");
        let first = scanner.scan(&nothing, |_| true);
        assert!(first.doubtful && first.changed.is_empty());
        assert_eq!(names(&scanner.scan(&nothing, |_| true)), [("a.yaml".to_owned(), false)]);
    }

    #[test]
    fn a_file_that_is_empty_while_it_is_saved_changes_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.yaml");
        fs::write(&path, MAP).expect("written");
        let mut scanner = Scanner::new(vec![directory.path().to_owned()]);
        let nothing = BTreeSet::new();
        scanner.scan(&nothing, |_| false);
        fs::write(&path, "").expect("emptied");
        let first = scanner.scan(&nothing, |_| true);
        assert!(first.doubtful && first.changed.is_empty());
        fs::write(&path, MAP).expect("written");
        let second = scanner.scan(&nothing, |_| true);
        assert_eq!(names(&second), [("a.yaml".to_owned(), true)]);
        assert!(!second.doubtful);
    }
}
