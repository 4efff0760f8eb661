//! Calls of functions: by the invoke protocol in the cluster, or by the Lambda service (H-INT-12).

use std::collections::BTreeMap;

use http::uri::PathAndQuery;

use super::backend::{Destination, parse_origin};
use crate::aws;
use crate::percent::push_encoded;
use crate::snapshot::{self, LambdaEndpoint, PayloadFormatVersion, SecretName};
use crate::template::Template;

/// A call of a function.
#[derive(Clone, Debug)]
pub struct LambdaCall {
    /// Where the invoke protocol is spoken.
    pub destination: Destination,
    /// `/2015-03-31/functions/{functionName}/invocations`, below the base URL's path.
    pub path: PathAndQuery,
    /// Shape of event and result.
    pub version: PayloadFormatVersion,
    /// How the call is signed, for the Lambda service.
    pub signing: Option<FunctionSigning>,
}

/// Whose keys sign calls of a function, and for where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionSigning {
    /// Whose keys.
    pub credentials: SecretName,
    /// Of the function's ARN.
    pub region: String,
}

/// A function before a stage's variables are filled in: they may stand in its name, version and alias (H-VAR-3).
#[derive(Clone, Debug)]
pub(super) struct LambdaTemplate {
    endpoint: LambdaEndpoint,
    /// The function's name, or its ARN.
    name: Template,
    version: PayloadFormatVersion,
}

impl LambdaCall {
    /// Compiles a function that belongs to no stage: an authorizer's. The error names value, rule and fix.
    pub(crate) fn compile(lambda: &snapshot::LambdaBackend) -> Result<Self, String> {
        LambdaTemplate::compile(lambda)?.with_stage(&BTreeMap::new())
    }
}

impl LambdaTemplate {
    /// Compiles what travelled. The error names value, rule and fix.
    pub(super) fn compile(lambda: &snapshot::LambdaBackend) -> Result<Self, String> {
        let snapshot::LambdaBackend { endpoint, function_name, payload_format_version } = lambda;
        let (field, text) = match endpoint {
            LambdaEndpoint::Aws { function_arn, .. } => ("functionArn", function_arn),
            LambdaEndpoint::Service { .. } | LambdaEndpoint::Url { .. } => ("functionName", function_name),
            LambdaEndpoint::Unknown => {
                return Err("the way to find the function is not known to this version of the proxy: upgrade it".into());
            }
        };
        let name = Template::parse(text).map_err(|error| format!("{field}: {error}"))?;
        if let Some(variable) = name.variables().next() {
            return Err(format!(
                "{field}: {{{variable}}} depends on the request: only ${{stageVariables.name}} can stand in it"
            ));
        }
        if field == "functionArn" && text.splitn(7, ':').take(6).any(|part| part.contains("${")) {
            return Err(format!(
                "functionArn: {text:?} has a stage variable outside of the function's name, version or alias, which would choose region or account"
            ));
        }
        let compiled = Self { endpoint: endpoint.clone(), name, version: *payload_format_version };
        // Nothing to fill in: then it has to be right now.
        if compiled.name.as_text().is_some() {
            compiled.with_stage(&BTreeMap::new())?;
        }
        Ok(compiled)
    }

