//! What a README says that its commands print, and whether they do.

use std::path::Path;
use std::process::Command;

/// Ends the output of a command in what the shell prints.
const MARK: &str = "-- end of a command --";

/// The commands of a README's ```` ```console ```` blocks, each with what it prints.
#[derive(Clone, Debug)]
pub struct Console(Vec<(String, String)>);

impl Console {
    /// Reads a README.
    pub fn read(file: &Path) -> Self {
        let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let console = Self::parse(&text);
        assert!(!console.0.is_empty(), "{} shows no commands", file.display());
        console
    }

    fn parse(readme: &str) -> Self {
        let mut commands: Vec<(String, String)> = Vec::new();
        let mut inside = false;
        for line in readme.lines() {
            match (inside, line.strip_prefix("$ ")) {
                (false, _) => inside = line == "```console",
                (true, _) if line == "```" => inside = false,
                (true, Some(command)) => commands.push((command.to_owned(), String::new())),
                (true, None) => {
                    let output = &mut commands.last_mut().expect("output follows a command").1;
                    *output += line;
                    output.push('\n');
                }
            }
        }
        Self(commands)
    }

    /// Only the commands that `wanted` keeps, by their text.
    #[must_use]
    pub fn only(mut self, wanted: impl Fn(&str) -> bool) -> Self {
        self.0.retain(|(command, _)| wanted(command));
        self
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Runs them in one shell, since later ones use variables of earlier ones. `curl` runs without its progress meter and
    /// with these arguments added; `change` may put what this run has in place of what the README says.
    ///
    /// # Errors
    /// The first command that printed something else, and both texts.
    pub fn check(&self, curl: &str, change: impl Fn(&str) -> String) -> Result<(), String> {
        let mut script = format!("curl() {{ command curl -sS {curl} \"$@\"; }}\n");
        for (command, _) in &self.0 {
            script += &format!("{}\nprintf '\\n%s\\n' '{MARK}'\n", change(command));
        }
        let output = Command::new("bash").arg("-c").arg(script).output().expect("bash runs");
        let output = String::from_utf8_lossy(&output.stdout).replace('\r', "");
        let end = format!("\n{MARK}\n");
        let mut printed = output.split(&end);
        for (command, expected) in &self.0 {
            let printed = printed.next().unwrap_or_default();
            if !is_like(printed, expected) {
                return Err(format!("$ {command}\n{printed}\n--- but the README says ---\n{expected}"));
            }
        }
        Ok(())
    }
}

/// Whether `text` is `pattern`, in which `…` stands for anything within a line.
fn is_like(text: &str, pattern: &str) -> bool {
    let (text, pattern): (Vec<&str>, Vec<&str>) =
        (text.trim_end().lines().collect(), pattern.trim_end().lines().collect());
    let line = |(text, pattern): (&&str, &&str)| match pattern.split_once('…') {
        Some((before, after)) => text.starts_with(before) && text.ends_with(after),
        None => text == pattern,
    };
    text.len() == pattern.len() && text.iter().zip(&pattern).all(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_command_prints_is_compared() {
        let readme = "text\n```console\n$ A=7\n$ echo $A\n7\n$ echo date: $A\ndate: …\n```\n$ no command\n";
        let console = Console::parse(readme);
        assert_eq!(console.len(), 3);
        assert_eq!(console.check("", str::to_owned), Ok(()));
        let other = console.check("", |command| command.replace("A=7", "A=8")).unwrap_err();
        assert!(other.starts_with("$ echo $A\n8") && other.ends_with("says ---\n7\n"), "{other}");
        assert!(console.only(|command| command == "echo $A").check("", str::to_owned).is_err());
    }
}
