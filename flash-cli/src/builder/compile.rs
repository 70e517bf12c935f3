//! Builds one binary with cargo, so that the same sources give the same bytes wherever they are.
//!
//! Paths of this machine are remapped, symbols stripped, times fixed. What a crate's own build script or `env!`
//! writes into the binary cannot be controlled here.
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use super::{
    plan::Variant,
    request::Sources,
    rustc,
    toolchain::{Linking, Toolchain},
};
use crate::project::{Build, Package};

/// How binaries are compiled: the same for all of one build.
pub(crate) struct Compiler<'a> {
    pub package: &'a Package,
    pub toolchain: &'a Toolchain,
    /// Cargo's profile.
    pub profile: &'a str,
    /// The sources that may be built.
    pub sources: Sources,
    /// Where cargo stores the sources of crates.
    pub cargo_home: Option<PathBuf>,
    /// Where binaries with CUDA find its libraries, if they run in no image.
    pub libraries: &'a [PathBuf],
}

/// Separates flags in the variable that carries them.
const BETWEEN_FLAGS: &str = "\u{1f}";

impl Compiler<'_> {
    /// Cargo's settings for this binary. `cuda` holds the variables that CUDA's compiler needs.
    pub(crate) fn build(&self, variant: &Variant, cuda: &[(String, OsString)]) -> Build {
        let triple = &variant.target.triple;
        let locked = (self.sources == Sources::Committed).then(|| OsString::from("--locked"));
        let mut arguments: Vec<OsString> =
            ["--target", triple, "--profile", self.profile].map(OsString::from).into();
        arguments.extend(locked);
        let mut environment = cuda.to_vec();
        // The project's location is only passed to its own crates, so dependencies are compiled once for all
        // projects.
        let (mut mapped, wrapper) = (self.mapped_everywhere(), self.wrapper());
        match wrapper {
            Some(wrapper) => environment.extend(wrapper),
            None => mapped = self.mapped_paths(),
        }
        let flags = self.flags(variant, &mapped);
        match own_flags() {
            // Cargo takes flags from only one place, and this variable has precedence.
            Some(own) => {
                let all: Vec<&str> = own.iter().chain(&flags).map(String::as_str).collect();
                environment.push(("CARGO_ENCODED_RUSTFLAGS".to_owned(), all.join(BETWEEN_FLAGS).into()));
            }
            // Cargo merges these with the project's own configuration for this target.
            None => {
                let flags = toml::Value::from(flags);
                arguments.push("--config".into());
                arguments.push(format!("target.{triple}.rustflags={flags}").into());
            }
        }
        // Setting them would create a target that does not exist.
        if self.package.profiles.iter().any(|known| known == self.profile) {
            let profile = self.profile.to_uppercase().replace('-', "_");
            environment.extend([
                (format!("CARGO_PROFILE_{profile}_STRIP"), "symbols".into()),
                // A panic in a function is a failed job, never a dead worker.
                (format!("CARGO_PROFILE_{profile}_PANIC"), "unwind".into()),
            ]);
        }
        environment.extend([
            ("CARGO_INCREMENTAL".to_owned(), "0".into()),
            // For code that would write the build time into the binary.
            ("SOURCE_DATE_EPOCH".to_owned(), "0".into()),
        ]);
        environment.extend(self.c_flags(triple));
        Build { arguments, features: variant.features.iter().cloned().collect(), environment }
    }

    fn wrapper(&self) -> Option<Vec<(String, OsString)>> {
        rustc::environment(&self.mapped_paths(), self.package)
    }

    fn flags(&self, variant: &Variant, mapped: &[(PathBuf, String)]) -> Vec<String> {
        let mut flags: Vec<String> = Vec::new();
        if variant.target.linking == Linking::StaticGlibc {
            flags.push("-Ctarget-feature=+crt-static".to_owned());
        }
        // Always set: the machine's own configuration may set its own processor.
        let cpu = variant.target_cpu.as_deref().unwrap_or(variant.target.default_cpu());
        flags.push(format!("-Ctarget-cpu={cpu}"));
        if variant.capabilities.is_some() && !self.libraries.is_empty() {
            flags.extend(library_flags(self.libraries));
        }
        flags.extend(mapped.iter().map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())));
        flags
    }

    /// Directories of this machine that every build uses, and their names in binaries. If several match, the last
    /// one counts.
    fn mapped_everywhere(&self) -> Vec<(PathBuf, String)> {
        let Package { target_directory, build_directory, .. } = self.package;
        let home = self.cargo_home.iter();
        let mut mapped: Vec<_> = home.map(|home| (home.clone(), "/cargo".to_owned())).collect();
        if let Some(commit) = &self.toolchain.commit {
            // The name that the standard library already contains if its sources are not installed.
            let sources = self.toolchain.sysroot.join("lib/rustlib/src/rust");
            mapped.push((sources, format!("/rustc/{commit}")));
        }
        mapped.push((target_directory.clone(), "/target".to_owned()));
        mapped.push((build_directory.clone(), "/target".to_owned()));
        in_order(mapped)
    }

    /// The same, including the project's directories.
    fn mapped_paths(&self) -> Vec<(PathBuf, String)> {
        let Package { workspace, sources, .. } = self.package;
        let mut mapped = self.mapped_everywhere();
        let outside = sources.iter().filter(|source| !source.starts_with(workspace));
        mapped.extend(
            outside.filter_map(|source| {
                Some((source.clone(), format!("/deps/{}", source.file_name()?.to_str()?)))
            }),
        );
        mapped.push((workspace.clone(), "/src".to_owned()));
        in_order(mapped)
    }

    /// The same for crates with C code. There, only the first variable that is set counts, so that one is extended.
    /// It is the same for all crates, and includes the project's directories only if its own C code may name them:
    /// a different value recompiles all C code.
    fn c_flags(&self, triple: &str) -> Vec<(String, OsString)> {
        let is_plain = |path: &Path| path.to_str().is_some_and(|path| !path.contains(char::is_whitespace));
        let mapped = match self.package.has_build_script {
            true => self.mapped_paths(),
            false => self.mapped_everywhere(),
        };
        let ours: Vec<String> = mapped
            .iter()
            .filter(|(from, _)| is_plain(from))
            .map(|(from, to)| format!("-ffile-prefix-map={}={to}", from.display()))
            .collect();
        let underscored = triple.replace('-', "_");
        ["CFLAGS", "CXXFLAGS"]
            .into_iter()
            .map(|name| {
                let candidates = [
                    format!("{name}_{triple}"),
                    format!("{name}_{underscored}"),
                    format!("TARGET_{name}"),
                    name.to_owned(),
                ];
                let set =
                    candidates.iter().find_map(|name| std::env::var(name).ok().map(|value| (name, value)));
                match set {
                    Some((name, value)) => (name.clone(), format!("{value} {}", ours.join(" ")).into()),
                    None => (candidates[1].clone(), ours.join(" ").into()),
                }
            })
            .collect()
    }
}