    /// Fills in the stage's variables.
    pub(super) fn with_stage(&self, variables: &BTreeMap<String, String>) -> Result<LambdaCall, String> {
        let name = self.name.with_stage(variables).map_err(|error| error.to_string())?;
        let name = name.as_text().expect("there are no path variables, and stage variables are filled in");
        let version = self.version;
        let (destination, base, function, signing) = match &self.endpoint {
            LambdaEndpoint::Service { service, link } => {
                let destination = Destination::Service { service: service.clone(), tls: None, link: link.clone() };
                (destination, "", name.to_owned(), None)
            }
            LambdaEndpoint::Url { url } => {
                let (destination, base) = base_url(url)?;
                (destination, base, name.to_owned(), None)
            }
            LambdaEndpoint::Aws { function_arn: _, credentials, endpoint } => {
                let arn = Arn::parse(name)?;
                let own = format!("https://{}", aws::host("lambda", &arn.region));
                let (destination, base) = base_url(endpoint.as_deref().unwrap_or(&own))?;
                // What is borrowed must outlive this arm.
                let base = if endpoint.is_some() { base.to_owned() } else { String::new() };
                let signing = FunctionSigning { credentials: credentials.clone(), region: arn.region.clone() };
                let path = format!("{base}/2015-03-31/functions/{}", arn.in_path());
                let path = path.parse().map_err(|_| format!("functionArn: {name:?} cannot stand in a path"))?;
                return Ok(LambdaCall { destination, path, version, signing: Some(signing) });
            }
            LambdaEndpoint::Unknown => unreachable!("refused when it was compiled"),
        };
        let path = format!("{base}/2015-03-31/functions/{function}/invocations");
        let path = path.parse().map_err(|_| format!("functionName: {function:?} cannot stand in a path"))?;
        Ok(LambdaCall { destination, path, version, signing })
    }
}

/// The origin of a base URL, and its path without the slash at its end.
fn base_url(url: &str) -> Result<(Destination, &str), String> {
    let path = url.splitn(4, '/').nth(3).map_or("", |path| &url[url.len() - path.len() - 1..]);
    let origin = &url[..url.len() - path.len()];
    let destination = parse_origin(origin, None).map_err(|error| format!("endpoint: {error}"))?;
    Ok((destination, path.trim_end_matches('/')))
}

/// The ARN of a function, with or without version or alias.
#[derive(Debug, PartialEq, Eq)]
struct Arn<'t> {
    region: String,
    /// Without version and alias.
    function: &'t str,
    qualifier: Option<&'t str>,
}

