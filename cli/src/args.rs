//! The command line.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use k8s_openapi::jiff::civil::Date;

use crate::backend::args::BackendArgs;

/// Amazon API Gateway's model on Kubernetes: check and run the same YAML without a cluster
#[derive(Debug, Parser)]
#[command(name = "tollgate", version, about, max_term_width = 120)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Checks files offline: YAML, schema, rules and references, as a cluster would
    ///
    /// Exits with 0 when nothing is wrong, with 1 when there are problems, with 64 when the command line is wrong.
    Check {
        /// Directories, read with everything below them, and files
        #[arg(required = true, value_name = "DIR|FILE")]
        paths: Vec<PathBuf>,
        /// How to print what was found
        #[arg(long, value_enum, default_value_t = Output::Human)]
        output: Output,
    },
    /// Serves a directory of YAML files on this machine, and follows what you change in them
    ///
    /// Reads the same objects as a cluster. Deployments whose container is `tollgate backend …` are run within this
    /// program. Addresses and mistakes are printed to standard error, access logs to standard output.
    Dev {
        /// The directory, read with everything below it
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// Where to serve HTTP
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
        listen: SocketAddr,
        /// Where to serve HTTPS, with a certificate made here
        #[arg(long, value_name = "ADDR")]
        tls_listen: Option<SocketAddr>,
        /// Where to serve health, metrics and what runs
        #[arg(long, value_name = "ADDR")]
        admin: Option<SocketAddr>,
        /// Where to keep keys and certificates, so that they are the same after a restart
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,
        /// Worker threads; two unless the machine has one core
        #[arg(long, value_name = "N")]
        workers: Option<NonZeroUsize>,
        /// What the program logs, e.g. info or tollgate_proxy=debug
        #[arg(long, value_name = "FILTER", default_value = "warn")]
        log: String,
    },
    /// Turns an OpenAPI 3.0 document into objects, printed as YAML
    ///
    /// Understands the x-amazon-apigateway extensions of HTTP APIs. Everything that has no equivalent is told on standard
    /// error, with its line. Exits with 1 when the document is refused.
    Import(ImportArgs),
    /// Writes the OpenAPI 3.0 document of an HttpApi and of its Routes, Authorizers and Integrations
    ///
    /// Importing it gives the same objects again.
    Export(ExportArgs),
    /// API keys
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Prints what customers of a UsagePlan used, day by day, as AWS's GetUsage does
    ///
    /// Asks the cluster with kubectl, and reads status.usage of the plan.
    Usage(UsageArgs),
    /// Runs a backend for examples and tests: an echo service, a function, a token issuer
    Backend(BackendArgs),
    /// Prints the custom resource definitions, for `kubectl apply --server-side -f -`
    Crds,
}

/// What `tollgate import` is told.
#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    /// The document, JSON or YAML; - for standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Name of the HttpApi, made of info.title unless given
    #[arg(long)]
    pub name: Option<String>,
    /// Namespace of the objects
    #[arg(long, short, value_parser = object_name)]
    pub namespace: Option<String>,
    /// Adds a Stage of this name, e.g. '$default' or prod; documents describe none
    #[arg(long, value_name = "NAME")]
    pub stage: Option<String>,
    /// What to do with the base path of the first server
    #[arg(long, alias = "basepath", value_enum, default_value_t = BasePath::Ignore)]
    pub base_path: BasePath,
    /// Refuses the document when there are warnings
    #[arg(long)]
    pub fail_on_warnings: bool,
    /// Port of the Services that functions are expected behind
    #[arg(long, value_name = "PORT", default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..))]
    pub function_port: u16,
    /// What stands for ${AWS::AccountId}
    #[arg(long, value_name = "ID", default_value = "000000000000")]
    pub account_id: String,
    /// What stands for ${AWS::Region}
    #[arg(long, default_value = "local")]
    pub region: String,
}

