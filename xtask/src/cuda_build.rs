//! `cargo xtask cuda-build`: builds and starts the example with CUDA, on a machine with or without a GPU.
//!
//! Tests the recipe of `docs/build.md`: the toolkit comes from Python wheels, `flash doctor` prints what `flash
//! build --gpu` passes to cargo, and the binary must start without a driver. Not part of `test`: it downloads 1.2
//! GB and compiles for a quarter of an hour.
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use clap::Args;
use serde_json::Value;

use crate::{
    command::{cargo, command, read, run as run_command, shown},
    failure::Failure,
    output, prepare,
    steps::Steps,
};

const EXAMPLE: &str = "examples/03_mixed_workers";
const PACKAGE: &str = "mixed-workers";
/// A text with a positive sentiment.
const TEXT: &str = "This product is amazing! I love it!";

/// Build the mixed-workers example with CUDA, and start it, with or without a GPU.
///
/// Prepares, if missing: CUDA 13.0 from Python wheels in target/cuda-python (1.2 GB, no root, no driver). Then
/// tries its compiler for several GPU generations, and compiles the example with the feature `cuda` like `flash
/// build --gpu` does. The binary must not need the driver's library to start, describe itself or classify a text,
/// and must report an error if a GPU is required and there is none.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  cargo xtask cuda-build\n  cargo xtask cuda-build --capabilities 8.0,9.0"
)]
pub(crate) struct Arguments {
    /// Compute capabilities to compile for. The default is that of the example's GPU pool.
    #[arg(long, value_name = "LIST", default_value = "8.9")]
    capabilities: String,
}

/// Builds and tests it.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut steps = Steps::start();
    let home = prepare::cuda(&mut steps)?;
    steps.take("compiler", || try_compiler(&home))?;
    let mut build = Build::default();
    steps.take("environment", || {
        build.environment = environment(&home, &arguments.capabilities)?;
        Ok(())
    })?;
    steps.take("build", || build.compile())?;
    steps.take("start", || build.check())?;
    steps.finish("cuda-build");
    Ok(())
}

/// Compiles kernels for a list of generations, with flash's own test.
fn try_compiler(home: &Path) -> Result<(), Failure> {
    let mut test = cargo(&["test", "-p", "flash-cli", "--lib", "a_real_toolkit"]);
    run_command(test.env("FLASH_TEST_CUDA_HOME", home))
}

/// What `flash build --gpu` passes to cargo.
pub(crate) fn environment(home: &Path, capabilities: &str) -> Result<BTreeMap<String, String>, Failure> {
    let mut doctor = cargo(&["flash", "doctor", EXAMPLE, "--json", "--cuda-env", capabilities]);
    let printed = read(doctor.env("CUDA_HOME", home))?;
    serde_json::from_str(&printed).map_err(Failure::at("flash doctor --cuda-env printed something else"))
}

#[derive(Default)]
struct Build {
    environment: BTreeMap<String, String>,
}

impl Build {
    fn variable(&self, name: &str) -> Result<PathBuf, Failure> {
        let value = self.environment.get(name);
        value.map(PathBuf::from).ok_or_else(|| Failure::new(format!("flash doctor does not print {name}")))
    }

    fn compile(&self) -> Result<(), Failure> {
        let mut build = cargo(&["build", "--release", "--locked", "-p", PACKAGE, "--features", "cuda"]);
        build.envs(&self.environment);
        run_command(&mut build)
    }

    /// The binary, with the toolkit's libraries, which an image gets from its base.
    fn binary(&self, arguments: &[&str]) -> Result<Command, Failure> {
        let program = self.variable("CARGO_TARGET_DIR")?.join("release").join(PACKAGE);
        let mut command = command(&program.display().to_string(), arguments);
        command.env("LD_LIBRARY_PATH", self.variable("CUDA_HOME")?.join("lib64"));
        Ok(command)
    }

    fn check(&self) -> Result<(), Failure> {
        let program = self.variable("CARGO_TARGET_DIR")?.join("release").join(PACKAGE);
        let needed = read(command("readelf", &["--dynamic", "--wide"]).arg(&program))?;
        let needed = needed.lines().filter(|line| line.contains("(NEEDED)"));
        let names: Vec<&str> = needed.filter_map(|line| line.split(['[', ']']).nth(1)).collect();
        output::say("Needs", &names.join(", "));
        if names.iter().any(|name| name.starts_with("libcuda.so")) {
            return Err(Failure::new("the binary needs the driver's library to start"));
        }
        let described = read(self.binary(&[])?.env("FLASH_ROLE", "describe"))?;
        let manifest: Value = serde_json::from_str(&described).map_err(Failure::at("the manifest"))?;
        if manifest["app"]["name"] != PACKAGE {
            return Err(Failure::new(format!("the binary describes another app: {}", manifest["app"])));
        }
        let answered = answered(self.binary(&[TEXT])?.env_remove("SENTIMENT_DEVICE"))?;
        if !answered.status.success() || !text(&answered.stdout).contains("positive") {
            return Err(Failure::new(format!(
                "no answer: {}{}",
                text(&answered.stdout),
                text(&answered.stderr)
            )));
        }
        self.check_refusal()
    }

    /// If a GPU is required, it is used or its absence is reported, and nothing panics.
    fn check_refusal(&self) -> Result<(), Failure> {
        let demanded = answered(self.binary(&[TEXT])?.env("SENTIMENT_DEVICE", "cuda"))?;
        let said = text(&demanded.stderr);
        let (is_used, is_refused) = (demanded.status.success(), said.contains("no GPU can be used"));
        output::say(
            "GPU",
            if is_used { "used" } else { "none here: an error is reported where one is required" },
        );
        match (is_used || is_refused) && !said.contains("panicked") {
            true => Ok(()),
            false => Err(Failure::new(format!("with a GPU required: {}, {said}", demanded.status))),
        }
    }
}

fn answered(command: &mut Command) -> Result<Output, Failure> {
    let line = shown(command);
    output::say("Running", &line);
    command.output().map_err(Failure::at(line))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
