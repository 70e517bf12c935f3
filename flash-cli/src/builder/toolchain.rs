//! A project's Rust toolchain, and the targets that it can compile for.
use std::{
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use tokio::process::Command;

/// C compilers with musl's own headers; crates with C code need one.
const MUSL_COMPILERS: [&str; 2] = ["musl-gcc", "{arch}-linux-musl-gcc"];

/// The platform of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Platform {
    /// `linux/amd64`
    Amd64,
    /// `linux/arm64`
    Arm64,
}

impl Platform {
    pub(crate) const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// This machine's platform, if images can have it.
    pub(crate) fn of_this_machine() -> Option<Self> {
        let is_ours = |platform: &Self| platform.machine() == std::env::consts::ARCH;
        Self::ALL.into_iter().filter(|_| std::env::consts::OS == "linux").find(is_ours)
    }

    /// Its name in image formats.
    pub(crate) const fn architecture(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// Its name in Rust.
    const fn machine(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    fn triple(self, libc: &str) -> String {
        format!("{}-unknown-linux-{libc}", self.machine())
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "linux/{}", self.architecture())
    }
}

impl FromStr for Platform {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|platform| platform.to_string() == text).ok_or_else(|| {
            format!("expected {}", Self::ALL.map(|platform| platform.to_string()).join(" or "))
        })
    }
}

/// How a binary gets the C library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Linking {
    /// Linked statically with musl: such a target needs no flag.
    StaticMusl,
    /// Linked statically with glibc.
    StaticGlibc,
    /// From its base image: CUDA's libraries are shared ones.
    Dynamic,
}

/// An installed target.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    pub triple: String,
    pub linking: Linking,
}

/// The project's Rust toolchain.
#[derive(Debug, Clone)]
pub(crate) struct Toolchain {
    /// `rustc 1.95.0 (59807616e 2026-04-14)`
    pub version: String,
    /// The commit it was built from, which is part of the standard library's file names.
    pub commit: Option<String>,
    pub sysroot: PathBuf,
}

/// Why nothing can be compiled for a platform.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolchainError {
    #[error("cannot start `rustc`")]
    NoRustc(#[source] io::Error),
    #[error("`rustc {arguments}` failed: {reason}")]
    Refused { arguments: String, reason: String },
    #[error("Rust's standard library for {platform} is not installed ({} or {})", triples[0], triples[1])]
    NoTarget { platform: Platform, triples: [String; 2] },
    #[error("rustc has no processor `{name}` for {triple}")]
    UnknownCpu { name: String, triple: String },
}

impl Target {
    /// The processor that a binary may expect unless the project says otherwise. AVX2 doubles the speed of quantized
    /// models, and every server of the last ten years has it.
    pub(crate) fn default_cpu(&self) -> &'static str {
        if self.is_x86() { "x86-64-v3" } else { "generic" }
    }

    /// The processor that every machine of this platform has.
    pub(crate) fn oldest_cpu(&self) -> &'static str {
        if self.is_x86() { "x86-64" } else { "generic" }
    }

    fn is_x86(&self) -> bool {
        self.triple.starts_with("x86_64")
    }
}

