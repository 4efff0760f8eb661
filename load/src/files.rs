//! Which files of a directory are read, and reading them within bounds.

use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::problem::Problem;

/// The largest file that is read. A single object in etcd is at most 1.5 MiB.
pub const MAX_FILE_BYTES: u64 = 8 << 20;

/// The most files that are read.
pub const MAX_FILES: usize = 20_000;

/// The most bytes that are read of all files together.
pub const MAX_TOTAL_BYTES: u64 = 256 << 20;

/// How deep directories may nest.
const MAX_DIRECTORY_DEPTH: u32 = 32;

/// Files that were found, in the order of their paths, and what could not be looked at.
#[derive(Debug, Default)]
pub struct Found {
    /// Each file once, however many links lead to it.
    pub files: Vec<PathBuf>,
    /// Directories that were walked, for watching.
    pub directories: Vec<PathBuf>,
    /// Files and directories that could not be looked at.
    pub problems: Vec<Problem>,
    seen: HashSet<PathBuf>,
}

/// Finds `*.yaml`, `*.yml` and `*.json` under each root; a root that is a file is taken whatever its name.
///
/// Names that begin with a dot are passed over, below a root: editors and Kubernetes' own volume mounts use them.
pub fn find(roots: &[PathBuf]) -> Found {
    let mut found = Found::default();
    for root in roots {
        match fs::metadata(root) {
            Ok(kind) if kind.is_dir() => found.walk(root, 0),
            Ok(_) => found.add_file(root),
            Err(error) => found.problems.push(unreadable(root, &error)),
        }
    }
    found.files.sort();
    found
}

/// Whether a file of this name is read when it lies in a directory.
pub fn is_ours(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
    let extension = path.extension().and_then(|extension| extension.to_str());
    !hidden && extension.is_some_and(|extension| ["yaml", "yml", "json"].contains(&extension))
}

/// The text of a file, if it is UTF-8 and no larger than [`MAX_FILE_BYTES`].
pub fn read(path: &Path) -> Result<String, Box<Problem>> {
    let file = fs::File::open(path).map_err(|error| Box::new(unreadable(path, &error)))?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| Box::new(unreadable(path, &error)))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let message = format!("{} is larger than {} MiB", path.display(), MAX_FILE_BYTES >> 20);
        let problem = Problem::new("FileTooLarge", message);
        return Err(Box::new(problem.fix("split it, or move it out of the directory")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let message = format!("{} is not UTF-8 from byte {at} on", path.display());
        Box::new(Problem::new("NotUtf8", message).fix("save the file as UTF-8"))
    })
}

fn unreadable(path: &Path, error: &std::io::Error) -> Problem {
    let fix = match error.kind() {
        std::io::ErrorKind::NotFound => "check the path; it is read from the directory where the program was started",
        std::io::ErrorKind::PermissionDenied => "give the user of this program the right to read it",
        _ => "see the system's message",
    };
    Problem::new("Unreadable", format!("cannot read {}: {error}", path.display())).fix(fix)
}

impl Found {
    fn walk(&mut self, directory: &Path, depth: u32) {
        let real = match fs::canonicalize(directory) {
            Ok(real) => real,
            Err(error) => return self.problems.push(unreadable(directory, &error)),
        };
        // A link that leads back up finds its directory seen.
        if !self.seen.insert(real) {
            return;
        }
        if depth > MAX_DIRECTORY_DEPTH {
            let message = format!("{} lies deeper than {MAX_DIRECTORY_DEPTH} directories", directory.display());
            return self.problems.push(Problem::new("TooDeep", message).fix("name that directory itself"));
        }
        self.directories.push(directory.to_owned());
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) => return self.problems.push(unreadable(directory, &error)),
        };
        // Sorted, so that of two links to one file the same one is taken every time.
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        for path in paths {
            self.visit(&path, depth);
        }
    }

    fn visit(&mut self, path: &Path, depth: u32) {
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        if hidden {
            return;
        }
        match fs::metadata(path) {
            Ok(kind) if kind.is_dir() => self.walk(path, depth + 1),
            Ok(kind) if kind.is_file() && is_ours(path) => self.add_file(path),
            Err(error) if is_ours(path) => self.problems.push(unreadable(path, &error)),
            Ok(_) | Err(_) => {}
        }
    }

    fn add_file(&mut self, path: &Path) {
        if self.files.len() >= MAX_FILES {
            let code = "TooManyFiles";
            if !self.problems.iter().any(|problem| problem.code == code) {
                let message = format!("more than {MAX_FILES} files; those after {} are left out", path.display());
                self.problems.push(Problem::new(code, message).fix("name a smaller directory"));
            }
            return;
        }
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if self.seen.insert(real) {
            self.files.push(path.to_owned());
        }
    }
}
