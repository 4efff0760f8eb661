//! `tollgate usage`: what customers of a UsagePlan used, day by day, in the shape of AWS's GetUsage or as CSV (R-PLAN-12).
//!
//! It reads `status.usage` of the object, as kubectl prints it; this program has no client for Kubernetes of its own.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use k8s_openapi::jiff::civil::Date;
use k8s_openapi::jiff::{Span, ToSpan};
use serde_json::{Value, json};
use tollgate_crds::{CustomerUsage, UsagePlan};

use crate::args::{UsageArgs, UsageForm};
use crate::openapi::{self, Outcome};
use crate::report;

/// Longest range, as AWS has it.
const MOST_DAYS: i64 = 90;

/// `[used, remaining]` of each day, by customer.
type Items = BTreeMap<String, Vec<[u64; 2]>>;

/// What was asked for, with its days.
#[derive(Clone, Debug, PartialEq)]
pub struct Usage {
    /// `namespace/name` of the plan.
    pub plan: String,
    /// The first day.
    pub start: Date,
    /// The last day.
    pub end: Date,
    /// By customer.
    pub items: Items,
}

/// `tollgate usage`.
pub fn run(args: &UsageArgs) -> Outcome {
    let text = match &args.file {
        Some(file) => match openapi::read(file) {
            Ok(text) => text,
            Err(problem) => return Outcome::failed(report::human(&problem, false)),
        },
        None => match kubectl(args) {
            Ok(text) => text,
            Err(message) => return Outcome::failed(format!("error: {message}\n")),
        },
    };
    match plan(&text)
        .and_then(|plan| named(plan, args))
        .and_then(|plan| usage(&plan, args.key.as_deref(), args.from, args.to))
    {
        Ok(usage) => {
            let text = match args.output {
                UsageForm::Json => format!("{:#}\n", usage.json()),
                UsageForm::Csv => usage.csv(),
            };
            Outcome { report: String::new(), text: Some(text) }
        }
        Err(message) => {
            let shown =
                args.file.as_deref().map_or_else(|| args.plan.clone(), |file: &Path| file.display().to_string());
            Outcome::failed(format!("error: {shown}: {message}\n"))
        }
    }
}

