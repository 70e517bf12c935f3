//! What a command says of a project that cannot be used, and what to do about it.
use super::{BuildError, ConfigError, DescribeError, EditError, PackageError};
use crate::exit::{Code, Failure};

impl From<PackageError> for Failure {
    fn from(error: PackageError) -> Self {
        let failure = Self::of(Code::Unusable, &error);
        match error {
            PackageError::NoDirectory(_) | PackageError::Gone(_) => failure,
            PackageError::NoManifest(_) => {
                failure.hint("run it inside a crate, or name one: flash run DIR, flash build DIR")
            }
            PackageError::Workspace(_) => {
                failure.hint("name the crate of your app: flash run DIR, flash build DIR")
            }
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
        Self::of(Code::Unusable, &error)
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        let failure = Self::of(Code::Failed, &error);
        match error {
            BuildError::NoCargo(_) => failure.hint("install Rust: https://rustup.rs"),
            BuildError::Failed(_) => failure,
            BuildError::NoBinary(_) => failure.hint("is its `required-features` set off? see --features"),
        }
    }
}

impl From<DescribeError> for Failure {
    fn from(error: DescribeError) -> Self {
        let code = match error {
            DescribeError::Empty(_) | DescribeError::NoEntry(_) | DescribeError::Config(_) => Code::Unusable,
            _ => Code::Failed,
        };
        let failure = Self::of(code, &error);
        match error {
            DescribeError::NoEntry(_) => failure
                .hint("write `#[flash_sdk::main]` over `async fn main()`, in place of `#[tokio::main]`"),
            DescribeError::NotDescribed { .. } | DescribeError::Late(_) => failure
                .hint("what runs before `main`, such as a `ctor`, may neither print to stdout nor take long"),
            DescribeError::Empty(_) => failure.hint(
                "put `#[flash_sdk::remote(cpu = Cpu3c_1_2)]` over a function; in a library, the binary must \
                 use it",
            ),
            DescribeError::OtherProcessor(_) => {
                failure.hint("lower `target_cpu` in flash.toml: the app is asked what it consists of here")
            }
            DescribeError::Version { .. } => failure.hint("use the same version of flash and of flash-sdk"),
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
            EditError::Syntax { .. } | EditError::Read { .. } => Self::of(Code::Unusable, &error),
            EditError::Write { .. } => Self::of(Code::Failed, &error),
        }
    }
}
