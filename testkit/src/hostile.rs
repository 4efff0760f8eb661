//! A table of hostile messages, and what a gateway makes of each.
//!
//! The lines are data (`testkit/hostile/*.txt`), so that the same ones run on Tollgate in a test and on other proxies for comparison. A line
//! has three fields, separated by ` | `: its name, the bytes that are sent, and what must come of it ([`Must`]).

mod backend;
mod frames;
mod http1;
mod message;
mod table;

pub use backend::{Recorded, Recorder};
pub use frames::over_http2;
pub use http1::{from_backend, from_client};
pub use message::Message;
pub use table::{Direction, HOST, Line, Must, Step, Wanted, lines};

/// What a gateway made of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered with this status, and nobody else saw anything of it. With `goes_on` the connection serves the next request.
    Refused { status: u16, goes_on: bool },
    /// The connection or the stream ended without an answer, and nobody else saw anything of it.
    Closed,
    /// The other side got a part and knows that it is one.
    Cut,
    /// The other side got this and nothing more of it. With `goes_on` the next request was served after it.
    Forwarded { message: Message, goes_on: bool },
    /// The other side got what two readers may read in two ways, or something that was not meant.
    Ambiguous(String),
    /// Nothing happened within the deadline.
    Hung,
}

impl Outcome {
    /// Whether this is what the line asks for.
    pub fn meets(&self, must: &Must) -> bool {
        match (self, must) {
            (Self::Refused { status, goes_on }, Must::Refuse { status: wanted, goes_on: on }) => {
                status == wanted && goes_on == on
            }
            (Self::Refused { status, .. }, Must::Answer(wanted)) => status == wanted,
            (Self::Refused { .. } | Self::Closed, Must::RefuseSomehow) => true,
            (Self::Refused { .. } | Self::Closed | Self::Cut, Must::NotWhole) => true,
            (outcome, Must::Survive) => !matches!(outcome, Self::Ambiguous(_) | Self::Hung),
            (Self::Closed, Must::Close) | (Self::Cut, Must::Cut) => true,
            (Self::Forwarded { message, goes_on }, Must::Forward { wanted, goes_on: on }) => {
                goes_on == on && wanted.is(message)
            }
            _ => false,
        }
    }

    /// One word for a table.
    pub fn word(&self) -> String {
        match self {
            Self::Refused { status, .. } => status.to_string(),
            Self::Closed => "closed".to_owned(),
            Self::Cut => "cut off".to_owned(),
            Self::Forwarded { .. } => "forwarded".to_owned(),
            Self::Ambiguous(_) => "ambiguous".to_owned(),
            Self::Hung => "no end".to_owned(),
        }
    }
}
