//! Asks for a secret: on a terminal without echoing it, else from the first line of standard input.

use std::io::{self, BufRead, IsTerminal};

use anyhow::{Context, bail};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::output;

/// The longest line that is read, in bytes: no key is as long.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// Reads one secret. `what` is shown where a person is asked.
///
/// # Errors
/// Nothing was given, or the question was broken off.
pub(crate) async fn secret(what: &str) -> anyhow::Result<String> {
    let echo = if io::stdin().is_terminal() { Some(EchoOff::new()?) } else { None };
    if echo.is_some() {
        output::ask(&format!("{what}: "));
    }
    let (done, line) = tokio::sync::oneshot::channel();
    // A thread of its own: where the question is broken off nothing waits for the line.
    std::thread::spawn(move || drop(done.send(read_line(io::stdin().lock()))));
    let line = tokio::select! {
        line = line => line.context("standard input cannot be read")?,
        _ = tokio::signal::ctrl_c(), if echo.is_some() => {
            drop(echo);
            output::note("");
            bail!("broken off; nothing was done");
        }
    };
    line
}

fn read_line(input: impl BufRead) -> anyhow::Result<String> {
    let mut line = String::new();
    input.take(LINE_BYTES_MAX).read_line(&mut line).context("standard input cannot be read")?;
    let line = line.trim();
    if line.is_empty() {
        bail!("nothing was given");
    }
    Ok(line.to_owned())
}

/// While it lives the terminal does not show what is typed.
struct EchoOff {
    before: Termios,
}

impl EchoOff {
    fn new() -> anyhow::Result<Self> {
        let before = tcgetattr(io::stdin()).context("the terminal cannot be asked")?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        // The end of the line is shown, or the next words would stand behind the question.
        silent.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(io::stdin(), OptionalActions::Now, &silent).context("the terminal's echo cannot be turned off")?;
        Ok(Self { before })
    }
}

impl Drop for EchoOff {
    fn drop(&mut self) {
        // A terminal that has gone away needs no echo.
        let _restored = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_secret() {
        for (text, expected) in [
            ("key\n", Some("key")),
            ("  key \r\nmore\n", Some("key")),
            ("key", Some("key")),
            ("", None),
            ("\nkey\n", None),
        ] {
            assert_eq!(read_line(text.as_bytes()).ok().as_deref(), expected, "{text:?}");
        }
    }
}
