//! Principals of a namespace as they run: who may have signed a request, and what they may call (section 6.11 of the spec).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::policy::{self, Ask, Decision, Dialect, Policy, PrincipalFacts};
use crate::secret::Secret;
use crate::sigv4::{Claim, SignatureError};
use crate::snapshot::{self, Problem};

/// The principals of one namespace, by their access keys.
#[derive(Debug, Default)]
pub struct Principals {
    keys: HashMap<Box<str>, Key>,
}

/// An access key and whose it is.
#[derive(Debug)]
pub struct Key {
    /// What signatures are made with.
    pub secret: Secret,
    session_token: Option<Secret>,
    /// Who has it.
    pub principal: Arc<Principal>,
}

/// A caller.
#[derive(Debug)]
pub struct Principal {
    /// `namespace/name` of the Principal object.
    pub source: Box<str>,
    /// `arn:aws:iam::{account}:user/{namespace}/{name}`.
    pub arn: Box<str>,
    /// The account of the gateway.
    pub account: Box<str>,
    /// Stands for the object as long as it lives.
    pub user_id: Box<str>,
    name: Box<str>,
    tags: BTreeMap<String, String>,
    policies: Box<[Policy]>,
}

impl Principals {
    /// Compiles what travelled. A principal with a policy that cannot be followed has no keys (promise P3); the problems say so.
    pub fn compile(wire: &snapshot::Principals, account: &str) -> (Self, Vec<Problem>) {
        let snapshot::Principals { namespace, principals } = wire;
        let mut compiled = Self::default();
        let mut problems = Vec::new();
        for (index, principal) in principals.iter().enumerate() {
            let snapshot::Principal { name, user_id, access_keys, policies, tags } = principal;
            let source = format!("{namespace}/{name}");
            let parsed = policies.iter().enumerate().map(|(number, policy)| {
                Policy::parse(policy, Dialect::Identity).map_err(|error| Problem {
                    source: format!("Principal/{source}"),
                    path: format!("principals[{index}].policies[{number}]"),
                    message: error.to_string(),
                })
            });
            let policies = match parsed.collect::<Result<_, _>>() {
                Ok(policies) => policies,
                Err(problem) => {
                    problems.push(problem);
                    continue;
                }
            };
            let principal = Arc::new(Principal {
                arn: format!("arn:aws:iam::{account}:user/{source}").into(),
                source: source.into(),
                account: account.into(),
                user_id: user_id.as_str().into(),
                name: name.as_str().into(),
                tags: tags.clone(),
                policies,
            });
            for snapshot::AccessKey { access_key_id, secret_access_key, session_token } in access_keys {
                let key = Key {
                    secret: secret_access_key.clone(),
                    session_token: session_token.clone(),
                    principal: Arc::clone(&principal),
                };
                compiled.keys.entry(access_key_id.as_str().into()).or_insert(key);
            }
        }
        (compiled, problems)
    }

    /// The key that a request says it was signed with. Whether it was is [`Claim::verify`]'s to say.
    ///
    /// # Errors
    /// [`SignatureError::UnknownKey`] or [`SignatureError::Token`].
    pub fn key(&self, claim: &Claim<'_>) -> Result<&Key, SignatureError> {
        let key = self.keys.get(&*claim.access_key_id).ok_or(SignatureError::UnknownKey)?;
        let same = match (&key.session_token, &claim.session_token) {
            (None, None) => true,
            (Some(token), Some(sent)) => token.is(sent),
            _ => false,
        };
        if same { Ok(key) } else { Err(SignatureError::Token) }
    }
}

