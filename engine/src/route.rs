//! Route keys and the matcher that finds a route for a request (`spec/http-api.md`, section 1).
//!
//! [`RouteKey`] is the parsed form of `GET /orders/{id}`. [`Matcher`] is the compiled form of all keys of a deployment: one
//! tree by path segments whose edges share one hash table, so that ten thousand routes cost about what ten do.
//! [`inspect_path`] refuses the paths that a backend might read differently than the matcher did (H-ROUTE-25).

mod key;
mod matcher;
mod path;

pub use key::{Method, MethodKey, PathTemplate, RouteKey, RouteKeyError, Segment};
pub use matcher::{Matcher, MatcherBuilder, decoded_variables};
pub use path::{PathShape, UnsafePath, decode_segment, inspect_path};