/// What to do with API keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Turns a CSV file, as AWS's import of API keys reads it, into Secrets and ApiKeys, printed as YAML
    ///
    /// The first line names the columns: Name and Key, and if you like Description, Enabled and UsagePlanIds. Rows that
    /// cannot be keys are left out, and told on standard error with their line.
    Import(KeysImportArgs),
}

/// What `tollgate keys import` is told.
#[derive(Debug, clap::Args)]
pub struct KeysImportArgs {
    /// The file; - for standard input
    #[arg(value_name = "FILE.csv")]
    pub file: PathBuf,
    /// Namespace of the objects
    #[arg(long, short, value_parser = object_name)]
    pub namespace: Option<String>,
    /// Name of the Secrets that the values go into; a number is added
    #[arg(long, value_name = "NAME", default_value = "imported-api-keys", value_parser = object_name)]
    pub secret: String,
    /// Which UsagePlan stands for an id of UsagePlanIds; repeatable. Without it, the id is taken for the name
    #[arg(long = "plan", value_name = "ID=NAME", value_parser = plan_name)]
    pub plans: Vec<(String, String)>,
    /// Prints nothing when there are warnings
    #[arg(long)]
    pub fail_on_warnings: bool,
}

/// What `tollgate usage` is told.
#[derive(Debug, clap::Args)]
pub struct UsageArgs {
    /// The UsagePlan
    #[arg(value_name = "PLAN")]
    pub plan: String,
    /// Its namespace; kubectl's own unless given
    #[arg(long, short)]
    pub namespace: Option<String>,
    /// Only this ApiKey
    #[arg(long, value_name = "NAME")]
    pub key: Option<String>,
    /// First day; the first that is known unless given
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub from: Option<Date>,
    /// Last day; the last that is known unless given
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub to: Option<Date>,
    /// How to print it
    #[arg(long, short, value_enum, default_value_t = UsageForm::Json)]
    pub output: UsageForm,
    /// Reads the plan from a file instead of asking kubectl; - for standard input
    #[arg(long, short, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// How to print usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum UsageForm {
    /// The shape of AWS's GetUsage
    Json,
    /// One line for each day and customer
    Csv,
}

fn plan_name(text: &str) -> Result<(String, String), String> {
    let (id, name) = text.split_once('=').ok_or("write ID=NAME")?;
    Ok((id.to_owned(), object_name(name)?))
}

fn object_name(text: &str) -> Result<String, String> {
    if !is_object_name(text) {
        return Err(format!(
            "{text:?} is no name of an object: use lower-case letters, digits, - and ., with a letter or digit first and last"
        ));
    }
    Ok(text.to_owned())
}

/// As the schema wants names.
pub(crate) fn is_object_name(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let bytes = text.as_bytes();
    bytes.len() <= 253
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(byte))
}

/// What to do with a base path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BasePath {
    /// Paths stay as they are
    Ignore,
    /// It is put in front of every path
    Prepend,
    /// The same without its first segment
    Split,
}

/// What `tollgate export` is told.
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    /// Directories, read with everything below them, and files; - for standard input, e.g. of kubectl get -o yaml
    #[arg(required = true, value_name = "DIR|FILE")]
    pub paths: Vec<PathBuf>,
    /// The HttpApi; needed when there are several
    #[arg(long, value_name = "NAME")]
    pub api: Option<String>,
    /// Its namespace
    #[arg(long, short)]
    pub namespace: Option<String>,
    /// Names the stage in servers
    #[arg(long, value_name = "NAME")]
    pub stage: Option<String>,
    /// Host of the API in servers, NAME.NAMESPACE.localhost unless given
    #[arg(long)]
    pub host: Option<String>,
    /// Leaves out every extension, ours and AWS's
    #[arg(long)]
    pub no_extensions: bool,
    /// How to write the document
    #[arg(long, value_enum, default_value_t = DocumentForm::Yaml)]
    pub output: DocumentForm,
}

/// How to write a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DocumentForm {
    /// YAML
    Yaml,
    /// JSON
    Json,
}

/// How to print what was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// As compilers do
    Human,
    /// One JSON document, see docs/cli.md
    Json,
}
