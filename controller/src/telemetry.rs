//! Logging, with a filter that can be changed while the program runs.

use std::fmt;
use std::sync::Mutex;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt as format, reload};

/// The log filter in effect.
pub struct LogFilter {
    text: Mutex<String>,
    handle: Option<reload::Handle<EnvFilter, Registry>>,
}

impl fmt::Debug for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogFilter").field(&self.current()).finish()
    }
}

/// Starts logging to standard error. A second call in one process (tests) leaves the first one's logging in place.
pub fn start(filter: &str, json: bool) -> LogFilter {
    let (layer, handle) = reload::Layer::new(filter.parse::<EnvFilter>().unwrap_or_default());
    let lines = format::layer().with_writer(std::io::stderr).with_target(true);
    let registry = tracing_subscriber::registry().with(layer);
    let started =
        if json { registry.with(lines.json().flatten_event(true)).try_init() } else { registry.with(lines).try_init() };
    LogFilter { text: Mutex::new(filter.to_owned()), handle: started.is_ok().then_some(handle) }
}

impl LogFilter {
    /// As it was set.
    pub fn current(&self) -> String {
        self.text.lock().expect("no code panics while it holds the text").clone()
    }

    /// Sets a new one.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn set(&self, text: &str) -> Result<(), String> {
        let filter = text.parse::<EnvFilter>().map_err(|error| error.to_string())?;
        let handle = self.handle.as_ref().ok_or("another part of this process logs")?;
        handle.reload(filter).map_err(|error| error.to_string())?;
        text.clone_into(&mut self.text.lock().expect("no code panics while it holds the text"));
        tracing::info!(filter = text, "log filter changed");
        Ok(())
    }
}
