//! Values of API keys that name none. On a cluster the controller makes a Secret; here the value is made, told, and kept with
//! `--state`.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use tollgate_engine::meter::{VALUE_RANDOM, generated_value};

/// Values by `namespace/name` of the ApiKey.
#[derive(Default)]
pub struct Generated {
    file: Option<PathBuf>,
    values: BTreeMap<String, String>,
}

impl fmt::Debug for Generated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generated").field("file", &self.file).field("values", &self.values.len()).finish()
    }
}

impl Generated {
    /// What was made in earlier runs with the same state directory.
    ///
    /// # Errors
    ///
    /// When the file is there and cannot be read.
    pub fn open(state: Option<&Path>) -> anyhow::Result<Self> {
        let Some(state) = state else { return Ok(Self::default()) };
        let file = state.join("api-keys.json");
        let values = match fs::read(&file) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).with_context(|| format!("{} cannot be read", file.display()))?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error).with_context(|| format!("{} cannot be read", file.display())),
        };
        Ok(Self { file: Some(file), values })
    }

    /// The value of a key, made if there is none yet.
    pub fn value(&mut self, key: &str) -> &str {
        if !self.values.contains_key(key) {
            let mut random = [0; VALUE_RANDOM];
            aws_lc_rs::rand::fill(&mut random).expect("the system has random numbers");
            self.values.insert(key.to_owned(), generated_value(&random));
            if let Some(file) = &self.file
                && let Err(error) = keep(file, &self.values)
            {
                super::tell(&format!("generated API keys cannot be kept in {}: {error}\n", file.display()));
            }
        }
        &self.values[key]
    }
}

/// Beside the file and then in its place; for nobody else to read.
fn keep(file: &Path, values: &BTreeMap<String, String>) -> io::Result<()> {
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory)?;
    }
    let beside = file.with_extension("new");
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut to = options.open(&beside)?;
    to.write_all(&serde_json::to_vec_pretty(values)?)?;
    fs::rename(&beside, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_kept_for_nobody_else_to_read() {
        let state = tempfile::tempdir().unwrap();
        let first = Generated::open(Some(state.path())).unwrap().value("shop/alice").to_owned();
        let mut again = Generated::open(Some(state.path())).unwrap();
        assert_eq!((again.value("shop/alice"), first.len()), (first.as_str(), 40));
        assert_ne!(again.value("shop/bob"), first);
        #[cfg(unix)]
        {
            let mode = fs::metadata(state.path().join("api-keys.json")).unwrap().permissions();
            assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);
        }
    }
}
