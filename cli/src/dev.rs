//! `tollgate dev`: a directory of YAML, served.

pub mod addresses;
pub mod pods;
pub mod scan;
pub mod session;
pub mod settle;
pub mod watch;
pub mod workloads;
