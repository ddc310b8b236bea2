//! What the command says: results on stdout, the rest on stderr, and its exit code.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;

/// The user asked for something that cannot be: exit code 2.
#[derive(Debug)]
pub struct Usage(pub String);

impl Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Prints a result on stdout.
pub fn print(text: impl Display) -> Result<()> {
    Ok(writeln!(io::stdout().lock(), "{text}")?)
}

/// Prints a result as one JSON document on stdout.
pub fn print_json(document: &impl Serialize) -> Result<()> {
    print(serde_json::to_string_pretty(document)?)
}

/// Says something on stderr; a closed stderr is no reason to stop.
pub fn say(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// 0, or an error's line on stderr and 1 or 2. A reader that went away (`cirio list | head -1`) is no error.
pub fn exit_code(done: Result<()>) -> ExitCode {
    let Err(error) = done else { return ExitCode::SUCCESS };
    if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    say(format_args!("error: {}", one_line(&error)));
    ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
}

/// An error and its causes on one line, without the backtraces that candle writes into its messages.
pub fn one_line(error: &anyhow::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = cause.to_string();
        let lines = text.lines().map(str::trim).take_while(|line| !is_frame(line)).filter(|line| !line.is_empty());
        let part = lines.collect::<Vec<_>>().join(": ");
        // Many errors repeat their cause in their own text.
        if !parts.iter().any(|earlier| earlier.contains(&part)) {
            parts.push(part);
        }
    }
    parts.join(": ")
}

/// A line of a backtrace: `0: candle_core::error::Error::bt`.
fn is_frame(line: &str) -> bool {
    line.split_once(": ").is_some_and(|(number, rest)| {
        !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit())
            && (rest.contains("::") || rest.contains("std") || rest.starts_with('<'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_stand_on_one_line_once() {
        let error = anyhow::anyhow!("no such file").context("cannot open a.png").context("cannot open a.png: no such file");
        assert_eq!(one_line(&error), "cannot open a.png: no such file");
    }

    #[test]
    fn backtraces_are_left_out() {
        let error =
            anyhow::anyhow!("in layer `fc`\nshape mismatch\n   0: candle_core::error::Error::bt\n             at ./src/error.rs:260\n");
        assert_eq!(one_line(&error), "in layer `fc`: shape mismatch");
    }
}
