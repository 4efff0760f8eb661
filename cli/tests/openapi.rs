//! `tollgate import` and `tollgate export` as programs.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const DOCUMENT: &str = r#"openapi: 3.0.1
info: {title: Pet Shop, version: "1"}
paths:
  /pets/{id}:
    get:
      security: [{login: [read]}]
      x-amazon-apigateway-integration:
        type: http_proxy
        httpMethod: GET
        uri: https://pets.example/{id}
        payloadFormatVersion: "1.0"
  /hello:
    get:
      x-amazon-apigateway-integration:
        type: aws_proxy
        uri: arn:aws:lambda:us-east-1:123456789012:function:hello
        payloadFormatVersion: "2.0"
  /old:
    get:
      x-amazon-apigateway-integration: {type: mock}
components:
  securitySchemes:
    login:
      type: oauth2
      flows: {}
      x-amazon-apigateway-authorizer:
        type: jwt
        identitySource: $request.header.Authorization
        jwtConfiguration: {issuer: https://issuer.example, audience: [pets]}
x-amazon-apigateway-cors: {allowOrigins: ["https://a.example"]}
"#;

fn tollgate(arguments: &[&str], directory: &Path, input: &str) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    program.args(arguments).current_dir(directory);
    let program = program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = program.spawn().expect("the program starts");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("the program reads");
    child.wait_with_output().expect("the program ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[test]
fn what_was_imported_is_right_and_exports_to_the_same_objects() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = directory.path();
    fs::write(at.join("pets.yaml"), DOCUMENT).expect("written");
    let imported = tollgate(&["import", "pets.yaml", "--namespace", "shop", "--stage", "$default"], at, "");
    assert_eq!(imported.status.code(), Some(0), "{}", text(&imported.stderr));
    let objects = text(&imported.stdout);
    let said = text(&imported.stderr);
    assert!(
        said.contains("warning: pets.yaml:20:41: /paths/~1old/get/x-amazon-apigateway-integration/type: \"mock\""),
        "{said}"
    );
    assert!(said.ends_with("0 errors, 1 warnings, 1 notes\n"), "{said}");
    fs::create_dir(at.join("objects")).expect("made");
    fs::write(at.join("objects/all.yaml"), &objects).expect("written");
    let checked = text(&tollgate(&["check", "objects"], at, "").stdout);
    // The function's Service is not among the files, and nothing else is wrong.
    assert_eq!(checked.matches("error[").count(), 1, "{checked}");
    assert!(checked.contains("Service shop/hello does not exist"), "{checked}");
    for form in ["yaml", "json"] {
        let exported = tollgate(&["export", "objects", "--output", form], at, "");
        assert_eq!((exported.status.code(), text(&exported.stderr)), (Some(0), String::new()));
        let again =
            ["import", "-", "--name", "pet-shop", "--namespace", "shop", "--stage", "$default", "--fail-on-warnings"];
        let again = tollgate(&again, at, &text(&exported.stdout));
        fs::write(at.join(form), text(&again.stdout)).expect("written");
        let exported_again = tollgate(&["export", form, "--output", form], at, "");
        assert_eq!(text(&exported_again.stdout), text(&exported.stdout));
    }
    let stdin = tollgate(&["export", "-", "--stage", "dev", "--no-extensions"], at, &objects);
    assert!(text(&stdin.stdout).contains("default: /dev"), "{}", text(&stdin.stdout));
}

/// Proves H-OAS-3, C94.
#[test]
fn warnings_refuse_a_document_when_asked_to() {
    let directory = tempfile::tempdir().expect("a directory");
    let run = |arguments: &[&str], input: &str| {
        let output = tollgate(arguments, directory.path(), input);
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, objects, said) = run(&["import", "-", "--fail-on-warnings"], DOCUMENT);
    assert_eq!((code, objects.as_str()), (Some(1), ""));
    assert!(said.ends_with("the document is refused, since --fail-on-warnings was given\n"), "{said}");
    let (code, _, said) = run(&["import", "-"], "swagger: '2.0'");
    assert_eq!(code, Some(1));
    assert!(said.starts_with("error: standard input:1:1: /swagger: Swagger 2.0 is not read"), "{said}");
    let (code, _, said) = run(&["import", "missing.yaml"], "");
    assert_eq!(code, Some(1), "{said}");
    let (code, _, said) =
        run(&["import", "-", "--stage", "a b"], "{openapi: 3.0.1, info: {title: x, version: x}, paths: {}}");
    assert_eq!(code, Some(1));
    assert!(said.contains("--stage: spec.stageName"), "{said}");
}

#[test]
fn one_of_several_apis_has_to_be_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let api = |name: &str| {
        format!("---\napiVersion: tollgate.dev/v1alpha1\nkind: HttpApi\nmetadata: {{name: {name}}}\nspec: {{}}\n")
    };
    let both = api("a") + &api("b");
    let said = |arguments: &[&str]| text(&tollgate(arguments, directory.path(), &both).stderr);
    assert!(said(&["export", "-"]).contains("several HttpApis are there (a, b)"));
    assert!(said(&["export", "-", "--api", "c"]).contains("no HttpApi is there"));
    assert_eq!(said(&["export", "-", "--api", "b"]), "");
}
