//! Tells when files change: the system's own notifications, and a look at the directory now and then for file systems that
//! give none.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::settle::{Settle, Step};
use crate::load::files::MAX_FILES;

/// How often to look although nothing was told: network file systems and container mounts tell nothing.
const LOOK: Duration = Duration::from_secs(1);

/// How often to look when the system tells nothing at all.
const LOOK_ALONE: Duration = Duration::from_millis(80);

/// What the main loop of `tollgate dev` waits for.
#[derive(Debug)]
pub enum Signal {
    /// Something happened to these files.
    Files(Step, Vec<PathBuf>),
    /// The watcher lost events.
    Lost,
    /// The program is asked to end.
    Stop,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Look at the files; these were named by events.
    Look(BTreeSet<PathBuf>),
    /// End.
    Stop,
}

/// Waits for changes.
#[derive(Debug)]
pub struct Watch {
    sender: Sender<Signal>,
    receiver: Receiver<Signal>,
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    settle: Settle,
    touched: BTreeSet<PathBuf>,
}

impl Watch {
    /// Watches nothing yet; the error is for the user, who loses nothing but promptness.
    pub fn new() -> (Self, Option<notify::Error>) {
        let (sender, receiver) = channel();
        let told = sender.clone();
        let made = notify::recommended_watcher(move |event| {
            if let Some(signal) = signal(event) {
                // Nobody receives any more when the program ends.
                let _ = told.send(signal);
            }
        });
        let (watcher, error) = match made {
            Ok(watcher) => (Some(watcher), None),
            Err(error) => (None, Some(error)),
        };
        let watch = Self {
            sender,
            receiver,
            watcher,
            watched: BTreeSet::new(),
            settle: Settle::default(),
            touched: BTreeSet::new(),
        };
        (watch, error)
    }

    /// Where to send [`Signal::Stop`].
    pub fn sender(&self) -> Sender<Signal> {
        self.sender.clone()
    }

    /// Watches these directories from now on, each for itself. Gives up notifications if the system refuses one.
    pub fn directories(&mut self, directories: impl IntoIterator<Item = PathBuf>) -> Option<notify::Error> {
        let wanted: BTreeSet<PathBuf> = directories.into_iter().collect();
        let Some(watcher) = &mut self.watcher else { return None };
        for gone in self.watched.difference(&wanted) {
            // A directory that is gone is not watched any more anyway.
            let _ = watcher.unwatch(gone);
        }
        for new in wanted.difference(&self.watched) {
            match watcher.watch(new, RecursiveMode::NonRecursive) {
                Err(error) if new.exists() => {
                    self.watcher = None;
                    return Some(error);
                }
                // What was made and removed meanwhile makes events in its parent.
                Ok(()) | Err(_) => {}
            }
        }
        self.watched = wanted;
        None
    }

    /// Something read needs a second look soon.
    pub fn doubt(&mut self, now: Instant) {
        self.settle.event(Step::Doubt, now);
    }

    /// Blocks until there is something to do.
    pub fn wait(&mut self) -> Next {
        let look = Instant::now() + if self.watcher.is_some() { LOOK } else { LOOK_ALONE };
        loop {
            let now = Instant::now();
            if self.settle.take(now) || now >= look {
                return Next::Look(std::mem::take(&mut self.touched));
            }
            let until = self.settle.due().map_or(look, |due| due.min(look));
            match self.receiver.recv_timeout(until.saturating_duration_since(now)) {
                Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return Next::Stop,
                Ok(Signal::Files(step, paths)) => {
                    self.settle.event(step, Instant::now());
                    let room = MAX_FILES.saturating_sub(self.touched.len());
                    self.touched.extend(paths.into_iter().take(room));
                }
                Ok(Signal::Lost) => self.settle.event(Step::Part, Instant::now()),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

/// The directory whose entries tell about a root: the root itself, or that of a file, since saving replaces the file.
pub fn directory_of(root: &Path) -> PathBuf {
    if root.is_dir() {
        return root.to_owned();
    }
    match root.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn signal(event: Result<notify::Event, notify::Error>) -> Option<Signal> {
    let Ok(event) = event else { return Some(Signal::Lost) };
    if event.need_rescan() {
        return Some(Signal::Lost);
    }
    let step = step(event.kind)?;
    let paths: Vec<PathBuf> = event.paths.into_iter().filter(|path| concerns(path)).collect();
    (!paths.is_empty()).then_some(Signal::Files(step, paths))
}

/// Not the swap files of editors; but names with two dots, by which Kubernetes swaps the files of a volume.
fn concerns(path: &Path) -> bool {
    path.file_name().is_none_or(|name| {
        let name = name.to_string_lossy();
        !name.starts_with('.') || name.starts_with("..")
    })
}

fn step(kind: EventKind) -> Option<Step> {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(Step::End),
        EventKind::Access(_) => None,
        EventKind::Modify(ModifyKind::Name(_)) | EventKind::Remove(_) => Some(Step::End),
        _ => Some(Step::Part),
    }
}
