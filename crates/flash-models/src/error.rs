//! Why a model could not be loaded.
use std::{
    error::Error as StdError,
    fs, io,
    path::{Path, PathBuf},
};

/// A model that could not be loaded. The cause, where there is one, is the error's source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A file or directory could not be read.
    #[error("could not read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The directory holds no file of the kind that is needed.
    #[error("`{}` contains no {wanted}{hint}", directory.display())]
    Missing {
        /// The directory.
        directory: PathBuf,
        /// The file.
        wanted: &'static str,
        /// What is there instead, and what to do: `, but …`.
        hint: String,
    },
    /// The weights are larger than the memory that this process can still have.
    #[error(
        "`{}` has {} of weights, but {of} has {} of memory left: take a smaller model or a smaller quantisation of it, or \
         an instance with more memory",
        path.display(), gigabytes(*size), gigabytes(*left)
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its bytes.
        size: u64,
        /// Bytes that are left.
        left: u64,
        /// Who has them.
        of: &'static str,
    },
    /// The directory holds several models.
    #[error("`{}` contains several GGUF files ({}): give the path of one of them", directory.display(), found.join(", "))]
    Several {
        /// The directory.
        directory: PathBuf,
        /// Their names.
        found: Vec<String>,
    },
    /// A file is damaged, or of another format than its name says.
    #[error("could not load `{}`; whether it is whole, `flash models verify` says", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The file is well, and this crate cannot run its model.
    #[error("cannot run the model in `{}`: {reason}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What is not supported, and what is.
        reason: String,
    },
    /// The thread of the model could not be started.
    #[error("could not start the thread of the model")]
    Thread {
        /// What the system said.
        source: io::Error,
    },
}

/// As they are counted where models are offered.
fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}

/// What a directory without the file that is needed has instead.
fn instead(directory: &Path, wanted: Format) -> String {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    let ends = |end: &str| names.iter().find(|name| name.to_lowercase().ends_with(end));
    let other = match wanted {
        Format::Safetensors => ends(".gguf")
            .map(|name| format!(", but `{name}`: load it with `flash_models::gguf`"))
            .or_else(|| {
                let name = ends(".safetensors.index.json")?;
                Some(format!(", but weights in several files (`{name}`), which are not supported"))
            }),
        Format::Gguf => ends(".safetensors").map(|name| {
            format!(
                ", but `{name}`: `flash_models::bert` loads encoders; for a language model, name a repository that has \
                 it as GGUF"
            )
        }),
        Format::Tokenizer => None,
    };
    let pickled = || {
        let kind = match wanted {
            Format::Gguf => "a GGUF file",
            Format::Safetensors => "safetensors",
            Format::Tokenizer => return None,
        };
        let name = [".bin", ".pt", ".pth", ".ckpt"].into_iter().find_map(ends)?;
        Some(format!(
            ", but pickled weights (`{name}`), which are not loaded because they can run code: name a repository or \
             revision that has {kind}"
        ))
    };
    let missing = || ": name it in `files` of `#[remote]`, and run `flash models pull`".to_owned();
    other.or_else(pickled).unwrap_or_else(missing)
}

/// Of what a file is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(all(feature = "gguf", feature = "bert")), allow(dead_code))]
pub(crate) enum Format {
    Gguf,
    Safetensors,
    Tokenizer,
}

impl LoadError {
    #[cfg_attr(not(any(feature = "gguf", feature = "bert")), allow(dead_code))]
    pub(crate) fn missing(directory: &Path, wanted: &'static str, format: Format) -> Self {
        Self::Missing { directory: directory.to_owned(), wanted, hint: instead(directory, format) }
    }

    #[cfg_attr(not(any(feature = "gguf", feature = "bert")), allow(dead_code))]
    pub(crate) fn damaged(
        path: impl Into<PathBuf>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self::Damaged { path: path.into(), source: source.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_another_kind_is_named_with_what_to_do() {
        let said = |there: &[&str], format| {
            let directory = tempfile::tempdir().unwrap();
            there.iter().for_each(|name| fs::write(directory.path().join(name), "").unwrap());
            let error = LoadError::missing(directory.path(), "file", format).to_string();
            error.split_once("contains no file").unwrap().1.to_owned()
        };
        for (there, format, hint) in [
            (
                &["config.json", "model.safetensors"][..],
                Format::Gguf,
                "but `model.safetensors`: `flash_models::bert`",
            ),
            (&["pytorch_model.bin"], Format::Gguf, "pickled weights (`pytorch_model.bin`)"),
            (&["a.gguf"], Format::Safetensors, "but `a.gguf`: load it with `flash_models::gguf`"),
            (&["config.json", "pytorch_model.bin"], Format::Safetensors, "revision that has safetensors"),
            (&["model.safetensors.index.json"], Format::Safetensors, "weights in several files"),
            (&["README.md"], Format::Safetensors, "run `flash models pull`"),
        ] {
            let said = said(there, format);
            assert!(said.contains(hint), "{there:?}: {said}");
        }
    }
}
