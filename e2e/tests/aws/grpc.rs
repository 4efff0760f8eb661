//! gRPC's own library on both sides of the gateway.

use std::sync::Arc;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use serde_json::json;
use tollgate_e2e::suite;

use crate::Shared;

pub(crate) fn tests(shared: &Arc<Shared>) -> Vec<Trial> {
    vec![suite::test("grpc::calls_of_all_kinds_pass", shared, calls)]
}

const OBJECTS: &str = include_str!("grpc.yaml");

async fn calls(shared: &Shared) -> Result<()> {
    let backend = shared.parts().grpc("orders").await?;
    let gateway = shared.parts().gateway("grpc", &OBJECTS.replace("BACKEND", &backend.address.to_string())).await?;
    let told = backend.call(gateway.address, "orders.default.localhost")?;
    let expected = json!({
        "one": "got 1",
        "first": "1",
        "last": "00ff",
        "none": ["NOT_FOUND", "no such order: 100% ☃"],
        "many": "999",
        "gather": "a,b",
        "chat": ["re: a", "re: b", "re: c"],
        "deadline": "DEADLINE_EXCEEDED",
        "given up": "yes",
        "no method": "UNIMPLEMENTED",
        "no route": ["UNIMPLEMENTED", "Not Found"],
        "no token": ["UNAUTHENTICATED", "Unauthorized"]
    });
    ensure!(told == expected, "the client says {told:#}\ninstead of {expected:#}");
    Ok(())
}
