//! Why training stopped.
use std::{io, path::PathBuf};

use mixed_workers::model::ModelError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum TrainError {
    #[error("could not find `{file}` under `{}`; model/README.md tells how to get and unpack the data", directory.display())]
    Missing { file: &'static str, directory: PathBuf },
    #[error("could not read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("could not write `{}`", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("line {number} of `{}` is not what this program knows", path.display())]
    Line { path: PathBuf, number: usize },
    #[error("could not save weights to `{}`", path.display())]
    Save { path: PathBuf, source: candle_core::Error },
    #[error("a training step failed")]
    Step(#[from] candle_core::Error),
    #[error("the model failed")]
    Model(#[from] ModelError),
    #[error("could not print the report")]
    Print(#[from] io::Error),
}