impl Toolchain {
    /// The toolchain that cargo uses in this directory.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) async fn find(directory: &Path) -> Result<Self, ToolchainError> {
        let verbose = rustc(directory, &["-vV"]).await?;
        let field = |name: &str| verbose.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        let sysroot = rustc(directory, &["--print", "sysroot"]).await?;
        Ok(Self {
            version: verbose.lines().next().unwrap_or_default().to_owned(),
            commit: field("commit-hash: ").filter(|hash| hash != "unknown"),
            sysroot: sysroot.trim().into(),
        })
    }

    fn has(&self, triple: &str) -> bool {
        let libraries = self.sysroot.join("lib").join("rustlib").join(triple).join("lib");
        std::fs::read_dir(libraries).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// For binaries that need nothing else: musl if it is installed with a C compiler of its own, else glibc.
    ///
    /// # Errors
    /// When neither is installed.
    pub(crate) fn static_target(&self, platform: Platform) -> Result<Target, ToolchainError> {
        let musl = platform.triple("musl");
        if self.has(&musl) && has_musl_compiler(platform, &musl) {
            return Ok(Target { triple: musl, linking: Linking::StaticMusl });
        }
        Ok(Target { linking: Linking::StaticGlibc, ..self.dynamic_target(platform)? })
    }

    /// For binaries in an image with a C library.
    ///
    /// # Errors
    /// When it is not installed.
    pub(crate) fn dynamic_target(&self, platform: Platform) -> Result<Target, ToolchainError> {
        let triple = platform.triple("gnu");
        match self.has(&triple) {
            true => Ok(Target { triple, linking: Linking::Dynamic }),
            false => Err(ToolchainError::NoTarget { platform, triples: [platform.triple("musl"), triple] }),
        }
    }

    /// Whether rustc supports this processor.
    ///
    /// # Errors
    /// When it does not.
    pub(crate) async fn check_cpu(
        &self,
        directory: &Path,
        triple: &str,
        name: &str,
    ) -> Result<(), ToolchainError> {
        let known = rustc(directory, &["--print", "target-cpus", "--target", triple]).await?;
        let is_it = |line: &str| line.split_whitespace().next() == Some(name);
        // This machine's processor says nothing about where the image will run.
        match name != "native" && known.lines().any(is_it) {
            true => Ok(()),
            false => Err(ToolchainError::UnknownCpu { name: name.to_owned(), triple: triple.to_owned() }),
        }
    }
}

fn has_musl_compiler(platform: Platform, triple: &str) -> bool {
    let is_set = |name: String| std::env::var_os(name).is_some();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there =
        |name: String| std::env::split_paths(&path).any(|directory| directory.join(&name).is_file());
    is_set(format!("CC_{}", triple.replace('-', "_")))
        || is_set(format!("CC_{triple}"))
        || MUSL_COMPILERS.iter().any(|name| is_there(name.replace("{arch}", platform.machine())))
}

async fn rustc(directory: &Path, arguments: &[&str]) -> Result<String, ToolchainError> {
    let program = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .kill_on_drop(true)
        .output()
        .await
        .map_err(ToolchainError::NoRustc)?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(ToolchainError::Refused {
            arguments: arguments.join(" "),
            reason: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_read_as_they_are_written() {
        for platform in Platform::ALL {
            assert_eq!(platform.to_string().parse::<Platform>(), Ok(platform));
        }
        assert!("linux/riscv".parse::<Platform>().unwrap_err().contains("linux/amd64 or linux/arm64"));
    }

    #[tokio::test]
    async fn a_target_that_is_not_installed_is_told_by_name() {
        let sysroot = tempfile::TempDir::new().unwrap();
        let toolchain =
            Toolchain { version: String::new(), commit: None, sysroot: sysroot.path().to_owned() };
        let error = toolchain.static_target(Platform::Arm64).unwrap_err().to_string();
        assert!(error.contains("linux/arm64") && error.contains("aarch64-unknown-linux-musl"), "{error}");
        let libraries = sysroot.path().join("lib/rustlib/aarch64-unknown-linux-gnu/lib");
        std::fs::create_dir_all(&libraries).unwrap();
        std::fs::write(libraries.join("libstd.rlib"), "").unwrap();
        let target = toolchain.static_target(Platform::Arm64).unwrap();
        assert_eq!((&*target.triple, target.linking), ("aarch64-unknown-linux-gnu", Linking::StaticGlibc));
    }

    #[tokio::test]
    async fn a_processor_that_rustc_does_not_know_is_refused() {
        let here = Path::new(".");
        let toolchain = Toolchain::find(here).await.unwrap();
        assert!(toolchain.version.starts_with("rustc "), "{}", toolchain.version);
        let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        for name in ["x86-64-v9", "native"] {
            assert!(toolchain.check_cpu(here, &triple, name).await.is_err(), "{name}");
        }
        toolchain
            .check_cpu(here, &triple, "generic")
            .await
            .or(toolchain.check_cpu(here, &triple, "x86-64").await)
            .unwrap();
    }
}
