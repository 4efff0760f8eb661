//! OpenAPI 3.0 documents with AWS's `x-amazon-apigateway-*` extensions to Tollgate's objects and back, as plain functions.
//!
//! * [`import`] makes an HttpApi with its Routes, Integrations and Authorizers of a document, and tells every construct
//!   that has no equivalent, each with its JSON pointer and its line: nothing is dropped in silence.
//! * [`export`] writes the document of an API. What AWS's words cannot say stands in the extension [`EXTENSION`] beside
//!   them, so that importing the document gives the same objects again (H-OAS-26).
//! * [`yaml`] reads text into trees whose nodes know their lines; files of objects are read with it too.
//!
//! The crate knows the custom resources and nothing else of ours: no world of objects, no gateway, no files. So what a
//! document means depends on the document alone.

pub mod document;
pub mod export;
pub mod finding;
pub mod import;
mod names;
mod patch;
pub mod yaml;

pub use export::{Export, ExportOptions, export};
pub use finding::{Class, Finding};
pub use import::{BasePath, Import, ImportOptions, Made, import};

/// Our own extension. Its members `metadata` and `spec` are laid over what the words beside it mean (RFC 7396): over the
/// HttpApi at the root, the Route in an operation, the Authorizer in `x-amazon-apigateway-authorizer`, and over the
/// integration in `x-amazon-apigateway-integration`.
pub const EXTENSION: &str = "x-tollgate";
