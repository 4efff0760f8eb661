//! The table of values in the chart's README, from the comments in its values.yaml.

use anyhow::{Context, Result};

use crate::shell;

/// Where the page is.
pub(crate) const PAGE: &str = "charts/tollgate/README.md";
const VALUES: &str = "charts/tollgate/values.yaml";

const INTRODUCTION: &str = "\
# The chart `tollgate`

Installs two controllers and a fleet of proxies:

```
helm install tollgate charts/tollgate --namespace tollgate --create-namespace --wait
```

The namespace may enforce the `restricted` Pod Security level. The proxies' ServiceAccount has no rights. `helm upgrade` also upgrades
the definitions (they are templates, not Helm's `crds/`); `helm uninstall` leaves them, and so every API, in place unless
`crds.keep=false`. The Secret and ConfigMap `tollgate-feed-ca` are made by the controllers and outlive the release.

When `helm install` says that definitions exist already, they were applied by hand: add `--set crds.install=false`, or hand them over with
`--take-ownership`.

## Values

Generated from the comments in `values.yaml` by `cargo xtask generate`.

| value | default | meaning |
|---|---|---|
";

/// One row of the table.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    path: String,
    default: String,
    meaning: String,
}

/// The whole page.
pub(crate) fn render() -> Result<String> {
    let values = std::fs::read_to_string(shell::root().join(VALUES)).with_context(|| format!("reading {VALUES}"))?;
    let rows = rows(&values).into_iter().map(|Row { path, default, meaning }| {
        let default = default.replace('|', "\\|");
        format!("| `{path}` | `{default}` | {} |\n", meaning.replace('|', "\\|"))
    });
    Ok(INTRODUCTION.to_owned() + &rows.collect::<String>())
}

/// Every line with a value, with the comment lines directly above it. The file is block style with flow style leaves.
fn rows(values: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut parents: Vec<(usize, String)> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    for line in values.lines() {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        if let Some(text) = trimmed.strip_prefix('#') {
            comment.push(text.trim());
            continue;
        }
        let meaning = std::mem::take(&mut comment).join(" ");
        let Some((key, default)) = trimmed.split_once(':') else { continue };
        parents.retain(|(depth, _)| *depth < indent);
        let path = |key: &str| parents.iter().map(|(_, name)| name.as_str()).chain([key]).collect::<Vec<_>>().join(".");
        match default.trim() {
            "" if meaning.is_empty() => parents.push((indent, key.to_owned())),
            // A comment above a block is about what follows in it.
            "" => {
                rows.push(Row { path: path(key), default: "…".to_owned(), meaning });
                parents.push((indent, key.to_owned()));
            }
            default => rows.push(Row { path: path(key), default: default.to_owned(), meaning }),
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_path_default_and_comment() {
        let values = "# head\n\nimage:\n  # Where\n  # it is.\n  repository: x\n  tag: \"\"\nproxy:\n  # Sizes.\n  resources:\n    limits: {memory: 1Gi}\nlast: []\n";
        let row = |path: &str, default: &str, meaning: &str| Row {
            path: path.to_owned(),
            default: default.to_owned(),
            meaning: meaning.to_owned(),
        };
        assert_eq!(
            rows(values),
            [
                row("image.repository", "x", "Where it is."),
                row("image.tag", "\"\"", ""),
                row("proxy.resources", "…", "Sizes."),
                row("proxy.resources.limits", "{memory: 1Gi}", ""),
                row("last", "[]", ""),
            ]
        );
    }
}
