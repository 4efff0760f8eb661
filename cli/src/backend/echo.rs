//! Answers with the request that it got: `{"service", "method", "path", "query", "headers", "body"}`.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::args::EchoArgs;

/// The echo service.
#[derive(Debug)]
pub struct Echo {
    name: String,
    headers: Option<Vec<String>>,
}

impl Echo {
    /// As the arguments say.
    pub fn new(args: &EchoArgs) -> Self {
        let lower = |names: &Vec<String>| names.iter().map(|name| name.trim().to_ascii_lowercase()).collect();
        Self { name: args.name.clone(), headers: args.headers.as_ref().map(lower) }
    }

    /// The request as JSON. A header that stands more than once is joined with commas.
    pub fn answer(&self, request: &Request<Bytes>) -> Response<Full<Bytes>> {
        let uri = request.uri();
        let mut answer = json!({
            "service": self.name,
            "method": request.method().as_str(),
            "path": uri.path(),
            "query": uri.query().unwrap_or_default(),
            "headers": self.repeated(request),
        });
        if !request.body().is_empty() {
            answer["body"] = String::from_utf8_lossy(request.body()).into();
        }
        super::json(StatusCode::OK, &answer)
    }

    fn repeated(&self, request: &Request<Bytes>) -> Value {
        let mut headers = Map::new();
        for name in request.headers().keys() {
            if self.headers.as_ref().is_some_and(|wanted| !wanted.iter().any(|wanted| wanted == name.as_str())) {
                continue;
            }
            let values = request.headers().get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
            headers.insert(name.as_str().to_owned(), values.collect::<Vec<_>>().join(", ").into());
        }
        Value::Object(headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_comes_back() {
        let echo = Echo::new(&EchoArgs { name: "catalog".into(), headers: Some(vec!["X-Id".into()]) });
        let request = Request::post("/books/7?page=2").header("x-id", "1").header("x-id", "2").header("x-no", "3");
        let response = echo.answer(&request.body(Bytes::from("hello")).expect("a request"));
        let expected = json!({
            "service": "catalog", "method": "POST", "path": "/books/7", "query": "page=2",
            "headers": {"x-id": "1, 2"}, "body": "hello"
        });
        assert_eq!(super::super::tests::body(response), expected);
    }
}