impl<'t> Arn<'t> {
    /// Either form of H-INT-12.
    fn parse(text: &'t str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "functionArn: {text:?} is not the ARN of a function: write arn:aws:lambda:REGION:ACCOUNT:function:NAME, with :VERSION or :ALIAS after it if wanted"
            )
        };
        let arn = match text.split_once(":lambda:path/2015-03-31/functions/") {
            Some((_, inner)) => inner.strip_suffix("/invocations").ok_or_else(wrong)?,
            None => text,
        };
        let parts: Vec<&str> = arn.split(':').collect();
        let (["arn", partition, "lambda", region, account, "function", name], qualifier) = (match parts.as_slice() {
            [all @ .., qualifier] if parts.len() == 8 => (all, Some(*qualifier)),
            all => (all, None),
        }) else {
            return Err(wrong());
        };
        let word = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'$'))
        };
        let digits = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
        if !word(partition)
            || !digits
            || !aws::is_region(region.as_bytes())
            || !word(name)
            || !qualifier.is_none_or(word)
        {
            return Err(wrong());
        }
        let function = qualifier.map_or(arn, |qualifier| &arn[..arn.len() - qualifier.len() - 1]);
        Ok(Self { region: (*region).to_owned(), function, qualifier })
    }

    /// `{arn}/invocations?Qualifier=…`, encoded.
    fn in_path(&self) -> String {
        let mut out = String::new();
        push_encoded(&mut out, self.function);
        out.push_str("/invocations");
        if let Some(qualifier) = self.qualifier {
            out.push_str("?Qualifier=");
            push_encoded(&mut out, qualifier);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(arn: &str, endpoint: Option<&str>) -> Result<LambdaTemplate, String> {
        let credentials = SecretName { namespace: "n".to_owned(), name: "aws".to_owned() };
        LambdaTemplate::compile(&snapshot::LambdaBackend {
            endpoint: LambdaEndpoint::Aws {
                function_arn: arn.to_owned(),
                credentials,
                endpoint: endpoint.map(str::to_owned),
            },
            function_name: "function".to_owned(),
            payload_format_version: PayloadFormatVersion::V2,
        })
    }

    fn call(arn: &str, endpoint: Option<&str>, variables: &[(&str, &str)]) -> Result<String, String> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let call = compile(arn, endpoint)?.with_stage(&variables)?;
        let Destination::Origin { host, port, tls, .. } = call.destination else { panic!("a URL") };
        let region = call.signing.expect("calls of the service are signed").region;
        Ok(format!("{region} {host}:{port} {} {}", tls.is_some(), call.path))
    }

    const PLAIN: &str = "arn:aws:lambda:eu-west-1:123456789012:function:orders";
    const PATH: &str =
        "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-west-1%3A123456789012%3Afunction%3Aorders/invocations";

    /// Proves H-INT-12.
    #[test]
    fn both_forms_of_the_arn_mean_the_same() {
        let expected = format!("eu-west-1 lambda.eu-west-1.amazonaws.com:443 true {PATH}");
        assert_eq!(call(PLAIN, None, &[]).unwrap(), expected);
        let long = format!("arn:aws:apigateway:eu-west-1:lambda:path/2015-03-31/functions/{PLAIN}/invocations");
        assert_eq!(call(&long, None, &[]).unwrap(), expected);
        assert_eq!(call(&format!("{PLAIN}:live"), None, &[]).unwrap(), format!("{expected}?Qualifier=live"));
        assert_eq!(call(&format!("{PLAIN}:$LATEST"), None, &[]).unwrap(), format!("{expected}?Qualifier=%24LATEST"));
        assert_eq!(
            call(PLAIN, Some("http://localhost:5000/base/"), &[]).unwrap(),
            format!("eu-west-1 localhost:5000 false /base{PATH}")
        );
        let china = PLAIN.replace("arn:aws:", "arn:aws-cn:").replace("eu-west-1", "cn-north-1");
        assert!(call(&china, None, &[]).unwrap().starts_with("cn-north-1 lambda.cn-north-1.amazonaws.com.cn:443 "));
    }

    /// Proves H-VAR-3, H-VAR-4.
    #[test]
    fn stage_variables_choose_function_and_alias_only() {
        let arn = "arn:aws:lambda:eu-west-1:123456789012:function:${stageVariables.fn}";
        let expected = format!("eu-west-1 lambda.eu-west-1.amazonaws.com:443 true {PATH}");
        assert_eq!(call(arn, None, &[("fn", "orders")]).unwrap(), expected);
        assert_eq!(call(arn, None, &[("fn", "orders:live")]).unwrap(), format!("{expected}?Qualifier=live"));
        let alias = format!("{PLAIN}:${{stageVariables.alias}}");
        assert_eq!(call(&alias, None, &[("alias", "live")]).unwrap(), format!("{expected}?Qualifier=live"));
        assert_eq!(call(arn, None, &[]).unwrap_err(), "the stage has no variable \"fn\"");
        assert!(call(arn, None, &[("fn", "a/../b")]).unwrap_err().contains("is not the ARN of a function"));
        for part in ["eu-west-1", "123456789012", "lambda", "aws"] {
            let arn = PLAIN.replace(part, "${stageVariables.x}");
            assert!(compile(&arn, None).unwrap_err().contains("which would choose region or account"), "{arn}");
        }
    }

    #[test]
    fn what_is_no_arn_is_refused() {
        for arn in [
            "orders",
            "arn:aws:lambda:eu-west-1:123456789012:orders",
            "arn:aws:lambda:eu-west-1:1234:function:orders",
            "arn:aws:lambda:EU:123456789012:function:orders",
            "arn:aws:lambda:evil.example/:123456789012:function:orders",
            "arn:aws:lambda:eu-west-1:123456789012:function:orders:a:b",
            "arn:aws:sqs:eu-west-1:123456789012:function:orders",
            "arn:aws:lambda:eu-west-1:123456789012:function:a/b",
        ] {
            assert!(compile(arn, None).unwrap_err().contains("is not the ARN of a function"), "{arn}");
        }
        assert!(compile(&format!("{PLAIN}-{{id}}"), None).unwrap_err().contains("{id} depends on the request"));
        assert!(compile(PLAIN, Some("ftp://x")).unwrap_err().starts_with("endpoint: "));
    }
}
