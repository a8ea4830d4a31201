//! `completions SHELL`: the script a shell completes this program's words with.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Arguments;
use crate::commands::Failure;
use crate::output;

/// Prints the script.
pub(crate) fn print(shell: Shell) -> Result<(), Failure> {
    Ok(output::data(&script(shell))?)
}

/// Written to memory first: the generator panics where its output is closed early.
fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "tollgate", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_shell_learns_every_command() {
        for shell in Shell::value_variants() {
            let script = script(*shell);
            for word in [
                "up",
                "demo",
                "check",
                "keys",
                "rotate",
                "set-plan",
                "credit",
                "diff",
                "explain",
                "export",
                "webhooks",
                "replay",
                "reconcile",
                "simulate",
                "setup",
                "billing",
                "init",
                "login",
                "logout",
                "status",
                "completions",
            ] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }
}
