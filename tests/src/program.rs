//! Clients that somebody else wrote, where the machine has them.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::patience::within;

/// Says that a test saw nothing, and why. Written past the test runner's capture, so that it is seen
/// although the test passes.
pub fn skipped(what: &str) {
    let line = format!("SKIPPED: {what} not found\n");
    std::io::stderr()
        .write_all(line.as_bytes())
        .expect("stderr is open");
}

/// Finds the first of some programs on the `PATH`.
pub(crate) fn find_any_program(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let files = names.iter().flat_map(|name| {
        directories
            .iter()
            .map(move |directory| directory.join(name))
    });
    let mut files = files.filter(|file| file.is_file());
    files.next()
}

/// Finds a program on the `PATH`; says that it is missing otherwise.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let found = find_any_program(&[name]);
    if found.is_none() {
        skipped(name);
    }
    found
}

/// Runs a program to its end with `input` on its standard input.
pub async fn run_program(program: &std::path::Path, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(input.as_bytes()).await.expect("it reads");
    drop(stdin);
    let output = within("a program's end", child.wait_with_output()).await;
    output.expect("it was waited for")
}
