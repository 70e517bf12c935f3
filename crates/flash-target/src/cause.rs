//! Why something failed: an error of this process, or the texts of one that was in another.
use std::{error::Error, fmt, iter::successors, sync::Arc};

use serde::{Deserialize, Serialize};

/// An error and its sources. Over JSON it is the list of their texts.
#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "Vec<String>", into = "Vec<String>")]
pub(crate) struct Cause(Arc<dyn Error + Send + Sync>);

/// An error whose own text is told elsewhere: of the cause, only its sources count.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Told(Box<dyn Error + Send + Sync>);

impl Cause {
    pub(crate) fn of(error: Box<dyn Error + Send + Sync>) -> Self {
        Self(Arc::from(error))
    }

    /// `None` if the error has no source.
    pub(crate) fn sources_of(error: impl Error + Send + Sync + 'static) -> Option<Self> {
        error.source().is_some().then(|| Self(Arc::new(Told(Box::new(error)))))
    }

    pub(crate) fn error(&self) -> Option<&(dyn Error + 'static)> {
        match self.0.downcast_ref::<Told>() {
            Some(Told(error)) => error.source(),
            None => Some(&*self.0),
        }
    }

    fn texts(&self) -> Vec<String> {
        successors(self.error(), |error| (*error).source()).map(ToString::to_string).collect()
    }
}

impl From<Cause> for Vec<String> {
    fn from(cause: Cause) -> Self {
        cause.texts()
    }
}

impl From<Vec<String>> for Cause {
    fn from(texts: Vec<String>) -> Self {
        let mut texts = texts.into_iter().rev();
        let last = texts.next().unwrap_or_else(|| "unknown".to_owned());
        let last = Reported { text: last, source: None };
        let first = texts.fold(last, |source, text| Reported { text, source: Some(Box::new(source)) });
        Self(Arc::new(first))
    }
}

/// Two errors are equal if they say the same.
impl PartialEq for Cause {
    fn eq(&self, other: &Self) -> bool {
        self.texts() == other.texts()
    }
}

impl Eq for Cause {}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.error(), f)
    }
}

/// An error of another process.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Reported {
    text: String,
    source: Option<Box<Reported>>,
}
