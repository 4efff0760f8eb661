//! OpenAPI documents: reading never fails otherwise than by findings, and what was read is exported and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_openapi::{Class, ExportOptions, ImportOptions, export, import};

fuzz_target!(|text: &str| {
    let options = ImportOptions { name: Some("api".to_owned()), ..ImportOptions::default() };
    let imported = import(text, &options);
    for finding in &imported.findings {
        assert!(!finding.to_string().is_empty());
    }
    if imported.refused(false) || imported.objects.len() > 50 {
        return;
    }
    let mut objects: Vec<_> = imported.objects.iter().map(|made| made.object.clone()).collect();
    let api = objects.remove(0);
    let unused = |kind: &str, field: &str| {
        imported.objects.iter().filter(|made| made.kind == kind).any(|made| {
            !objects.iter().any(|object| object["spec"][field]["name"] == made.object["metadata"]["name"])
        })
    };
    // Authorizers and Integrations that no route uses are not part of the API.
    let unused = unused("Authorizer", "authorizerRef") || unused("Integration", "integrationRef");
    let export_options = ExportOptions { host: "h".to_owned(), stage: None, extensions: true };
    let exported = export(&api, &objects, &export_options);
    // Names and keys may be taken twice, by our own extension.
    if exported.findings.iter().any(|finding| finding.class != Class::Info) || unused {
        return;
    }
    let again = import(&exported.document.to_string(), &options);
    assert!(!again.refused(false), "{:?}", again.findings);
    let mut before: Vec<String> = imported.objects.iter().map(|made| made.object.to_string()).collect();
    let mut after: Vec<String> = again.objects.iter().map(|made| made.object.to_string()).collect();
    before.sort();
    after.sort();
    assert_eq!(before.len(), after.len());
});
