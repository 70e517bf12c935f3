//! `cargo xtask fuzz`: searches for inputs that break code that reads external input.
//!
//! The targets are in `fuzz/`; their promises are beside the code they run, as `flash_test_support::fuzz_target!`. The
//! fuzzer is libFuzzer, run by cargo-fuzz without a sanitizer, so that the stable toolchain is enough. Inputs found
//! during a search are kept in `target/fuzz-corpus`; those worth keeping are copied to `fuzz/corpus`, where unit tests
//! run them permanently.
use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use clap::Args;

use crate::{
    command::{cargo, run as run_command, shown, succeeds},
    failure::Failure,
    output,
    steps::Steps,
    workspace,
};

/// The longest input in bytes: enough for every format, short enough to be fast.
const MAX_BYTES: u32 = 16_384;
/// How many lines of a failed search are shown.
const LAST_LINES: usize = 40;

/// Search for inputs that break code that reads external input.
///
/// Installs cargo-fuzz if it is missing, and needs a C++ compiler. Runs each target in `fuzz/fuzz_targets` for a
/// while, starting from the inputs in `fuzz/corpus` and those found by earlier searches, and prints the number of
/// inputs tried. An input that breaks a promise is saved in `fuzz/artifacts`: fix the reader, then copy the input
/// to `fuzz/corpus/TARGET` to make it a unit test.
#[derive(Args)]
#[command(after_help = "Examples:\n  cargo xtask fuzz\n  cargo xtask fuzz envelope --seconds 600")]
pub(crate) struct Arguments {
    /// One target; all targets if left out.
    target: Option<String>,
    /// Seconds to search each target.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

/// Runs the search.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let known = targets()?;
    let chosen = match &arguments.target {
        None => known,
        Some(name) if known.contains(name) => vec![name.clone()],
        Some(name) => {
            let hint = format!("the targets are {}", known.join(", "));
            return Err(Failure::new(format!("no target named `{name}`")).hint(hint));
        }
    };
    let mut steps = Steps::start();
    steps.take("cargo-fuzz", prepare)?;
    let mut tried = Vec::new();
    for target in &chosen {
        output::say("Searching", &format!("{target} for {} s", arguments.seconds));
        let count = search(target, arguments.seconds)?;
        output::say("Tried", &format!("{count} inputs of {target}"));
        tried.push(format!("{target:<20} {count:>12}"));
    }
    output::result(&tried.join("\n"));
    steps.finish("fuzz");
    Ok(())
}

fn targets() -> Result<Vec<String>, Failure> {
    let directory = workspace::root().join("fuzz/fuzz_targets");
    let files = std::fs::read_dir(&directory).map_err(Failure::at(directory.display()))?;
    let name = |path: PathBuf| Some(path.file_stem()?.to_str()?.to_owned());
    let mut names: Vec<String> = files.filter_map(|file| name(file.ok()?.path())).collect();
    names.sort();
    Ok(names)
}

fn prepare() -> Result<(), Failure> {
    if succeeds("cargo", &["fuzz", "--version"]) {
        output::say("Found", "cargo-fuzz");
        return Ok(());
    }
    run_command(&mut cargo(&["install", "cargo-fuzz", "--locked"]))
}

/// Searches one target until its time is up; returns how many inputs were tried.
fn search(target: &str, seconds: u32) -> Result<u64, Failure> {
    let root = workspace::root();
    let found = workspace::target().join("fuzz-corpus").join(target);
    std::fs::create_dir_all(&found).map_err(Failure::at(found.display()))?;
    let kept = root.join("fuzz/corpus").join(target);
    let mut command = cargo(&["fuzz", "run", "--sanitizer", "none", target]);
    command.args([&found, &kept]).arg("--");
    command.arg(format!("-max_total_time={seconds}")).arg(format!("-max_len={MAX_BYTES}"));
    // The longest time for one input: a slow reader is a finding too.
    command.args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"]);
    let line = shown(&command);
    output::say("Running", &line);
    let output = command.stdin(Stdio::null()).output().map_err(Failure::at(&line))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        return tried(&said)
            .ok_or_else(|| Failure::new(format!("`{line}` did not say how many inputs it tried")));
    }
    let lines: Vec<&str> = said.lines().collect();
    let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
    let artifacts = Path::new("fuzz/artifacts").join(target);
    Err(Failure::new(format!("an input breaks `{target}`, or it could not be built:\n{last}")).hint(format!(
        "inputs are in {}; run one with `cargo fuzz run -s none {target} FILE`",
        artifacts.display()
    )))
}

/// The count that libFuzzer prints at the end.
fn tried(said: &str) -> Option<u64> {
    let line = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_read_from_the_final_statistics() {
        let said =
            "Done 12 runs in 1 second(s)\nstat::number_of_executed_units: 4294967\nstat::peak_rss_mb: 40\n";
        assert_eq!(tried(said), Some(4_294_967));
        assert_eq!(tried("nothing"), None);
    }
}
