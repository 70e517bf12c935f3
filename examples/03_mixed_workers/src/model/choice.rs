//! Which of the two models is loaded, and why.
//!
//! Decides apart from looking: [`ModelChoice::decide`] is told what was found.
use std::{fmt, path::PathBuf, str::FromStr};

use candle_core::Device;

use super::{MINILM_DIR, MiniLm, ModelError, NgramClassifier, SentimentModel, find_minilm};

/// Which model to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ModelChoice {
    /// The transformer where its weights are found, else the small classifier.
    #[default]
    Auto,
    /// The small classifier whose weights travel inside the program.
    Ngram,
    /// The transformer, or none: its weights must be on the machine.
    MiniLm,
}

impl FromStr for ModelChoice {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "ngram" => Ok(Self::Ngram),
            "minilm" => Ok(Self::MiniLm),
            _ => Err(()),
        }
    }
}

/// The model that is loaded. It displays as the reason.
#[derive(Debug)]
pub enum Chosen {
    /// The small classifier, by choice.
    Ngram,
    /// The small classifier, because the transformer was not found.
    NgramInstead(ModelError),
    /// The transformer in this directory.
    MiniLm(PathBuf),
}

impl ModelChoice {
    /// Looks for MiniLM where [`find_minilm`] says, if it may be loaded.
    ///
    /// # Errors
    /// When it must be loaded and was not found, or `MINILM_DIR` names a directory without it: then another
    /// model is not what was asked for.
    pub fn choose(self) -> Result<Chosen, ModelError> {
        self.decide(std::env::var_os(MINILM_DIR).is_some_and(|named| !named.is_empty()), find_minilm)
    }

    /// `is_named` says whether the user names the directory that `find` looks into.
    pub(super) fn decide(
        self,
        is_named: bool,
        find: impl FnOnce() -> Result<PathBuf, ModelError>,
    ) -> Result<Chosen, ModelError> {
        match self {
            Self::Ngram => Ok(Chosen::Ngram),
            Self::MiniLm => find().map(Chosen::MiniLm),
            Self::Auto => match find() {
                Err(missing) if !is_named => Ok(Chosen::NgramInstead(missing)),
                found => found.map(Chosen::MiniLm),
            },
        }
    }
}

impl Chosen {
    /// Loads the model onto `device`.
    ///
    /// # Errors
    /// When weights cannot be read or do not fit the program.
    pub fn load(&self, device: &Device) -> Result<Box<dyn SentimentModel>, ModelError> {
        Ok(match self {
            Self::Ngram | Self::NgramInstead(_) => Box::new(NgramClassifier::load(device)?),
            Self::MiniLm(directory) => Box::new(MiniLm::load(directory, device)?),
        })
    }
}

impl fmt::Display for Chosen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ngram => formatter.write_str("as chosen"),
            Self::NgramInstead(missing) => missing.fmt(formatter),
            Self::MiniLm(directory) => write!(formatter, "found in `{}`", directory.display()),
        }
    }
}
