//! A test program of one level: shared parts are started once, on first use, and ended after the last test.

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::{Builder, Runtime};

/// Why a level cannot run here; see [`run`].
pub type Obstacle = anyhow::Error;

/// Runs the tests of a level. When `prepare` finds an obstacle the level is left out, which is said loudly, and with
/// `CI=true` is a failure. `finish` is called at the end and told whether all went well.
pub fn run(
    level: &str,
    prepare: impl FnOnce() -> Result<(), Obstacle>,
    tests: Vec<Trial>,
    finish: impl FnOnce(bool),
) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Tests here load the machine, kill programs and measure; they would disturb each other.
    arguments.test_threads = Some(1);
    if !arguments.list
        && let Err(obstacle) = prepare()
    {
        println!("\n!!! LEFT OUT: every test of the {level} level: {obstacle:#}\n");
        return if std::env::var("CI").is_ok_and(|ci| ci == "true") { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let conclusion = libtest_mimic::run(&arguments, tests);
    finish(!conclusion.has_failed());
    conclusion.exit_code()
}

/// A test that gets what the tests of its level share.
pub fn test<S, F>(name: &str, shared: &Arc<S>, body: F) -> Trial
where
    S: Send + Sync + 'static,
    F: AsyncFnOnce(&S) -> Result<()> + Send + 'static,
{
    let shared = shared.clone();
    Trial::test(name, move || block_on(body(&shared)).map_err(|error| Failed::from(format!("{error:#}"))))
}

/// Runs a future on the one runtime that set-up and all tests share; clients of the API go on working from test to test.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let build = || Builder::new_current_thread().enable_all().build();
    RUNTIME.get_or_init(|| build().expect("a runtime needs only memory and descriptors")).block_on(work)
}
