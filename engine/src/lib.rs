//! What a gateway decides, as plain functions of their arguments: no I/O, no clock, no environment.
//!
//! * [`snapshot`] is what travels from controller to proxy.

pub mod route;
pub mod snapshot;
