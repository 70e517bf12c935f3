//! Checks on a machine with a GPU what no other machine can: `cargo xtask gpu-check` builds and starts it.
//!
//! It carries no weights: it makes models with random ones, of the shapes of real models. With `--cpu` it does the same
//! with tiny models on the CPU, which proves that it works itself, and nothing about a GPU. Each check prints a line; the
//! exit code is 1 if one failed.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for developers, whose output is its purpose"
)]
mod encoder;
mod language;
mod machine;
mod weights;

use std::{
    env,
    error::Error,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use candle_core::Device;

/// What a check found out, for its line.
type Outcome = Result<String, Box<dyn Error + Send + Sync>>;

/// Where the models run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Gpu,
    /// Tiny models, and made-up shortages.
    Cpu,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => return check(Place::Gpu),
        ["--cpu"] => return check(Place::Cpu),
        // These two are children of a check.
        ["probe"] => Ok(machine::probe()),
        ["vectors", directory] => machine::vectors(Path::new(directory)),
        _ => Err("usage: gpu_check [--cpu]".into()),
    };
    match outcome {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// All checks, one after the other: a failed one does not end the others.
fn check(place: Place) -> ExitCode {
    let device = match place {
        Place::Cpu => Device::Cpu,
        Place::Gpu => match Device::new_cuda(0) {
            Ok(device) => device,
            Err(error) => {
                let why = error.to_string();
                let why = why.lines().next().unwrap_or_default();
                eprintln!("error: no GPU can be used here ({why}); `--cpu` tries this program itself");
                return ExitCode::FAILURE;
            }
        },
    };
    match all(place, &device) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failed) => {
            println!("{failed} failed");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns how many failed.
fn all(place: Place, device: &Device) -> Result<usize, Box<dyn Error + Send + Sync>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let directory = tempfile::tempdir()?;
    let mut report = Report::default();
    report.take("without a driver", || machine::without_driver(directory.path()));
    report.take("with what is here", || machine::with_driver(place));
    report.take("the device's name", || machine::name(place));
    let models = weights::Models::of(place);
    let mut made = false;
    report.take("random models", || {
        let said = models.make(directory.path());
        made = said.is_ok();
        said
    });
    if !made {
        return Ok(report.failed);
    }
    report.take("CPU and device agree", || machine::agree(directory.path()));
    report.take("encoder, batches", || runtime.block_on(encoder::batches(&models, directory.path())));
    let mut bandwidth = None;
    report.take("bandwidth of a copy", || {
        let (bytes, measured) = machine::bandwidth(place, device)?;
        bandwidth = Some(measured);
        Ok(format!("{:.1} GB/s, read and written, {} MiB", measured / 1e9, bytes >> 20))
    });
    if let Some(bandwidth) = bandwidth {
        report.take("decoding", || language::decode(&models, directory.path(), bandwidth));
    }
    report.take("encoder, no memory", || {
        runtime.block_on(encoder::shortage(&models, directory.path(), device))
    });
    report.take("decoding, no memory", || {
        runtime.block_on(language::shortage(&models, directory.path(), device))
    });
    report.take("a stream, end to end", || runtime.block_on(language::stream(directory.path())));
    report.take("cancel frees the slot", || runtime.block_on(language::cancel(directory.path())));
    Ok(report.failed)
}

/// Prints a line for each check.
#[derive(Default)]
struct Report {
    failed: usize,
}

impl Report {
    fn take(&mut self, name: &str, check: impl FnOnce() -> Outcome) {
        let start = Instant::now();
        let outcome = check();
        let seconds = start.elapsed().as_secs_f64();
        match outcome {
            Ok(found) => println!("ok      {name:22} {seconds:6.1} s  {found}"),
            Err(error) => {
                self.failed += 1;
                println!("FAILED  {name:22} {seconds:6.1} s  {error}");
            }
        }
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn cosine(one: &[f32], other: &[f32]) -> f64 {
    let product =
        |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    product(one, other) / (product(one, one) * product(other, other)).sqrt()
}