impl Principal {
    /// Whether the principal's policies allow what is asked (H-IAM-5). `ask.principal` is filled in.
    ///
    /// # Errors
    /// Why not, for `$context.authorizer.error`.
    pub fn may(&self, ask: &Ask<'_>) -> Result<(), String> {
        let facts = PrincipalFacts {
            arn: &self.arn,
            account: &self.account,
            user_id: &self.user_id,
            name: &self.name,
            tags: &self.tags,
        };
        let ask = Ask { principal: Some(facts), ..*ask };
        let why = match policy::decide(&self.policies, &ask) {
            Decision::Allow => return Ok(()),
            Decision::Deny => "with an explicit deny in an identity-based policy",
            Decision::Silent => "because no identity-based policy allows the execute-api:Invoke action",
        };
        Err(format!(
            "User: {} is not authorized to perform: execute-api:Invoke on resource: {} {why}",
            self.arn, ask.resource
        ))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use serde_json::json;

    use super::*;
    use crate::sigv4::Request;

    fn principals() -> (Principals, Vec<Problem>) {
        let allow = |resource: &str| json!({"Statement": {"Effect": "Allow", "Action": "*", "Resource": resource}});
        let wire = json!({"namespace": "shop", "principals": [
            {
                "name": "anna",
                "userId": "AIDAANNA",
                "accessKeys": [
                    {"accessKeyId": "AKIDANNA", "secretAccessKey": "s1"},
                    {"accessKeyId": "ASIDANNA", "secretAccessKey": "s2", "sessionToken": "t"},
                ],
                "policies": [allow("arn:a")],
                "tags": {"team": "pets"},
            },
            {"name": "odd", "userId": "AIDAODD", "accessKeys": [{"accessKeyId": "AKIDODD", "secretAccessKey": "s3"}],
             "policies": [allow("*"), {"Statement": {"Effect": "Deny", "NotAction": "*", "Resource": "*"}}]},
            {"name": "bare", "userId": "AIDABARE", "accessKeys": [{"accessKeyId": "AKIDBARE", "secretAccessKey": "s4"}]},
        ]});
        Principals::compile(&serde_json::from_value(wire).unwrap(), "000000000000")
    }

    fn found(principals: &Principals, id: &str, token: Option<&str>) -> Result<String, SignatureError> {
        let text = format!(
            "AWS4-HMAC-SHA256 Credential={id}/20150830/r/s/aws4_request, SignedHeaders=host, Signature={}",
            "0".repeat(64)
        );
        let mut headers = HeaderMap::new();
        headers.insert("authorization", text.parse().unwrap());
        headers.insert("x-amz-date", "20150830T123600Z".parse().unwrap());
        if let Some(token) = token {
            headers.insert("x-amz-security-token", token.parse().unwrap());
        }
        let request = Request { method: "GET", path: "/", query: None, headers: &headers, host: "h" };
        let claim = Claim::of(&request).unwrap();
        principals.key(&claim).map(|key| key.principal.arn.to_string())
    }

    /// Proves H-IAM-2, H-IAM-3.
    #[test]
    fn keys_and_tokens() {
        let (principals, problems) = principals();
        assert_eq!(problems.len(), 1);
        assert_eq!(
            (problems[0].source.as_str(), problems[0].path.as_str()),
            ("Principal/shop/odd", "principals[1].policies[1]")
        );
        let anna = Ok("arn:aws:iam::000000000000:user/shop/anna".to_owned());
        assert_eq!(found(&principals, "AKIDANNA", None), anna);
        assert_eq!(found(&principals, "ASIDANNA", Some("t")), anna);
        assert_eq!(found(&principals, "ASIDANNA", None), Err(SignatureError::Token));
        assert_eq!(found(&principals, "ASIDANNA", Some("u")), Err(SignatureError::Token));
        assert_eq!(found(&principals, "AKIDANNA", Some("t")), Err(SignatureError::Token));
        assert_eq!(found(&principals, "AKIDODD", None), Err(SignatureError::UnknownKey));
        assert_eq!(found(&principals, "AKIDNOBODY", None), Err(SignatureError::UnknownKey));
    }

    /// Proves H-IAM-5.
    #[test]
    fn policies_decide() {
        let (principals, _) = principals();
        let ask = |resource| Ask {
            resource,
            source_ip: std::net::Ipv4Addr::LOCALHOST.into(),
            now: 0,
            user_agent: None,
            referer: None,
            principal: None,
        };
        let anna = &principals.keys["AKIDANNA"].principal;
        assert_eq!(anna.may(&ask("arn:a")), Ok(()));
        assert_eq!(
            anna.may(&ask("arn:b")).unwrap_err(),
            "User: arn:aws:iam::000000000000:user/shop/anna is not authorized to perform: execute-api:Invoke on resource: arn:b because no identity-based policy allows the execute-api:Invoke action"
        );
        assert!(principals.keys["AKIDBARE"].principal.may(&ask("arn:a")).is_err());
    }

    /// Proves P7.
    #[test]
    fn secrets_do_not_show() {
        let (principals, _) = principals();
        let text = format!("{principals:?}");
        assert!(
            text.contains("AKIDANNA") && text.contains("(secret)") && !text.contains("s1") && !text.contains("\"t\"")
        );
    }
}
