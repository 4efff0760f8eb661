//! The chart's own store of usage plans: a real Valkey takes the command line that the chart gives it, and lets callers do what proxies
//! do and nothing else.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use tollgate_e2e::{Process, chart, eventually, programs, root, suite};

use crate::Shared;

const PASSWORD: &str = "a long password";

pub(crate) fn tests(shared: &Arc<Shared>) -> Vec<Trial> {
    vec![
        suite::test("store::valkey_runs_as_the_chart_says", shared, async |_: &Shared| runs(&[], 6479, "").await),
        suite::test("store::valkey_runs_with_a_password", shared, async |_: &Shared| {
            runs(&["usageStore.passwordSecret.name=store"], 6480, PASSWORD).await
        }),
    ]
}

/// A Valkey with the chart's command line.
struct Store {
    process: Process,
    port: u16,
    password: &'static str,
    folder: tempfile::TempDir,
}

impl Store {
    fn start(values: &[&str], port: u16, password: &'static str) -> Result<Self> {
        let folder = tempfile::TempDir::with_prefix("tollgate-valkey-")?;
        let mut command = Command::new(programs::valkey("valkey-server")?);
        command.args(command_line(values, folder.path(), port, password)?);
        let process = Process::start("valkey", &command, folder.path())?;
        Ok(Self { process, port, password, folder })
    }

    /// What the server says to a command, as the pod's probes call it.
    fn say(&self, words: &[&str]) -> Result<String> {
        let mut cli = Command::new(programs::valkey("valkey-cli")?);
        cli.args(["-p", &self.port.to_string()]).args(words);
        for variable in ["VALKEYCLI_AUTH", "REDISCLI_AUTH"] {
            cli.env_remove(variable);
            if !self.password.is_empty() {
                cli.env(variable, self.password);
            }
        }
        let output = cli.output()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned() + String::from_utf8_lossy(&output.stderr).trim())
    }

    async fn ready(&mut self) -> Result<()> {
        eventually("the store to answer", async || {
            self.process.alive()?;
            let answer = self.say(&["-e", "ping"])?;
            ensure!(answer == "PONG", "{answer}");
            Ok(())
        })
        .await
    }
}

/// The arguments of the container, with what a pod has elsewhere put in.
fn command_line(values: &[&str], folder: &Path, port: u16, password: &str) -> Result<Vec<String>> {
    let rendered = chart::render("own", values)?;
    let objects = serde_norway::Deserializer::from_str(&rendered)
        .map(|document| Ok(serde::Deserialize::deserialize(document)?))
        .collect::<Result<Vec<Value>>>()?;
    let set = objects.iter().find(|object| object["kind"] == "StatefulSet").context("no StatefulSet")?;
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    ensure!(container["command"] == serde_json::json!(["/usr/local/bin/valkey-server"]), "{}", container["command"]);
    let arguments = container["args"].as_array().context("no arguments")?;
    let argument = |value: &Value| {
        let text = value.as_str().context("an argument is no text")?;
        let text = text.replace("$(STORE_PASSWORD)", password);
        Ok(match text.as_str() {
            "/data" => folder.display().to_string(),
            "6379" => port.to_string(),
            _ => text,
        })
    };
    arguments.iter().map(argument).collect()
}

/// Proxies can do what they do, administration is refused, and what was counted is there again after a kill.
async fn runs(values: &[&str], port: u16, password: &'static str) -> Result<()> {
    let mut store = Store::start(values, port, password)?;
    store.ready().await?;
    let script = root().join("proxy/src/usage/lease.lua").display().to_string();
    // Of a window that ends long from now, with a limit of ten: one request.
    let lease = |key: &str| {
        [
            "--eval",
            &script,
            key,
            ",",
            "0",
            "0",
            "0",
            "0",
            "0",
            "1767225600",
            "4102444800",
            "10",
            "0",
            "0",
            "1",
            "0",
            "0",
            "0",
        ]
        .map(str::to_owned)
    };
    let leased = |store: &Store, key: &str| store.say(&lease(key).each_ref().map(String::as_str));
    let answer = leased(&store, "tollgate:{0}:a|b|")?;
    ensure!(answer.starts_with("0\n0\n0\n1\n1\n"), "{answer}");
    let refused = leased(&store, "somebody:else")?;
    ensure!(refused.contains("NOPERM"), "another key: {refused}");
    for command in [
        &["flushall"][..],
        &["flushdb"],
        &["config", "set", "dir", "/tmp"],
        &["config", "get", "*"],
        &["shutdown", "nosave"],
        &["debug", "sleep", "0"],
        &["replicaof", "127.0.0.1", "1"],
        &["acl", "setuser", "default", "allcommands"],
        &["module", "load", "/tmp/x.so"],
        &["keys", "*"],
        &["client", "kill", "127.0.0.1:1"],
        &["monitor"],
        &["save"],
        &["bgrewriteaof"],
        &["swapdb", "0", "1"],
    ] {
        let answer = store.say(command)?;
        ensure!(answer.contains("NOPERM") || answer.contains("command not allowed"), "{command:?}: {answer}");
    }
    if !password.is_empty() {
        let stranger = Store { password: "", ..store };
        let answer = stranger.say(&["ping"])?;
        ensure!(answer.contains("NOAUTH"), "without a password: {answer}");
        store = Store { password, ..stranger };
    }
    store.process.kill()?;
    // The same file, as in a pod whose container starts again.
    let mut command = Command::new(programs::valkey("valkey-server")?);
    command.args(command_line(values, store.folder.path(), port, password)?);
    store.process = Process::start("valkey", &command, store.folder.path())?;
    store.ready().await?;
    let used = store.say(&["hget", "tollgate:{0}:a|b|", "u"])?;
    ensure!(used == "1", "{used} of a quota is known after a kill");
    Ok(())
}
