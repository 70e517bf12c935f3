//! The errors of commands for failed builds, with what to do next.
use flash_image::{ArchiveError, VerifyError, registry::RegistryError};

use super::{
    bases::BaseError, cuda::CudaError, images::ImagesError, materials::MaterialsError, names::NamesError,
    needs::NeedsError, plan::PlanError, push::LookAheadError, record::RecordError, toolchain::ToolchainError,
};
use crate::exit::{Failure, FailureCode};

impl From<ToolchainError> for Failure {
    fn from(error: ToolchainError) -> Self {
        let failure = Self::of(FailureCode::Unusable, &error);
        match error {
            ToolchainError::NoRustc(_) => failure.hint("install Rust: https://rustup.rs"),
            ToolchainError::Refused { .. } => failure,
            ToolchainError::NoTarget { triples, .. } => {
                failure.hint(format!("rustup target add {}", triples[1]))
            }
            ToolchainError::UnknownCpu { triple, .. } => {
                failure.hint(format!("to list processors: rustc --print target-cpus --target {triple}"))
            }
        }
    }
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        let failure = Self::of(FailureCode::Unusable, &error);
        match error {
            PlanError::Command { .. } => failure.hint("remove it from --worker"),
            PlanError::BaseWithCuda { .. } => failure.hint(
                "build an image with your programs from CUDA's and name it as `cuda_base` under [build] in flash.toml, \
                 or build without CUDA: cuda = \"never\"",
            ),
            PlanError::UnknownWorker { .. } | PlanError::NoneOf(_) => failure,
        }
    }
}

impl From<RecordError> for Failure {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::NotBuilt(_) => {
                Self::of(FailureCode::Unusable, &error).hint("build the images first: flash build")
            }
            RecordError::Damaged { .. } | RecordError::Version { .. } => {
                Self::of(FailureCode::Unusable, &error).hint("build the images again: flash build")
            }
            RecordError::Read { .. } | RecordError::Write { .. } => Self::of(FailureCode::Failed, &error),
        }
    }
}

impl From<ImagesError> for Failure {
    fn from(error: ImagesError) -> Self {
        match error {
            ImagesError::Include(_) => {
                Self::of(FailureCode::Unusable, &error).hint("see `include` in flash.toml")
            }
            ImagesError::TooLarge { .. } => Self::of(FailureCode::Failed, &error)
                .hint("leave files out of `include`, or raise `max_size_mb` under [build] in flash.toml"),
            ImagesError::Assemble { .. } | ImagesError::Layout(_) => Self::of(FailureCode::Failed, &error),
        }
    }
}

impl From<VerifyError> for Failure {
    fn from(error: VerifyError) -> Self {
        let failure = Self::of(FailureCode::Failed, &error);
        match error {
            VerifyError::NotStatic { .. } => failure.hint(
                "a crate links a library of this machine; check whether it has a feature `vendored`, `bundled` \
                 or `static`",
            ),
            VerifyError::NotWhole { .. } | VerifyError::Layout(_) => {
                failure.hint("check that the disk is not full or failing, then build again: flash build")
            }
            VerifyError::NoBinary { .. } | VerifyError::NotElf { .. } | VerifyError::OtherMachine { .. } => {
                failure
            }
        }
    }
}

impl From<MaterialsError> for Failure {
    fn from(error: MaterialsError) -> Self {
        Self::of(FailureCode::Failed, &error).hint("build without it: flash build --no-sbom")
    }
}

impl From<CudaError> for Failure {
    fn from(error: CudaError) -> Self {
        Self::of(FailureCode::Failed, &error).hint(error.hint())
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        let failure = Self::of(FailureCode::Failed, &error);
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<BaseError> for Failure {
    fn from(error: BaseError) -> Self {
        let failure = Self::of(FailureCode::Failed, &error);
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<NeedsError> for Failure {
    fn from(error: NeedsError) -> Self {
        Self::of(FailureCode::Unusable, &error).hint(error.hint())
    }
}

impl From<NamesError> for Failure {
    fn from(error: NamesError) -> Self {
        let failure = Self::of(FailureCode::Unusable, &error);
        match error {
            NamesError::Invalid { .. } | NamesError::NoRepository(_) => failure.hint(
                "use REGISTRY/REPOSITORY in lower case, such as ghcr.io/me/app, and a tag without spaces",
            ),
            NamesError::SeveralRegistries(_) => failure.hint("push to one registry at a time"),
            NamesError::Tagged(_) => failure.hint("give the tag separately: --tag TAG"),
            NamesError::Same { .. } => failure.hint("rename one of the worker types"),
        }
    }
}

impl From<LookAheadError> for Failure {
    fn from(error: LookAheadError) -> Self {
        match error {
            LookAheadError::Names(error) => error.into(),
            LookAheadError::Registry(error) => error.into(),
        }
    }
}

impl From<ArchiveError> for Failure {
    fn from(error: ArchiveError) -> Self {
        Self::of(FailureCode::Failed, &error)
    }
}
