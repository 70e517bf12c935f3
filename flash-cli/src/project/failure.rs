//! The errors of commands for a project that cannot be used, with what to do next.
use super::{BuildError, ConfigError, DescribeError, EditError, PackageError};
use crate::exit::{Failure, FailureCode};

impl From<PackageError> for Failure {
    fn from(error: PackageError) -> Self {
        let failure = Self::of(FailureCode::Unusable, &error);
        match error {
            PackageError::NoDirectory(_) | PackageError::Gone(_) => failure,
            PackageError::NoManifest(_) => {
                failure.hint("run the command inside a crate, or with -C DIR; to make one: flash init DIR")
            }
            PackageError::Workspace(_) => failure.hint("give the directory of your app's crate: -C DIR"),
            PackageError::NoBinary(_) => failure.hint("add src/main.rs with `#[flash_sdk::main]`"),
            PackageError::SeveralBinaries { .. } => {
                failure.hint("set `default-run = \"NAME\"` under [package] in Cargo.toml")
            }
            PackageError::Unreadable { .. } => failure.hint("`cargo check` shows the whole message"),
            PackageError::NoCargo(_) => failure.hint("install Rust: https://rustup.rs"),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::of(FailureCode::Unusable, &error)
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        let failure = Self::of(FailureCode::Failed, &error);
        match error {
            BuildError::NoCargo(_) => failure.hint("install Rust: https://rustup.rs"),
            BuildError::Failed { errors, .. } => failure.with_details(errors),
            BuildError::NoBinary(_) => {
                failure.hint("check its `required-features`: --features turns features on")
            }
        }
    }
}

impl From<DescribeError> for Failure {
    fn from(error: DescribeError) -> Self {
        let code = match error {
            DescribeError::Empty(_) | DescribeError::NoEntry(_) | DescribeError::Config(_) => {
                FailureCode::Unusable
            }
            _ => FailureCode::Failed,
        };
        let failure = Self::of(code, &error);
        match error {
            DescribeError::NoEntry(_) => failure
                .hint("put `#[flash_sdk::main]` above `async fn main()`, in place of `#[tokio::main]`"),
            DescribeError::NotDescribed { .. } | DescribeError::Late(_) => failure
                .hint("code that runs before `main`, such as a `ctor`, must not print to stdout or take long"),
            DescribeError::Empty(_) => failure.hint(
                "put `#[flash_sdk::remote(cpu = Cpu3c_1_2)]` above a function; if it is in a library, the binary must \
                 use it",
            ),
            DescribeError::OtherProcessor(_) => {
                failure.hint("lower `target_cpu` in flash.toml: the build runs the app on this machine to read \
                              its manifest")
            }
            DescribeError::Version { .. } => failure.hint("use the same version of flash and flash-sdk"),
            DescribeError::Read { .. }
            | DescribeError::Start { .. }
            | DescribeError::Refused(_)
            | DescribeError::Config(_) => failure,
        }
    }
}

impl From<EditError> for Failure {
    fn from(error: EditError) -> Self {
        match error {
            EditError::Syntax { .. } | EditError::Read { .. } => Self::of(FailureCode::Unusable, &error),
            EditError::Write { .. } => Self::of(FailureCode::Failed, &error),
        }
    }
}