/// The object as JSON.
fn kubectl(args: &UsageArgs) -> Result<String, String> {
    let mut kubectl = Command::new("kubectl");
    kubectl.args(["get", "usageplans.tollgate.dev", "-o", "json"]);
    if let Some(namespace) = &args.namespace {
        kubectl.args(["--namespace", namespace]);
    }
    let ran = kubectl.args(["--", &args.plan]).output();
    let output = ran
        .map_err(|error| format!("kubectl cannot be run ({error}): install it, or give what it prints with --file"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    String::from_utf8(output.stdout).map_err(|_| "kubectl printed something that is no text".to_owned())
}

fn plan(text: &str) -> Result<UsagePlan, String> {
    let value: Value = serde_norway::from_str(text).map_err(|error| format!("it is neither JSON nor YAML: {error}"))?;
    if value["kind"] != "UsagePlan" {
        return Err(format!(
            "kind is {}: give one UsagePlan, as kubectl get usageplan NAME -o json prints it",
            value["kind"]
        ));
    }
    serde_json::from_value(value).map_err(|error| format!("it is no UsagePlan of this version: {error}"))
}

/// A file may be of another plan than was meant, and bills are made of what is printed.
fn named(plan: UsagePlan, args: &UsageArgs) -> Result<UsagePlan, String> {
    let name = plan.metadata.name.as_deref().unwrap_or_default();
    let namespace = plan.metadata.namespace.as_deref().unwrap_or_default();
    if name != args.plan || args.namespace.as_deref().is_some_and(|wanted| wanted != namespace) {
        let wanted = args.namespace.iter().map(|namespace| format!("{namespace}/")).collect::<String>() + &args.plan;
        return Err(format!(
            "it is of UsagePlan {namespace}/{name}, not {wanted}: name that plan, or give another file"
        ));
    }
    Ok(plan)
}

/// The days of a plan between two dates; by default all that are known.
///
/// # Errors
/// The plan says nothing of usage, or not of this customer, or the dates are none that can be asked for.
pub fn usage(plan: &UsagePlan, key: Option<&str>, from: Option<Date>, to: Option<Date>) -> Result<Usage, String> {
    let status = plan.status.as_ref().and_then(|status| status.usage.as_ref());
    let status = status.ok_or(
        "status.usage is absent: the plan has no quota, or nobody has used it yet; it is written twice a minute",
    )?;
    let mut customers: Vec<(&CustomerUsage, Date, Date)> = Vec::new();
    for customer in status.keys.iter().filter(|customer| key.is_none_or(|key| key == customer.key)) {
        let first: Date = customer.from.parse().map_err(|_| format!("{:?} is no date", customer.from))?;
        let more = i64::try_from(customer.days.len()).unwrap_or(i64::MAX).saturating_sub(1).max(0);
        let last = first.checked_add(more.days()).map_err(|_| format!("{first} and {more} days are no date"))?;
        customers.push((customer, first, last));
    }
    if let (Some(key), true) = (key, customers.is_empty()) {
        return Err(format!("nothing is known of {key:?}: it used nothing, or is none of the hundred that used most"));
    }
    let end = to.or_else(|| customers.iter().map(|(_, _, last)| *last).max());
    let start = from.or_else(|| customers.iter().map(|(_, first, _)| *first).min());
    let (Some(start), Some(end)) = (start.or(end), end.or(start)) else {
        return Err("nobody has used the plan yet".to_owned());
    };
    if end < start {
        return Err(format!("--to {end} lies before --from {start}: exchange them"));
    }
    let days = i64::from((end - start).get_days());
    if days >= MOST_DAYS {
        return Err(format!("from {start} to {end} are {} days: ask for at most {MOST_DAYS}", days + 1));
    }
    let pairs = |customer: &CustomerUsage, first: Date| -> Vec<[u64; 2]> {
        (0..=days).map(|day| pair(customer, first, start.saturating_add(Span::new().days(day)))).collect()
    };
    let items = customers.iter().map(|(customer, first, _)| (customer.key.clone(), pairs(customer, *first))).collect();
    let (name, namespace) = (plan.metadata.name.as_deref(), plan.metadata.namespace.as_deref());
    Ok(Usage { plan: format!("{}/{}", namespace.unwrap_or("default"), name.unwrap_or_default()), start, end, items })
}

/// Before the first day that is known nothing was used; after the last one nothing more.
fn pair(customer: &CustomerUsage, first: Date, day: Date) -> [u64; 2] {
    let [whole, last] = match customer.days.as_slice() {
        [] => [customer.used + customer.remaining, customer.remaining],
        [[used, left], .., [_, last]] => [used + left, *last],
        [[used, left]] => [used + left, *left],
    };
    match usize::try_from((day - first).get_days()) {
        Err(_) => [0, whole],
        Ok(at) => customer.days.get(at).copied().unwrap_or([0, last]),
    }
}

impl Usage {
    fn json(&self) -> Value {
        let Self { plan, start, end, items } = self;
        json!({"usagePlanId": plan, "startDate": start.to_string(), "endDate": end.to_string(), "items": items})
    }

    fn csv(&self) -> String {
        let mut text = "date,key,used,remaining\n".to_owned();
        for (key, pairs) in &self.items {
            for (day, [used, remaining]) in pairs.iter().enumerate() {
                let date = self.start.saturating_add(Span::new().days(i64::try_from(day).unwrap_or(i64::MAX)));
                let _ = writeln!(text, "{date},{},{used},{remaining}", field(key));
            }
        }
        text
    }
}

/// Values of claims may hold anything (RFC 4180).
fn field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gold() -> UsagePlan {
        let text = r#"{"apiVersion": "tollgate.dev/v1alpha1", "kind": "UsagePlan", "metadata": {"name": "gold", "namespace": "shop"}, "spec": {},
            "status": {"usage": {"periodStart": "2026-11-01T00:00:00Z", "periodEnd": "2026-12-01T00:00:00Z", "observedAt": "2026-11-21T12:00:00Z",
                "used": 45, "customers": 2, "keys": [
                    {"key": "alice", "used": 40, "remaining": 60, "from": "2026-11-19", "days": [[15, 85], [0, 85], [25, 60]]},
                    {"key": "claim:a,b", "used": 5, "remaining": 95, "from": "2026-11-21", "days": [[5, 95]]}]}}}"#;
        plan(text).expect("a plan")
    }

    fn date(text: &str) -> Option<Date> {
        Some(text.parse().expect("a date"))
    }

    /// Proves R-PLAN-12.
    #[test]
    fn days_are_pairs_of_used_and_remaining_in_the_shape_of_get_usage() {
        let all = usage(&gold(), None, None, None).expect("usage");
        assert_eq!(
            all.json(),
            json!({"usagePlanId": "shop/gold", "startDate": "2026-11-19", "endDate": "2026-11-21", "items": {
                "alice": [[15, 85], [0, 85], [25, 60]], "claim:a,b": [[0, 100], [0, 100], [5, 95]]}})
        );
        let some = usage(&gold(), Some("alice"), date("2026-11-18"), date("2026-11-19")).expect("usage");
        assert_eq!(some.json()["items"], json!({"alice": [[0, 100], [15, 85]]}));
        assert_eq!(
            usage(&gold(), None, date("2026-11-21"), date("2026-11-22")).expect("usage").csv(),
            "date,key,used,remaining\n2026-11-21,alice,25,60\n2026-11-22,alice,0,60\n2026-11-21,\"claim:a,b\",5,95\n2026-11-22,\"claim:a,b\",0,95\n"
        );
    }

    #[test]
    fn a_file_of_another_plan_is_not_taken_for_it() {
        let said = |namespace: Option<&str>, plan: &str| {
            let (plan, namespace) = (plan.to_owned(), namespace.map(str::to_owned));
            let args =
                UsageArgs { plan, namespace, key: None, from: None, to: None, output: UsageForm::Json, file: None };
            named(gold(), &args).map(drop)
        };
        assert_eq!([said(None, "gold"), said(Some("shop"), "gold")], [Ok(()), Ok(())]);
        let other = "it is of UsagePlan shop/gold, not silver: name that plan, or give another file";
        assert_eq!(said(None, "silver"), Err(other.to_owned()));
        assert!(said(Some("stall"), "gold").is_err_and(|message| message.contains("not stall/gold")));
    }

    /// Proves R-PLAN-12.
    #[test]
    fn what_cannot_be_asked_is_told() {
        let said = |key, from, to| usage(&gold(), key, from, to).expect_err("refused");
        assert_eq!(
            said(None, date("2026-11-21"), date("2026-11-20")),
            "--to 2026-11-20 lies before --from 2026-11-21: exchange them"
        );
        assert_eq!(
            said(None, date("2026-08-24"), date("2026-11-22")),
            "from 2026-08-24 to 2026-11-22 are 91 days: ask for at most 90"
        );
        assert!(said(Some("bob"), None, None).starts_with("nothing is known of \"bob\""));
        assert!(usage(&UsagePlan::new("x", tollgate_crds::UsagePlanSpec::default()), None, None, None).is_err());
        assert!(plan("kind: ApiKey").expect_err("refused").starts_with("kind is \"ApiKey\": give one UsagePlan"));
    }
}
