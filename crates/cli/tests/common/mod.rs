//! Runs the built command.

#![allow(dead_code)] // each test file uses its part

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The command, in the root of the repository, on the CPU with the backtraces that a developer's shell may ask for.
pub fn cirio() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cirio"));
    command.current_dir(root()).env_remove("CIRIO_WEIGHTS").env("RUST_BACKTRACE", "1");
    command
}

/// The root of the repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Runs it with these arguments.
pub fn run(arguments: &[&str]) -> Output {
    cirio().args(arguments).output().expect("the command starts")
}

/// Runs it with this text on its standard input.
pub fn run_with_input(arguments: &[&str], input: &str) -> Output {
    let mut child =
        cirio().args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts");
    // A command that fails early does not read its input.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    child.wait_with_output().expect("the command ends")
}

/// Its stdout, when it ended well.
pub fn stdout(arguments: &[&str]) -> String {
    text(run(arguments))
}

/// The stdout of a run that ended well.
pub fn text(output: Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\nstdout: {out}\nstderr: {err}", output.status);
    out.into_owned()
}

/// The JSON document on its stdout.
pub fn json(arguments: &[&str]) -> Value {
    let text = stdout(arguments);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Asserts that it fails with this code, with one line on stderr that has all of `words`, and nothing on stdout.
pub fn fails(arguments: &[&str], code: i32, words: &[&str]) {
    failed(&run(arguments), code, words);
}

/// As [`fails`], for a run that is over.
pub fn failed(output: &Output, code: i32, words: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert!(output.stdout.is_empty(), "stdout: {}", String::from_utf8_lossy(&output.stdout));
    assert!(!error.contains("panicked") && !error.contains("candle_core::"), "{error}");
    // clap's own messages have a usage hint below the first paragraph.
    let lines = error.lines().take_while(|line| !line.is_empty()).filter(|line| line.starts_with("error:")).count();
    assert_eq!(lines, 1, "one line: {error}");
    for word in words {
        assert!(error.contains(word), "`{word}` is not in: {error}");
    }
}
