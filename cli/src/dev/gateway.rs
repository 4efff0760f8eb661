//! The proxy within this process.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;
use tollgate_engine::snapshot::{AuthorizerReport, UnitId, UnitReport};
use tollgate_proxy::Settings;
use tollgate_proxy::access_log::Destination;
use tollgate_proxy::admin::{Admin, AdminParts};
use tollgate_proxy::feed::View;
use tollgate_proxy::hosts::Hosts;
use tollgate_proxy::process::{self, Process};
use tollgate_proxy::settings::Drain;
use tollgate_proxy::telemetry::LogFilter;
use tollgate_proxy::tls::{Pair, self_signed};
use tollgate_proxy::units::{Publisher, UnitSet};
use tollgate_proxy::usage::StoreKind;

use super::Options;

/// Requests in flight when the program is asked to end are waited for this long.
const DRAIN: Duration = Duration::from_secs(2);

/// A running proxy and what belongs to it.
#[derive(Debug)]
pub struct Gateway {
    process: Process,
    /// Names of Services.
    pub hosts: Hosts,
    view: watch::Sender<View>,
    admin: Option<Admin>,
}

impl Gateway {
    /// Binds and starts; clients wait until something is published.
    ///
    /// # Errors
    ///
    /// When an address is taken or the certificate cannot be made or kept.
    pub fn start(options: &Options, log: LogFilter) -> anyhow::Result<Self> {
        let hosts = Hosts::default();
        let settings = Settings {
            listen: Some(options.listen),
            tls_listen: options.tls_listen,
            workers: options.workers.unwrap_or(default_workers()),
            wait_for_configuration: true,
            hosts: hosts.clone(),
            drain: Drain { min: Duration::ZERO, max: DRAIN },
            ..Settings::default()
        };
        let process = Process::start(process::Options {
            settings,
            certificates: Vec::new(),
            fallback_certificate: options.tls_listen.map(|_| certificate(options.state.as_deref())).transpose()?,
            access_log: Destination::Stdout,
            spans: None,
            usage: usage(options.state.as_deref())?,
            usage_store: None,
        })?;
        let view = watch::Sender::new(View::default());
        let admin = options.admin.map(|address| {
            let parts = AdminParts {
                metrics: process.metrics.clone(),
                readiness: process.readiness.clone(),
                view: view.subscribe(),
                usage: process.usage.clone(),
                log: Arc::new(log),
            };
            let hint = "stop the program that uses the address, or choose another with --admin";
            Admin::start(address, parts).with_context(|| format!("cannot listen on {address}; {hint}"))
        });
        Ok(Self { process, hosts, view, admin: admin.transpose()? })
    }

    /// Takes units into service, and shows them on the admin port.
    pub fn publisher(&self) -> Arc<dyn Publisher> {
        Arc::new(Shown {
            publisher: self.process.publisher(),
            view: self.view.clone(),
            readiness: self.process.readiness.clone(),
        })
    }

    /// Where it listens, with the ports that the system chose for 0.
    pub fn listeners(&self) -> super::addresses::Listeners {
        super::addresses::Listeners {
            http: self.process.listen().expect("--listen has a default"),
            https: self.process.tls_listen(),
            admin: self.admin.as_ref().map(Admin::address),
        }
    }

    /// Issuers whose keys cannot be had at the moment.
    pub fn issuers_in_trouble(&self) -> Vec<AuthorizerReport> {
        self.process.jwks.reports()
    }

    /// Finishes what is in flight and ends.
    pub fn stop(self) {
        self.process.drain();
    }
}

struct Shown {
    publisher: Arc<dyn Publisher>,
    view: watch::Sender<View>,
    readiness: tollgate_proxy::readiness::Readiness,
}

impl Publisher for Shown {
    fn publish(&self, units: &UnitSet) -> Vec<UnitReport> {
        let problems = self.publisher.publish(units);
        let whole = units.iter().map(|(id, held)| {
            (id.clone(), UnitReport { id: id.clone(), hash: held.hash.clone(), problems: Vec::new() })
        });
        let mut reports: BTreeMap<UnitId, UnitReport> = whole.collect();
        reports.extend(problems.iter().map(|report| (report.id.clone(), report.clone())));
        self.view.send_replace(View { units: units.clone(), reports: Arc::new(reports) });
        self.readiness.set_complete();
        problems
    }
}

/// Two: enough to find out what one worker hides, without filling a laptop.
fn default_workers() -> NonZeroUsize {
    const TWO: NonZeroUsize = NonZeroUsize::new(2).expect("two is not zero");
    std::thread::available_parallelism().map_or(NonZeroUsize::MIN, |cores| cores.min(TWO))
}

/// Quotas survive restarts with `--state`.
fn usage(state: Option<&Path>) -> anyhow::Result<StoreKind> {
    let Some(state) = state else { return Ok(StoreKind::Memory) };
    let directory = state.join("usage");
    StoreKind::in_directory(&directory).with_context(|| {
        format!("quotas cannot be kept in {}; choose another directory with --state", directory.display())
    })
}

fn certificate(state: Option<&Path>) -> anyhow::Result<Pair> {
    let names = ["localhost", "*.localhost", "*.execute-api.localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let keep_in = state.map(|state| state.join("tls"));
    self_signed(&names, keep_in.as_deref()).context("the certificate for --tls-listen cannot be made or kept")
}
