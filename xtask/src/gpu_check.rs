//! `cargo xtask gpu-check`: what only a machine with a GPU can say about models on one.
//!
//! The checks are a program of their own, an example of `flash-models`, so that this one compiles no model. Models have random
//! weights that are made where they run: what has to be carried to a machine with a GPU is one compressed binary.
use std::path::{Path, PathBuf};

use clap::Args;

use crate::{
    command::{cargo, command, read, run as run_command, succeeds},
    cuda_build,
    failure::Failure,
    output, prepare,
    steps::Steps,
    workspace,
};

const FEATURES: &str = "gguf,bert";

/// Check models on this machine's GPU, or pack the checks for a machine that has one.
///
/// Starts without and with a driver, names the device, compares vectors and logits with the CPU's, measures the encoder in
/// batches of 1, 32 and 256 and decoding of 1, 8 and 32 streams beside the bandwidth of a copy, takes the memory away and asks
/// for more, streams an answer and cancels one. It takes some minutes and 5 GB of GPU memory. Prepares CUDA like `cuda-build`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  cargo xtask gpu-check                            on a machine with a GPU\n  \
                        cargo xtask gpu-check --cpu                      try the checks themselves, with tiny models\n  \
                        cargo xtask gpu-check --pack --capabilities 9.0  for a machine with an H100 or H200"
)]
pub(crate) struct Arguments {
    /// Run the checks with tiny models on the CPU, built without CUDA. It proves that they work, and nothing about a GPU.
    #[arg(long, conflicts_with = "pack")]
    cpu: bool,
    /// Build and compress the checks into target/gpu-check, and run nothing. Needs no GPU.
    #[arg(long)]
    pack: bool,
    /// Compute capabilities to compile for.
    #[arg(long, value_name = "LIST", default_value = "9.0")]
    capabilities: String,
}

/// Runs or packs the checks.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.cpu {
        let mut checks =
            cargo(&["run", "--package", "flash-models", "--features", FEATURES, "--example", "gpu_check"]);
        return run_command(checks.args(["--", "--cpu"]));
    }
    if !arguments.pack && !succeeds("nvidia-smi", &["-L"]) {
        return Err(Failure::new(
            "no GPU here (`nvidia-smi -L` does not list one): `--pack` makes what a machine with one needs, and `--cpu` tries \
             the checks themselves",
        ));
    }
    let mut steps = Steps::start();
    let home = prepare::cuda(&mut steps)?;
    let mut program = PathBuf::new();
    steps.take("build", || {
        program = build(&home, &arguments.capabilities)?;
        Ok(())
    })?;
    match arguments.pack {
        true => steps.take("pack", || pack(&program))?,
        false => steps.take("checks", || {
            let mut checks = command(&program.display().to_string(), &[]);
            run_command(checks.env("LD_LIBRARY_PATH", home.join("lib64")))
        })?,
    }
    steps.finish("gpu-check");
    Ok(())
}

/// With CUDA, like `flash build --gpu`.
fn build(home: &Path, capabilities: &str) -> Result<PathBuf, Failure> {
    let environment = cuda_build::environment(home, capabilities)?;
    let features = format!("{FEATURES},cuda");
    let mut build =
        cargo(&["build", "--release", "--locked", "--package", "flash-models", "--example", "gpu_check"]);
    run_command(build.args(["--features", &features]).envs(&environment))?;
    let target = environment.get("CARGO_TARGET_DIR").map(PathBuf::from);
    Ok(target.unwrap_or_else(workspace::target).join("release/examples/gpu_check"))
}

/// Compressed, beside the command that starts it.
fn pack(program: &Path) -> Result<(), Failure> {
    let directory = workspace::target().join("gpu-check");
    std::fs::create_dir_all(&directory).map_err(Failure::at("target/gpu-check"))?;
    let to = directory.join("gpu_check.xz");
    let mut compress = command("sh", &["-c", "xz -T0 --stdout \"$0\" > \"$1\""]);
    read(compress.arg(program).arg(&to))?;
    let bytes = std::fs::metadata(&to).map_err(Failure::at("target/gpu-check/gpu_check.xz"))?.len();
    output::say("Packed", &format!("{} ({} MiB)", to.display(), bytes.div_ceil(1 << 20)));
    output::say(
        "There",
        "xz -dk gpu_check.xz && chmod +x gpu_check && LD_LIBRARY_PATH=/usr/local/cuda/lib64 timeout 600 ./gpu_check",
    );
    Ok(())
}
