//! Quotas on disk: one line for each lease, written before any of it is used, so that a process that is killed never admits more than
//! a quota allows, nor forgets what was used. What it had leased and not used is lost: at most a second's worth for each customer.
//!
//! A line says what is used altogether, so the last one of a customer and day counts and a torn one at the end says nothing.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tollgate_engine::meter::Account;

use super::Customer;
use super::meters::MAX_CUSTOMERS;

const FILE: &str = "usage.jsonl";
const DAY: i64 = 86_400;
/// As long as AWS shows usage (R-PLAN-12).
const DAYS_KEPT: i64 = 90;
/// The file is written anew when it has grown by so many lines beyond what it has to say.
const MAX_SUPERSEDED: usize = 200_000;

/// What a customer had used of a window by the end of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Used {
    window: i64,
    used: u64,
}

/// The file and what it says.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    superseded: usize,
    days: HashMap<Customer, BTreeMap<i64, Used>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line<'a> {
    plan: std::borrow::Cow<'a, str>,
    key: std::borrow::Cow<'a, str>,
    window: i64,
    used: u64,
    /// Days since 1970.
    day: i64,
}

impl Journal {
    /// Reads the file, and writes it anew without what is superseded.
    ///
    /// # Errors
    /// The directory cannot be made, or the file cannot be read or written.
    pub fn open(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let path = directory.join(FILE);
        let text = match fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let mut days = HashMap::new();
        // The last line is whole only if it ends.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in whole.lines() {
            match serde_json::from_str::<Line<'_>>(line) {
                Ok(line) => read(&mut days, &line),
                Err(error) => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display())));
                }
            }
        }
        forget_old(&mut days);
        let file = rewrite(&path, &days)?;
        Ok(Self { path, state: Mutex::new(State { file, superseded: 0, days }) })
    }

    /// Writes down that so much of a window is used or about to be. Returns once the system has it: it survives this process.
    pub(super) fn write(&self, customer: &Customer, window: i64, used: u64, unix_seconds: i64) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let day = unix_seconds / DAY;
        if state.days.len() >= MAX_CUSTOMERS && !state.days.contains_key(customer) {
            return Err(io::Error::other("too many customers used their quotas in the last 90 days"));
        }
        let line = Line { plan: (&*customer.plan).into(), key: (&*customer.who).into(), window, used, day };
        let mut text = serde_json::to_vec(&line).map_err(io::Error::other)?;
        text.push(b'\n');
        state.file.write_all(&text)?;
        read(&mut state.days, &line);
        state.superseded += 1;
        if state.superseded > MAX_SUPERSEDED {
            forget_old(&mut state.days);
            state.file = rewrite(&self.path, &state.days)?;
            state.superseded = 0;
        }
        Ok(())
    }

    /// What a customer used of the latest window.
    pub(super) fn latest(&self, customer: &Customer) -> Option<Account> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut windows = state.days.get(customer)?.values().rev();
        let Used { window, used } = *windows.next()?;
        let before = windows.find(|before| before.window != window).map(|before| (before.window, before.used));
        Some(Account::restored(window, used, before))
    }
}

fn read(days: &mut HashMap<Customer, BTreeMap<i64, Used>>, line: &Line<'_>) {
    let customer = Customer { plan: (&*line.plan).into(), who: (&*line.key).into(), route: "".into() };
    let of_customer = days.entry(customer).or_default();
    of_customer.insert(line.day, Used { window: line.window, used: line.used });
    // Days behind this one were written by a clock that was ahead; what was used on them is in this line.
    of_customer.retain(|day, _| *day > line.day - DAYS_KEPT && *day <= line.day);
}

/// Drops who used nothing for [`DAYS_KEPT`] before the newest day that anybody used anything.
fn forget_old(days: &mut HashMap<Customer, BTreeMap<i64, Used>>) {
    let newest = days.values().filter_map(|days| days.last_key_value()).map(|(day, _)| *day).max().unwrap_or(0);
    days.retain(|_, of_customer| {
        of_customer.retain(|day, _| *day > newest - DAYS_KEPT);
        !of_customer.is_empty()
    });
}

/// Beside the file and then in its place, so that there is one at every moment.
fn rewrite(path: &Path, days: &HashMap<Customer, BTreeMap<i64, Used>>) -> io::Result<File> {
    let beside = path.with_extension("new");
    let mut to = BufWriter::new(File::create(&beside)?);
    for (customer, of_customer) in days {
        for (day, Used { window, used }) in of_customer {
            let (plan, key) = ((&*customer.plan).into(), (&*customer.who).into());
            serde_json::to_writer(&mut to, &Line { plan, key, window: *window, used: *used, day: *day })?;
            to.write_all(b"\n")?;
        }
    }
    to.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&beside, path)?;
    OpenOptions::new().append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn customer(name: &str) -> Customer {
        Customer { plan: "a/gold".into(), who: name.into(), route: "".into() }
    }

    fn latest(journal: &Journal, name: &str) -> Option<(i64, u64)> {
        journal.latest(&customer(name)).map(|account| account.quota())
    }

    #[test]
    fn a_journal_remembers_and_a_torn_line_says_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::open(directory.path()).unwrap();
        journal.write(&customer("a/alice"), 0, 5, 10).unwrap();
        journal.write(&customer("a/alice"), 0, 9, 20).unwrap();
        journal.write(&customer("a/bob"), 0, 1, 20).unwrap();
        drop(journal);
        let path = directory.path().join(FILE);
        let mut text = fs::read(&path).unwrap();
        text.extend_from_slice(br#"{"plan":"a/gold","key":"a/alice","window":0,"used":9"#);
        fs::write(&path, text).unwrap();
        let journal = Journal::open(directory.path()).unwrap();
        assert_eq!(latest(&journal, "a/alice"), Some((0, 9)));
        assert_eq!(latest(&journal, "a/bob"), Some((0, 1)));
        assert_eq!(latest(&journal, "a/carol"), None);
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2, "what is superseded is gone");
    }

    #[test]
    fn who_used_nothing_for_ninety_days_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::open(directory.path()).unwrap();
        journal.write(&customer("a/gone"), 0, 5, 0).unwrap();
        journal.write(&customer("a/alice"), 0, 5, 89 * DAY).unwrap();
        drop(journal);
        let journal = Journal::open(directory.path()).unwrap();
        assert_eq!(latest(&journal, "a/gone"), Some((0, 5)));
        journal.write(&customer("a/alice"), 0, 6, 90 * DAY).unwrap();
        drop(journal);
        let journal = Journal::open(directory.path()).unwrap();
        assert_eq!(latest(&journal, "a/gone"), None);
        assert_eq!(latest(&journal, "a/alice"), Some((0, 6)));
    }

    #[test]
    fn a_file_that_is_none_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        fs::write(&path, "my shopping list\n").unwrap();
        assert!(Journal::open(directory.path()).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "my shopping list\n");
    }
}
