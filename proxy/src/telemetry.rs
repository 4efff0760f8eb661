//! The program's own log, and its filter, which the admin port changes while the program runs.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry};

/// What is logged; a clone is a pointer.
#[derive(Clone)]
pub struct LogFilter {
    state: Arc<Mutex<State>>,
}

struct State {
    directives: String,
    /// Absent when another part of the process had started logging before.
    handle: Option<Handle<EnvFilter, Registry>>,
}

/// Why a filter is not taken.
#[derive(Debug, thiserror::Error)]
pub enum LogFilterError {
    /// Not a filter.
    #[error(
        "{directives:?} is not a log filter: {why}; write a level such as info, or info,tollgate_proxy::feed=debug"
    )]
    Syntax {
        /// What was asked for.
        directives: String,
        /// What the parser says.
        why: String,
    },
    /// Nothing to change.
    #[error("the log of this process was started elsewhere and cannot be changed here")]
    NotOurs,
}

/// Starts logging to standard error. In a process that logs already (tests), that stays as it is.
pub fn start(directives: &str, json: bool) -> LogFilter {
    let (filter, handle) =
        reload::Layer::new(EnvFilter::try_new(directives).unwrap_or_else(|_| EnvFilter::new("info")));
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let started =
        if json { registry.with(lines.json().flatten_event(true)).try_init() } else { registry.with(lines).try_init() };
    let state = State { directives: directives.to_owned(), handle: started.ok().map(|()| handle) };
    LogFilter { state: Arc::new(Mutex::new(state)) }
}

impl LogFilter {
    /// The filter in effect.
    pub fn current(&self) -> String {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).directives.clone()
    }

    /// Changes the filter.
    ///
    /// # Errors
    /// The text is no filter.
    pub fn change(&self, directives: &str) -> Result<(), LogFilterError> {
        let filter = EnvFilter::try_new(directives)
            .map_err(|error| LogFilterError::Syntax { directives: directives.to_owned(), why: error.to_string() })?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let handle = state.handle.as_ref().ok_or(LogFilterError::NotOurs)?;
        handle.reload(filter).map_err(|_| LogFilterError::NotOurs)?;
        directives.clone_into(&mut state.directives);
        Ok(())
    }
}

impl crate::admin::LogControl for LogFilter {
    fn current(&self) -> String {
        Self::current(self)
    }

    fn change(&self, directives: &str) -> Result<(), String> {
        Self::change(self, directives).map_err(|error| error.to_string())
    }
}

impl fmt::Debug for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogFilter").field(&self.current()).finish()
    }
}
