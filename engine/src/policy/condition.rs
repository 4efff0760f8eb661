//! Conditions of statements. A condition that is not known is refused when the policy is read, so that none is ever skipped.

use std::borrow::Cow;
use std::net::IpAddr;

use serde_json::Value;

use super::network::Network;
use super::{Ask, Dialect, PolicyError, glob, has_variable, texts, wrong};
use crate::time::seconds_of_date;

/// One key that is compared with some values.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Condition {
    key: Key,
    test: Test,
    /// `…Not…`: none of the values may match.
    negated: bool,
    /// `…IfExists`: holds for a request without the key.
    if_exists: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Key {
    SourceIp,
    CurrentTime,
    EpochTime,
    SecureTransport,
    UserAgent,
    Referer,
    PrincipalArn,
    PrincipalAccount,
    PrincipalTag(Box<str>),
    UserId,
    UserName,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Equals(Box<[Box<str>]>),
    EqualsIgnoreCase(Box<[Box<str>]>),
    Like(Box<[Box<str>]>),
    Ip(Box<[Network]>),
    Bool(Box<[bool]>),
    Number(Order, Box<[f64]>),
    Date(Order, Box<[i64]>),
    /// `true`: the key has to be missing.
    Null(bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Order {
    fn holds<T: PartialOrd>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }
}

/// Reads the object `{operator: {key: values}}`.
pub(super) fn parse(path: &str, conditions: &Value, dialect: Dialect) -> Result<Box<[Condition]>, PolicyError> {
    let operators = conditions.as_object().ok_or_else(|| wrong(path, "conditions are a JSON object"))?;
    let mut parsed = Vec::new();
    for (operator, keys) in operators {
        let path = format!("{path}.{operator}");
        let keys = keys.as_object().ok_or_else(|| wrong(&path, "an operator takes an object of keys"))?;
        for (key, values) in keys {
            parsed.push(Condition::parse(&format!("{path}.{key}"), operator, key, values, dialect)?);
        }
    }
    Ok(parsed.into())
}

impl Condition {
    fn parse(path: &str, operator: &str, key: &str, values: &Value, dialect: Dialect) -> Result<Self, PolicyError> {
        let key = Key::parse(key)
            .filter(|key| dialect == Dialect::Identity || *key == Key::SourceIp)
            .ok_or_else(|| wrong(path, format!("the key {key:?} is not supported: remove the condition")))?;
        let (name, if_exists) = operator.strip_suffix("IfExists").map_or((operator, false), |name| (name, true));
        let unknown = || wrong(path, format!("the operator {operator:?} is not supported: use another"));
        let (name, negated) = match name {
            "StringNotEquals" => ("StringEquals", true),
            "StringNotEqualsIgnoreCase" => ("StringEqualsIgnoreCase", true),
            "StringNotLike" | "ArnNotLike" | "ArnNotEquals" => ("StringLike", true),
            "ArnLike" | "ArnEquals" => ("StringLike", false),
            "NotIpAddress" => ("IpAddress", true),
            "NumericNotEquals" => ("NumericEquals", true),
            "DateNotEquals" => ("DateEquals", true),
            other => (other, false),
        };
        let values = scalars(values).ok_or_else(|| wrong(path, "write a string or a list of strings"))?;
        if let Some(value) = values.iter().find(|value| has_variable(value)) {
            return Err(wrong(path, format!("{value:?}: policy variables are not supported: write the value itself")));
        }
        let bad = |value: &str, rule: &str| wrong(path, format!("{value:?} is not {rule}"));
        let test = match name {
            "StringEquals" => Test::Equals(boxed(&values)),
            "StringEqualsIgnoreCase" => Test::EqualsIgnoreCase(boxed(&values)),
            "StringLike" => Test::Like(boxed(&values)),
            "IpAddress" => {
                let parse = |value: &Cow<'_, str>| {
                    value.parse().map_err(|_| bad(value, "an address or a range such as 10.0.0.0/8"))
                };
                Test::Ip(values.iter().map(parse).collect::<Result<_, _>>()?)
            }
            "Bool" => {
                let parse = |value: &Cow<'_, str>| match value.to_ascii_lowercase().as_str() {
                    "true" => Ok(true),
                    "false" => Ok(false),
                    _ => Err(bad(value, "true or false")),
                };
                Test::Bool(values.iter().map(parse).collect::<Result<_, _>>()?)
            }
            "Null" => match &*values {
                [one] if one.eq_ignore_ascii_case("true") => Test::Null(true),
                [one] if one.eq_ignore_ascii_case("false") => Test::Null(false),
                _ => return Err(wrong(path, "write true or false")),
            },
            _ => {
                let (kind, order) = ["Numeric", "Date"]
                    .into_iter()
                    .find_map(|kind| Some((kind, Order::parse(name.strip_prefix(kind)?)?)))
                    .ok_or_else(unknown)?;
                if kind == "Date" {
                    let parse = |value: &Cow<'_, str>| {
                        date(value).ok_or_else(|| bad(value, "a date such as 2026-07-10T19:19:05Z"))
                    };
                    Test::Date(order, values.iter().map(parse).collect::<Result<_, _>>()?)
                } else {
                    let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
                    let parse = |value: &Cow<'_, str>| number(value).ok_or_else(|| bad(value, "a number"));
                    Test::Number(order, values.iter().map(parse).collect::<Result<_, _>>()?)
                }
            }
        };
        let is_time = matches!(key, Key::CurrentTime | Key::EpochTime);
        if is_time && !matches!(test, Test::Date(..) | Test::Number(..) | Test::Null(_)) {
            return Err(wrong(path, "times are compared with Date… operators: use one, e.g. DateLessThan"));
        }
        if matches!(test, Test::Ip(_)) && key != Key::SourceIp {
            return Err(wrong(path, "IpAddress compares aws:SourceIp only: use another operator"));
        }
        Ok(Self { key, test, negated, if_exists })
    }

    /// Whether the request satisfies it. A missing key satisfies only negated operators, `…IfExists` and `Null`, as in AWS.
    pub(super) fn holds(&self, ask: &Ask<'_>) -> bool {
        if let Key::SourceIp = self.key
            && let Test::Ip(networks) = &self.test
        {
            return networks.iter().any(|network| network.contains(ask.source_ip)) != self.negated;
        }
        let value = self.key.value(ask);
        if let Test::Null(missing) = self.test {
            return value.is_none() == missing;
        }
        let Some(value) = value else { return self.negated || self.if_exists };
        self.test.matches(&value) != self.negated
    }
}

