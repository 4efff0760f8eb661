//! What a gateway decides, as plain functions of their arguments: no I/O, no clock, no environment.
//!
//! * [`snapshot`] is what travels from controller to proxy.
//! * [`reject`]: the errors that the gateway itself answers.
//! * [`cors`], [`throttle`]: what the parts of a request line decide.
//! * [`request_id`], [`trace`], [`time`], [`percent`]: small forms that many parts share.

pub mod cors;
pub mod percent;
pub mod reject;
pub mod request_id;
pub mod route;
pub mod snapshot;
pub mod template;
pub mod throttle;
pub mod time;
pub mod trace;
