//! What a command says of a build that cannot be made, and what to do about it.
use super::{plan::PlanError, record::RecordError, toolchain::ToolchainError};
use crate::exit::{Code, Failure};

impl From<ToolchainError> for Failure {
    fn from(error: ToolchainError) -> Self {
        let failure = Self::of(Code::Unusable, &error);
        match error {
            ToolchainError::NoRustc(_) => failure.hint("install Rust: https://rustup.rs"),
            ToolchainError::Refused { .. } => failure,
            ToolchainError::NoTarget { triples, .. } => {
                failure.hint(format!("rustup target add {}", triples[1]))
            }
            ToolchainError::UnknownCpu { triple, .. } => {
                failure.hint(format!("those it knows: rustc --print target-cpus --target {triple}"))
            }
        }
    }
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        let failure = Self::of(Code::Unusable, &error);
        match error {
            PlanError::Command { .. } => failure.hint("leave it out of --worker"),
            PlanError::UnknownWorker { .. } | PlanError::NoneOf(_) => failure,
        }
    }
}

impl From<RecordError> for Failure {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::NotBuilt(_) => {
                Self::of(Code::Unusable, &error).hint("build the images first: flash build")
            }
            RecordError::Damaged { .. } | RecordError::Version { .. } => {
                Self::of(Code::Unusable, &error).hint("build the images again: flash build")
            }
            RecordError::Read { .. } | RecordError::Write { .. } => Self::of(Code::Failed, &error),
        }
    }
}