impl Key {
    /// Names of keys have no case; those of tags keep theirs.
    fn parse(name: &str) -> Option<Self> {
        const TAG: &str = "aws:principaltag/";
        if let Some(prefix) = name.get(..TAG.len())
            && prefix.eq_ignore_ascii_case(TAG)
        {
            return Some(Self::PrincipalTag(name[TAG.len()..].into())).filter(|_| name.len() > TAG.len());
        }
        Some(match name.to_ascii_lowercase().as_str() {
            "aws:sourceip" => Self::SourceIp,
            "aws:currenttime" => Self::CurrentTime,
            "aws:epochtime" => Self::EpochTime,
            "aws:securetransport" => Self::SecureTransport,
            "aws:useragent" => Self::UserAgent,
            "aws:referer" => Self::Referer,
            "aws:principalarn" => Self::PrincipalArn,
            "aws:principalaccount" => Self::PrincipalAccount,
            "aws:userid" => Self::UserId,
            "aws:username" => Self::UserName,
            _ => return None,
        })
    }

    fn value<'a>(&self, ask: &Ask<'a>) -> Option<Cow<'a, str>> {
        let principal = ask.principal;
        Some(match self {
            Self::SourceIp => ask.source_ip.to_string().into(),
            Self::CurrentTime | Self::EpochTime => ask.now.to_string().into(),
            // The API is HTTPS to its callers (H-FLOW-2).
            Self::SecureTransport => "true".into(),
            Self::UserAgent => ask.user_agent?.into(),
            Self::Referer => ask.referer?.into(),
            Self::PrincipalArn => principal?.arn.into(),
            Self::PrincipalAccount => principal?.account.into(),
            Self::PrincipalTag(name) => principal?.tags.get(&**name)?.into(),
            Self::UserId => principal?.user_id.into(),
            Self::UserName => principal?.name.into(),
        })
    }
}

impl Test {
    fn matches(&self, value: &str) -> bool {
        match self {
            Self::Equals(known) => known.iter().any(|known| **known == *value),
            Self::EqualsIgnoreCase(known) => known.iter().any(|known| known.eq_ignore_ascii_case(value)),
            Self::Like(known) => known.iter().any(|known| glob::matches(known, value)),
            Self::Ip(networks) => {
                value.parse::<IpAddr>().is_ok_and(|address| networks.iter().any(|network| network.contains(address)))
            }
            Self::Bool(known) => {
                known.iter().any(|known| value.eq_ignore_ascii_case(if *known { "true" } else { "false" }))
            }
            Self::Number(order, known) => {
                value.parse::<f64>().is_ok_and(|value| known.iter().any(|known| order.holds(&value, known)))
            }
            Self::Date(order, known) => {
                date(value).is_some_and(|value| known.iter().any(|known| order.holds(&value, known)))
            }
            Self::Null(_) => false,
        }
    }
}

impl Order {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "Equals" => Self::Equal,
            "LessThan" => Self::Less,
            "LessThanEquals" => Self::LessOrEqual,
            "GreaterThan" => Self::Greater,
            "GreaterThanEquals" => Self::GreaterOrEqual,
            _ => return None,
        })
    }
}

/// Seconds since 1970, of a number of them or a date of ISO 8601.
fn date(text: &str) -> Option<i64> {
    text.parse().ok().or_else(|| seconds_of_date(text))
}

/// Strings, numbers and truth values, alone or in a list.
fn scalars(value: &Value) -> Option<Vec<Cow<'_, str>>> {
    let one = |value: &Value| match value {
        Value::Bool(value) => Some(Cow::Owned(value.to_string())),
        Value::Number(value) => Some(Cow::Owned(value.to_string())),
        _ => None,
    };
    match value {
        Value::Array(list) if !list.is_empty() && list.iter().all(|item| !item.is_string()) => {
            list.iter().take(super::MAX_ENTRIES).map(one).collect()
        }
        Value::Bool(_) | Value::Number(_) => one(value).map(|text| vec![text]),
        other => Some(texts(other)?.into_iter().map(Cow::Borrowed).collect()),
    }
    .filter(|texts: &Vec<_>| !texts.is_empty())
}

fn boxed(values: &[Cow<'_, str>]) -> Box<[Box<str>]> {
    values.iter().map(|value| (**value).into()).collect()
}
