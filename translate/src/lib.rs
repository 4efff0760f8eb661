//! From a world of objects to snapshots and conditions, as plain functions: no I/O, no clock, no await.
//!
//! [`World`] holds the objects of the cluster (or of a directory); [`Translator::translate`] turns what changed in it into
//! [`Changes`]: units for the proxies, verdicts for the objects' statuses, and records to keep.
//!
//! * An object that is refused keeps its last accepted version in the deployment of its API (promise P1); one that never
//!   had one answers 500 if it is a route, and does not exist otherwise.
//! * What an object refers to and what cannot be found or read fails closed, for that object only (promise P3).

mod api;
mod api_id;
mod arrange;
mod authorizer;
mod backend;
mod changes;
mod content;
mod credentials;
mod document;
mod domain;
mod endpoints;
mod link;
mod object;
mod outcome;
mod plans;
mod principals;
mod reason;
mod render;
mod route;
mod shared;
mod stage;
mod translator;
mod verdict;
mod world;

pub use changes::{Changes, Put, Record, Settings};

pub use object::{AUTHORIZER_CACHE_ANNOTATION, DEPLOYMENT_ID_ANNOTATION, Kind, Object, ObjectRef};
pub use reason::Reason;
pub use translator::Translator;
pub use verdict::{Capture, Fleet, Fleets, ObjectVerdict, Requirement, Serving, Verdict};
pub use world::World;
