//! The compiler wrapper of a build (`RUSTC_WRAPPER`): adds flags only for the project's crates.
//!
//! Cargo's flags apply to all crates and are part of their identity. With a project directory among them, all
//! dependencies would be recompiled for each project, even with a shared target directory. So cargo only gets what
//! is the same for all projects; this wrapper adds, for crates in the project, the names of its directories in
//! binaries.
//!
//! To cargo, members of two workspaces with the same name, version and place are the same crate, and in a shared
//! target directory it would confuse them. So crates of a workspace are recorded as depending on the workspace's
//! location, as if they had read it from a variable.
use std::{
    env,
    ffi::{OsStr, OsString},
    io::Write as _,
    os::unix::{ffi::OsStrExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use serde::Deserialize;

use super::cargo_home::cargo_home;
use crate::project::Package;

/// Holds the mapped directories: `FROM=TO`, separated.
const MAPPED: &str = "FLASH_RUSTC_MAPPED";
/// Holds the location of the workspace.
const WORKSPACE: &str = "FLASH_RUSTC_WORKSPACE";
/// Holds the user's own wrapper.
const INNER: &str = "FLASH_RUSTC_INNER";
const BETWEEN: u8 = 0x1f;
/// The variables from which cargo takes a wrapper, in order of precedence.
const WRAPPER: &str = "RUSTC_WRAPPER";
const CONFIGURED: &str = "CARGO_BUILD_RUSTC_WRAPPER";

/// The variables that make cargo run this program in front of the compiler. `mapped` are directories of this
/// machine and their names in binaries; if several match, the last one counts. `None` if this program can no longer
/// be found.
pub(super) fn environment(
    mapped: &[(PathBuf, String)],
    package: &Package,
) -> Option<Vec<(String, OsString)>> {
    let own = env::current_exe().ok().filter(|own| own.is_file())?;
    let pairs: Vec<OsString> = mapped
        .iter()
        .map(|(from, to)| {
            let mut pair = from.clone().into_os_string();
            pair.push("=");
            pair.push(to);
            pair
        })
        .collect();
    let between = OsString::from(char::from(BETWEEN).to_string());
    let mut environment = vec![
        (WRAPPER.to_owned(), own.into()),
        (MAPPED.to_owned(), pairs.join(between.as_os_str())),
        (WORKSPACE.to_owned(), package.workspace.clone().into()),
    ];
    environment.extend(inner(&package.directory).map(|inner| (INNER.to_owned(), inner)));
    Some(environment)
}

/// The wrapper that cargo would otherwise use, such as `sccache`.
fn inner(package: &Path) -> Option<OsString> {
    let said = env::var_os(WRAPPER).or_else(|| env::var_os(CONFIGURED));
    let inner = said.or_else(|| configured(package, cargo_home().as_deref()))?;
    (!inner.is_empty()).then_some(inner)
}

/// The wrapper from cargo's configuration: the nearest file above a crate that sets one, else that of cargo's home.
fn configured(package: &Path, home: Option<&Path>) -> Option<OsString> {
    #[derive(Deserialize)]
    struct File {
        build: Option<Build>,
    }
    #[derive(Deserialize)]
    struct Build {
        #[serde(rename = "rustc-wrapper")]
        wrapper: Option<String>,
    }
    let above = package.ancestors().map(|above| above.join(".cargo"));
    above.chain(home.map(Path::to_owned)).find_map(|place| {
        // The older of two names takes precedence, as in cargo.
        let text = ["config", "config.toml"]
            .iter()
            .find_map(|name| std::fs::read_to_string(place.join(name)).ok())?;
        let file: File = toml::from_str(&text).ok()?;
        let wrapper = file.build?.wrapper?;
        // A name is looked up in PATH; a path is relative to the file's directory.
        Some(match place.parent() {
            Some(base) if wrapper.contains('/') => base.join(wrapper).into(),
            _ => wrapper.into(),
        })
    })
}

/// Whether this process was started in place of the compiler: by cargo, or by a build script that does the same.
pub(crate) fn is_compiler() -> bool {
    env::var_os(MAPPED).is_some() && is_compilers_line(&env::args_os().skip(1).collect::<Vec<_>>())
}

/// Whether a command line calls the compiler: by its name, or, behind another wrapper, by its arguments.
fn is_compilers_line(words: &[OsString]) -> bool {
    let name = words.first().and_then(|program| Path::new(program).file_name());
    name.is_some_and(|name| name.as_bytes().starts_with(b"rustc"))
        || words.iter().skip(1).any(|word| word == "--crate-name" || word == "-vV")
}

/// Becomes the compiler, or runs it. Errors are reported to cargo as the compiler would report them.
#[expect(clippy::print_stderr, reason = "it stands for a compiler, which cargo listens to")]
pub(crate) fn compiler_main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let (mapped, workspace) = (env::var_os(MAPPED).unwrap_or_default(), env::var_os(WORKSPACE));
    let package = env::var_os("CARGO_MANIFEST_DIR");
    let more = more_flags(&arguments, package.as_deref(), &mapped);
    let words: Vec<OsString> =
        env::var_os(INNER).into_iter().chain(arguments.iter().cloned()).chain(more).collect();
    let Some((program, rest)) = words.split_first() else { return ExitCode::FAILURE };
    let mut compiler = Command::new(program);
    // A wrapper inside must not see itself as one, and no crate may see where the others are.
    compiler.args(rest).env_remove(MAPPED).env_remove(INNER).env_remove(WORKSPACE);
    let not_started = |error: std::io::Error| {
        eprintln!("error: cannot start {}: {error}", program.display());
        ExitCode::FAILURE
    };
    let member_of = workspace.filter(|workspace| {
        package.as_deref().is_some_and(|package| Path::new(package).starts_with(workspace))
    });
    let (Some(workspace), Some(noted)) = (member_of, dep_info(&arguments)) else {
        return not_started(compiler.exec());
    };
    let status = match compiler.status() {
        Ok(status) => status,
        Err(error) => return not_started(error),
    };
    if status.success()
        && let Err(error) = note_workspace(&noted, &workspace)
    {
        eprintln!("error: cannot write {}: {error}", noted.display());
        return ExitCode::FAILURE;
    }
    status.code().map_or(ExitCode::FAILURE, |code| ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

/// The file in which the compiler records a crate's inputs, as cargo requests it.
fn dep_info(arguments: &[OsString]) -> Option<PathBuf> {
    let texts: Vec<&str> = arguments.iter().map(|argument| argument.to_str().unwrap_or_default()).collect();
    let after = |name: &str| {
        let at = texts.iter().position(|text| *text == name)?;
        arguments.get(at + 1)
    };
    texts.iter().find(|text| text.starts_with("--emit=") && text.contains("dep-info"))?;
    let directory = Path::new(after("--out-dir")?);
    let name = after("--crate-name")?.to_str()?;
    let extra = texts.iter().find_map(|text| {
        text.strip_prefix("extra-filename=").or_else(|| text.strip_prefix("-Cextra-filename="))
    });
    Some(directory.join(format!("{name}{}.d", extra.unwrap_or_default())))
}

/// As the compiler records a variable that a crate has read: a different value recompiles the crate.
fn note_workspace(dep_info: &Path, workspace: &OsStr) -> std::io::Result<()> {
    let value = workspace.to_string_lossy().replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
    let mut file = std::fs::OpenOptions::new().append(true).open(dep_info)?;
    writeln!(file, "\n# env-dep:{WORKSPACE}={value}")
}

/// The flags for a crate of the project that is compiled for its target; none for any other crate, and none for
/// what only runs during the build.
fn more_flags(arguments: &[OsString], package: Option<&OsStr>, mapped: &OsStr) -> Vec<OsString> {
    let pairs: Vec<&[u8]> =
        mapped.as_bytes().split(|byte| *byte == BETWEEN).filter(|pair| !pair.is_empty()).collect();
    let is_for_target = arguments.iter().any(|argument| argument == "--target");
    let is_local = package.is_some_and(|package| {
        pairs.iter().any(|pair| {
            let from = pair.rsplitn(2, |byte| *byte == b'=').nth(1).unwrap_or_default();
            Path::new(package).starts_with(OsStr::from_bytes(from))
        })
    });
    if !is_for_target || !is_local {
        return Vec::new();
    }
    let flag = |pair: &[u8]| {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(OsStr::from_bytes(pair));
        flag
    };
    pairs.into_iter().map(flag).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_crates_of_the_project_that_are_compiled_for_its_target_get_its_paths() {
        let mapped =
            OsString::from("/home/a/lib=/deps/lib\u{1f}/home/a/app=/src\u{1f}/home/a/app/target=/target");
        let flags = |words: &str, package: &str| {
            let words: Vec<OsString> = words.split(' ').map(OsString::from).collect();
            let flags = more_flags(&words, Some(OsStr::new(package)), &mapped);
            flags.into_iter().map(|flag| flag.into_string().unwrap()).collect::<Vec<_>>()
        };
        let own = flags("rustc --crate-name app --target x", "/home/a/app");
        assert_eq!(own.first().unwrap(), "--remap-path-prefix=/home/a/lib=/deps/lib");
        assert_eq!(
            own.last().unwrap(),
            "--remap-path-prefix=/home/a/app/target=/target",
            "the longest is last"
        );
        assert_eq!(flags("rustc --target x", "/home/a/app/crates/one"), own);
        assert_eq!(flags("rustc --target x", "/home/a/lib"), own);
        let none: [String; 0] = [];
        assert_eq!(flags("rustc --target x", "/home/a/application"), none, "a name that only begins like it");
        assert_eq!(flags("rustc --target x", "/home/a/.cargo/registry/src/serde-1.0.0"), none);
        assert_eq!(flags("rustc --crate-name build_script_build", "/home/a/app"), none);
        assert_eq!(more_flags(&["rustc".into(), "--target".into()], None, &mapped), none.map(OsString::from));
    }

    #[test]
    fn what_a_member_was_made_of_is_noted_where_cargo_looks_for_it() {
        let place = tempfile::TempDir::new().unwrap();
        let line = format!(
            "rustc --crate-name app --emit=dep-info,link -C extra-filename=-12ab --out-dir {}",
            place.path().display()
        );
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let noted = dep_info(&words).unwrap();
        assert_eq!(noted, place.path().join("app-12ab.d"));
        std::fs::write(&noted, "app: src/main.rs\n").unwrap();
        note_workspace(&noted, OsStr::new("/home/a\\b")).unwrap();
        let text = std::fs::read_to_string(&noted).unwrap();
        assert_eq!(text, "app: src/main.rs\n\n# env-dep:FLASH_RUSTC_WORKSPACE=/home/a\\\\b\n");
        for other in ["rustc -vV", "rustc - --crate-name ___ --print=file-names"] {
            let words: Vec<OsString> = other.split(' ').map(OsString::from).collect();
            assert_eq!(dep_info(&words), None, "{other}");
        }
    }

    #[test]
    fn a_command_of_flash_within_a_build_is_not_taken_for_the_compiler() {
        let is = |line: &str| is_compilers_line(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        for line in
            ["rustc -vV", "/x/bin/rustc --print cfg", "my-wrapper /x/rustc --crate-name a", "rustc-1.95 -"]
        {
            assert!(is(line), "{line}");
        }
        for line in ["build --push x", "run", "__service", "call production f {}"] {
            assert!(!is(line), "{line}");
        }
        assert!(!is_compilers_line(&[]));
    }

    #[test]
    fn a_wrapper_of_the_user_is_found_where_cargo_finds_it() {
        let place = tempfile::TempDir::new().unwrap();
        let write = |file: &str, text: &str| {
            let path = place.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let (package, home) = (place.path().join("work/app"), place.path().join("home/.cargo"));
        let found = || configured(&package, Some(&home)).map(|found| found.into_string().unwrap());
        assert_eq!(found(), None);
        write("home/.cargo/config.toml", "[build]\nrustc-wrapper = \"sccache\"\n");
        write("work/app/.cargo/config.toml", "[net]\noffline = true\n");
        assert_eq!(found().as_deref(), Some("sccache"));
        write("work/.cargo/config.toml", "[build]\nrustc-wrapper = \"tools/wrap\"\n");
        assert_eq!(found(), Some(place.path().join("work/tools/wrap").to_str().unwrap().to_owned()));
        write("work/app/.cargo/config.toml", "[build]\nrustc-wrapper = \"\"\n");
        assert_eq!(found().as_deref(), Some(""), "none is wanted");
    }
}
