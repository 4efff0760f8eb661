//! A function behind the Lambda invoke protocol, as AWS's runtime interface emulator speaks it:
//! `POST /2015-03-31/functions/{name}/invocations` with the event as body.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::args::FunctionArgs;

/// The function.
#[derive(Debug)]
pub struct Function {
    respond: Option<Value>,
}

impl Function {
    /// As the arguments say.
    ///
    /// # Errors
    ///
    /// When the answer is not JSON.
    pub fn new(args: &FunctionArgs) -> Result<Self, serde_json::Error> {
        Ok(Self { respond: args.respond.as_deref().map(serde_json::from_str).transpose()? })
    }

    /// The function's result for the event in the request.
    pub fn answer(&self, request: &Request<Bytes>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        let name = path.strip_prefix("/2015-03-31/functions/").and_then(|rest| rest.strip_suffix("/invocations"));
        if request.method() != Method::POST || name.is_none_or(|name| name.is_empty() || name.contains('/')) {
            let message = "this is a function: POST an event to /2015-03-31/functions/function/invocations";
            return super::json(StatusCode::NOT_FOUND, &json!({"error": message}));
        }
        match serde_json::from_slice(request.body()) {
            Ok(event) => super::json(StatusCode::OK, &self.result(&event)),
            Err(error) => {
                let message = format!("the event is not JSON: {error}");
                super::json(StatusCode::BAD_REQUEST, &json!({"errorMessage": message, "errorType": "InvalidRequest"}))
            }
        }
    }

    fn result(&self, event: &Value) -> Value {
        match &self.respond {
            Some(template) => fill(template, event),
            None => json!({
                "statusCode": 200,
                "headers": {"content-type": "application/json"},
                "body": event.to_string(),
            }),
        }
    }
}

/// The template with `${/pointer}` replaced by what the JSON pointer (RFC 6901) finds in the event. A text that is nothing
/// but one placeholder becomes the value itself; what is not there becomes null, or nothing within a text.
fn fill(template: &Value, event: &Value) -> Value {
    match template {
        Value::String(text) => fill_text(text, event),
        Value::Array(items) => items.iter().map(|item| fill(item, event)).collect(),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), fill(value, event))).collect(),
        other => other.clone(),
    }
}

fn fill_text(text: &str, event: &Value) -> Value {
    let placeholder = |text: &str| text.split_once('}').map(|(pointer, rest)| (pointer.to_owned(), rest.to_owned()));
    if let Some((pointer, rest)) = text.strip_prefix("${").and_then(placeholder)
        && rest.is_empty()
    {
        return event.pointer(&pointer).cloned().unwrap_or_default();
    }
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((pointer, left)) = after.split_once('}') else { break };
        filled += before;
        match event.pointer(pointer) {
            None | Some(Value::Null) => {}
            Some(Value::String(value)) => filled += value,
            Some(value) => filled += &value.to_string(),
        }
        rest = left;
    }
    Value::String(filled + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invoke(respond: Option<&str>, event: &str) -> Value {
        let function = Function::new(&FunctionArgs { respond: respond.map(str::to_owned) }).expect("JSON");
        let request = Request::post("/2015-03-31/functions/function/invocations").body(Bytes::from(event.to_owned()));
        super::super::tests::body(function.answer(&request.expect("a request")))
    }

    #[test]
    fn without_an_answer_the_event_comes_back() {
        let result = invoke(None, "{\"version\":\"2.0\"}");
        assert_eq!(result["statusCode"], 200);
        assert_eq!(result["body"], "{\"version\":\"2.0\"}");
    }

    #[test]
    fn placeholders_take_parts_of_the_event() {
        let event = "{\"a\": {\"b\": 5, \"c\": \"x\"}}";
        let result = invoke(
            Some("{\"n\": \"${/a/b}\", \"t\": \"<${/a/c}-${/a/b}-${/no}>\", \"m\": [\"${/no}\", \"${open\"]}"),
            event,
        );
        assert_eq!(result, json!({"n": 5, "t": "<x-5->", "m": [null, "${open"]}));
    }

    #[test]
    fn other_paths_are_not_found_and_bad_events_refused() {
        let function = Function::new(&FunctionArgs::default()).expect("no answer");
        let status = |request: Request<Bytes>| function.answer(&request).status();
        assert_eq!(status(Request::get("/").body(Bytes::new()).expect("a request")), StatusCode::NOT_FOUND);
        let path = "/2015-03-31/functions/function/invocations";
        assert_eq!(status(Request::post(path).body(Bytes::from("{")).expect("a request")), StatusCode::BAD_REQUEST);
    }
}
