//! The program of a release, for one target.
//!
//! The same sources give the same bytes wherever they are: no path of this machine is in the program, neither from Rust
//! nor from C. `flash build` compiles the apps of users the same way.
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use super::zig;
use crate::{
    command::{cargo, command, find, read, shown},
    failure::Failure,
    output, workspace,
};

/// A target that programs are released for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target(String);

/// What the build of a target has made.
pub(super) struct Compiled {
    pub program: Vec<u8>,
    /// What cargo reported, for the bill of materials.
    pub messages: PathBuf,
}

impl Target {
    pub(super) fn new(triple: &str) -> Self {
        Self(triple.to_owned())
    }

    pub(super) fn triple(&self) -> &str {
        &self.0
    }

    fn machine(&self) -> &str {
        self.0.split('-').next().unwrap_or_default()
    }

    fn is_musl(&self) -> bool {
        self.0.ends_with("-musl")
    }

    fn is_for_this_machine(&self) -> bool {
        self.machine() == std::env::consts::ARCH && std::env::consts::OS == "linux"
    }

    /// Whether everything is there that the target needs. SQLite and the cryptography are C, so Rust alone is not enough.
    ///
    /// # Errors
    /// With what to install.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let Self(triple) = self;
        let libraries = read(&mut command("rustc", &["--print", "target-libdir", "--target", triple]))?;
        if !Path::new(libraries.trim()).is_dir() {
            return Err(Failure::new(format!("Rust's standard library for {triple} is not installed"))
                .hint(format!("rustup target add {triple}")));
        }
        if self.has_c_compiler() || self.is_musl() && zig::is_there() {
            return Ok(());
        }
        let (compilers, variable) = (self.c_compilers().join("` or `"), self.variable("CC"));
        Err(Failure::new(format!(
            "there is no C compiler for {triple}: neither `{compilers}` nor ${variable}"
        ))
        .hint("for this machine: apt-get install musl-tools; for any: install zig (https://ziglang.org)"))
    }

    /// One of its own, not zig's.
    fn has_c_compiler(&self) -> bool {
        std::env::var_os(self.variable("CC")).is_some()
            || self.c_compilers().iter().any(|name| find(name).is_some())
    }

    /// A variable for this target.
    fn variable(&self, name: &str) -> String {
        format!("{name}_{}", self.0.replace('-', "_"))
    }

    fn c_compilers(&self) -> Vec<String> {
        let machine = self.machine();
        match (self.is_musl(), self.is_for_this_machine()) {
            (true, true) => vec!["musl-gcc".to_owned(), format!("{machine}-linux-musl-gcc")],
            (true, false) => vec![format!("{machine}-linux-musl-gcc")],
            (false, true) => vec!["cc".to_owned()],
            (false, false) => vec![format!("{machine}-linux-gnu-gcc")],
        }
    }

    /// Compiles `flash`.
    ///
    /// # Errors
    /// If cargo fails, or the program needs a library of the system.
    pub(super) fn compile(&self, into: &Path) -> Result<Compiled, Failure> {
        let Self(triple) = self;
        let mut build =
            cargo(&["build", "--locked", "--release", "--package", "flash-cli", "--bin", "flash"]);
        build.args(["--target", triple, "--message-format", "json-render-diagnostics"]);
        build.envs(self.environment(into)?);
        let messages = into.join(format!("{triple}.json"));
        output::say("Running", &shown(&build));
        let file = fs::File::create(&messages).map_err(Failure::at(messages.display()))?;
        let status = build.stdout(file).status().map_err(Failure::at("cannot start cargo"))?;
        if !status.success() {
            return Err(Failure::new(format!("{triple}: cargo ended with {status}")));
        }
        let path = workspace::target().join(triple).join("release").join("flash");
        let headers = read(command("readelf", &["--program-headers"]).arg(&path))?;
        // What starts without a loader names none.
        if headers.contains("INTERP") {
            return Err(Failure::new(format!("{} needs libraries of the system", path.display())));
        }
        let program = fs::read(&path).map_err(Failure::at(path.display()))?;
        if let Some((known, _)) = mapped()?.into_iter().find(|(known, _)| contains(&program, known)) {
            let found = format!("{} contains the path {} of this machine", path.display(), known.display());
            return Err(Failure::new(found));
        }
        Ok(Compiled { program, messages })
    }

    /// Variables that make the program the same wherever it is compiled, and name its C compiler. What they need is
    /// written to `into`.
    fn environment(&self, into: &Path) -> Result<Vec<(String, OsString)>, Failure> {
        let mapped = mapped()?;
        let mut flags: Vec<String> =
            mapped.iter().map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())).collect();
        if !self.is_musl() {
            flags.push("-Ctarget-feature=+crt-static".to_owned());
        }
        let c_flags: Vec<String> =
            mapped.iter().map(|(from, to)| format!("-ffile-prefix-map={}={to}", from.display())).collect();
        let mut variables = vec![
            ("CARGO_ENCODED_RUSTFLAGS".to_owned(), flags.join("\u{1f}").into()),
            (self.variable("CFLAGS"), c_flags.join(" ").into()),
            ("CARGO_INCREMENTAL".to_owned(), "0".into()),
            ("SOURCE_DATE_EPOCH".to_owned(), "0".into()),
            // It knows no checkout: `flash init` takes the published crates.
            ("FLASH_RELEASED".to_owned(), "1".into()),
        ];
        if self.is_musl() && !self.is_for_this_machine() {
            // Rust brings musl and a linker; the linker of this machine knows only its own programs.
            let name = self.0.replace('-', "_").to_uppercase();
            variables.push((format!("CARGO_TARGET_{name}_LINKER"), "rust-lld".into()));
        }
        if self.is_musl() && !self.has_c_compiler() && zig::is_there() {
            variables.push((self.variable("CC"), zig::compiler(self.machine(), into)?.into()));
        }
        Ok(variables)
    }
}

