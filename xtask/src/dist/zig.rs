//! zig as the C compiler for other machines: it brings musl and its headers for all of them.
//!
//! It names targets in its own way and refuses Rust's names, which the `cc` crate passes on. So it is called by a script.
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use crate::{command::find, failure::Failure};

/// Whether it is there.
pub(super) fn is_there() -> bool {
    find("zig").is_some()
}

/// Writes the script that compiles for this machine with musl, and says where it is.
///
/// # Errors
/// If it cannot be written.
pub(super) fn compiler(machine: &str, into: &Path) -> Result<PathBuf, Failure> {
    let path = into.join(format!("zig-cc-{machine}"));
    let write = || {
        fs::write(&path, script(machine))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
    };
    write().map_err(Failure::at(path.display()))?;
    Ok(path)
}

fn script(machine: &str) -> String {
    format!(
        r#"#!/bin/sh
for argument do
  shift
  case $argument in
    --target=*) ;;
    *) set -- "$@" "$argument" ;;
  esac
done
exec zig cc -target {machine}-linux-musl "$@"
"#
    )
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_script_passes_everything_on_but_rusts_name_of_the_target() {
        let directory = tempfile::tempdir().unwrap();
        let zig = directory.path().join("zig");
        fs::write(&zig, "#!/bin/sh\nprintf '%s\\n' \"$@\"\n").unwrap();
        fs::set_permissions(&zig, fs::Permissions::from_mode(0o755)).unwrap();
        let script = compiler("aarch64", directory.path()).unwrap();
        let path = format!("{}:{}", directory.path().display(), std::env::var("PATH").unwrap());
        let output = Command::new(script)
            .args(["-O3", "--target=aarch64-unknown-linux-musl", "a file.c", "-DX=\"y\""])
            .env("PATH", path)
            .output()
            .unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            printed.lines().collect::<Vec<_>>(),
            ["cc", "-target", "aarch64-linux-musl", "-O3", "a file.c", "-DX=\"y\""]
        );
    }
}