/// The linker's flags that make a binary find these libraries wherever it is started. Also for the libraries of those
/// libraries, hence the old tag.
pub(super) fn library_flags(directories: &[PathBuf]) -> Vec<String> {
    let search = directories.iter().map(|path| format!("-Clink-arg=-Wl,-rpath,{}", path.display()));
    std::iter::once("-Clink-arg=-Wl,--disable-new-dtags".to_owned()).chain(search).collect()
}

/// Adds flags for the compiler to those that the user, or cargo's configuration, has set.
pub(super) fn with_flags(mut build: Build, flags: &[String]) -> Build {
    match own_flags() {
        // Cargo takes flags from only one place, and this variable has precedence.
        Some(own) => {
            let all: Vec<&str> = own.iter().chain(flags).map(String::as_str).collect();
            build.environment.push(("CARGO_ENCODED_RUSTFLAGS".to_owned(), all.join(BETWEEN_FLAGS).into()));
        }
        None => {
            let flags = toml::Value::from(flags.to_vec());
            build.arguments.push("--config".into());
            build.arguments.push(format!("build.rustflags={flags}").into());
        }
    }
    build
}

/// If two match, the longer one is meant, wherever this machine has them.
fn in_order(mut mapped: Vec<(PathBuf, String)>) -> Vec<(PathBuf, String)> {
    mapped.sort_by_key(|(from, _)| from.components().count());
    mapped
}

/// Flags set by the user who started `flash`.
fn own_flags() -> Option<Vec<String>> {
    let split = |text: String, by: &str| {
        text.split(by).filter(|flag| !flag.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    let encoded = std::env::var("CARGO_ENCODED_RUSTFLAGS").ok().map(|text| split(text, BETWEEN_FLAGS));
    encoded.or_else(|| std::env::var("RUSTFLAGS").ok().map(|text| split(text, " ")))
}
