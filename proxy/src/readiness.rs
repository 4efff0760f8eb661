//! Whether this proxy may be sent traffic (promise P4).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Shared by whoever knows a part of the answer; a clone is a pointer.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    complete: AtomicBool,
    leaving: AtomicBool,
}

impl Readiness {
    /// A complete snapshot is in effect, from a controller or from the state of an earlier run.
    pub fn set_complete(&self) {
        self.state.complete.store(true, Ordering::Release);
    }

    /// The proxy drains and will not be ready again.
    pub fn set_leaving(&self) {
        self.state.leaving.store(true, Ordering::Release);
    }

    /// Whether a complete snapshot is in effect, draining or not.
    pub fn has_snapshot(&self) -> bool {
        self.state.complete.load(Ordering::Acquire)
    }

    /// Whether traffic should come.
    pub fn is_ready(&self) -> bool {
        self.reason().is_none()
    }

    /// Why traffic should not come.
    pub fn reason(&self) -> Option<&'static str> {
        if self.state.leaving.load(Ordering::Acquire) {
            Some("draining")
        } else if self.has_snapshot() {
            None
        } else {
            Some("no complete configuration yet")
        }
    }
}
