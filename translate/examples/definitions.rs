//! What `cargo xtask generate` makes pages of, as JSON: the definitions of all kinds, as YAML files and as data, and the reasons of conditions.
//!
//! An example, so that xtask itself needs none of our crates and builds in seconds, and so that this is built as tests are:
//! with the features of the whole workspace, and so only once.

use std::collections::BTreeMap;

use serde_json::json;
use tollgate_translate::Reason;

fn main() {
    let files: BTreeMap<String, String> = tollgate_crds::yaml().into_iter().collect();
    let reasons: Vec<[String; 2]> =
        Reason::ALL.iter().map(|reason| [reason.to_string(), reason.meaning().to_owned()]).collect();
    println!("{}", json!({"files": files, "definitions": tollgate_crds::all(), "reasons": reasons}));
}