/// Whether a program has this path somewhere.
fn contains(program: &[u8], path: &Path) -> bool {
    let path = path.as_os_str().as_encoded_bytes();
    program.windows(path.len()).any(|part| part == path)
}

/// Directories of this machine, and their names in programs. If several match, the last one counts.
fn mapped() -> Result<Vec<(PathBuf, &'static str)>, Failure> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(std::env::home_dir()?.join(".cargo")))
        .ok_or_else(|| Failure::new("cargo's home is not known").hint("set CARGO_HOME"))?;
    let sysroot = read(&mut command("rustc", &["--print", "sysroot"]))?;
    Ok(vec![
        (home, "/cargo"),
        (Path::new(sysroot.trim()).join("lib/rustlib/src/rust"), "/rust"),
        (workspace::root(), "/src"),
        (workspace::target(), "/target"),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_without_a_standard_library_is_refused_with_what_to_install() {
        let refused = Target::new("s390x-unknown-linux-musl").check().unwrap_err().to_string();
        assert!(refused.contains("s390x-unknown-linux-musl"), "{refused}");
    }

    #[test]
    fn a_path_is_found_wherever_it_stands_in_a_program() {
        assert!(contains(b"\0version = 1/home/me/flash-cli\0", Path::new("/home/me")));
        assert!(!contains(b"\0/src/flash-cli/home\0", Path::new("/home/me")));
    }

    #[test]
    fn no_path_of_this_machine_gets_into_a_program() {
        let directory = tempfile::tempdir().unwrap();
        let environment = Target::new("aarch64-unknown-linux-musl").environment(directory.path()).unwrap();
        let value = |name: &str| {
            let found = environment.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.to_str().unwrap().to_owned()).unwrap_or_default()
        };
        let root = workspace::root();
        assert!(
            value("CARGO_ENCODED_RUSTFLAGS")
                .contains(&format!("--remap-path-prefix={}=/src", root.display()))
        );
        assert!(
            value("CFLAGS_aarch64_unknown_linux_musl")
                .contains(&format!("-ffile-prefix-map={}=/src", root.display()))
        );
    }
}
