//! Installs Debian packages, if this user may, and downloads them.
use std::{fs, path::Path};

use crate::{
    command::{command, find, read, run, shown, succeeds},
    failure::Failure,
};

/// Installs packages.
///
/// # Errors
/// When that is not possible here, with the command to run.
pub(super) fn install(what: &str, packages: &[&str]) -> Result<(), Failure> {
    let by_hand = format!(
        "sudo apt-get update && sudo apt-get install -y --no-install-recommends {}",
        packages.join(" ")
    );
    let missing = |reason: &str| {
        Failure::new(format!("{what} is missing, and {reason}"))
            .hint(format!("install it; on Debian: {by_hand}"))
    };
    if find("apt-get").is_none() {
        return Err(missing("apt-get is not available"));
    }
    let rights = Rights::of_this_user().ok_or_else(|| missing("this user may not install packages"))?;
    let mut install = vec!["install", "-y", "--no-install-recommends"];
    install.extend(packages);
    for arguments in [vec!["update"], install] {
        let mut words: Vec<&str> = match rights {
            Rights::Root => vec![],
            Rights::Sudo => vec!["sudo", "-n"],
        };
        // As an argument, because sudo drops variables.
        words.extend(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        words.extend(arguments);
        let mut command = command(words[0], &words[1..]);
        let line = shown(&command);
        run(&mut command)
            .map_err(|failure| failure.hint(format!("check whether `{line}` works when you run it")))?;
    }
    Ok(())
}

/// Downloads the file of a package into a directory, which needs no rights. If its version is not known any more, the lists
/// of packages are updated first, if this user may.
///
/// # Errors
/// When that is not possible here, with the command to run.
pub(super) fn download(package: &str, into: &Path) -> Result<(), Failure> {
    let download = || run(command("apt-get", &["download", package]).current_dir(into));
    if download().is_ok() {
        return Ok(());
    }
    let hint = "the lists of packages may be old: sudo apt-get update";
    match Rights::of_this_user() {
        Some(Rights::Root) => run(&mut command("apt-get", &["update"]))?,
        Some(Rights::Sudo) => run(&mut command("sudo", &["-n", "apt-get", "update"]))?,
        None => {}
    }
    download().map_err(|failure| failure.hint(hint))
}

/// Downloads packages and unpacks them into one new directory, which needs no rights and installs nothing. The directory
/// appears with the last step: where it is, it is complete.
///
/// # Errors
/// As for [`download`], and when the directory cannot be written.
pub(super) fn unpack(packages: &[&str], into: &Path) -> Result<(), Failure> {
    let (archives, unpacked) = (into.with_extension("download"), into.with_extension("unpacked"));
    for directory in [into, &archives, &unpacked] {
        let _ = fs::remove_dir_all(directory);
    }
    fs::create_dir_all(&archives).map_err(Failure::at(archives.display()))?;
    for package in packages {
        download(package, &archives)?;
    }
    for archive in fs::read_dir(&archives).map_err(Failure::at(archives.display()))?.flatten() {
        run(command("dpkg-deb", &["--extract"]).args([&archive.path(), &unpacked]))?;
    }
    fs::rename(&unpacked, into).map_err(Failure::at(into.display()))?;
    let _ = fs::remove_dir_all(&archives);
    Ok(())
}

/// How this user may install packages.
#[derive(Clone, Copy)]
enum Rights {
    Root,
    /// Without a password.
    Sudo,
}

impl Rights {
    fn of_this_user() -> Option<Self> {
        if read(&mut command("id", &["-u"])).is_ok_and(|user| user.trim() == "0") {
            return Some(Self::Root);
        }
        succeeds("sudo", &["-n", "true"]).then_some(Self::Sudo)
    }
}
