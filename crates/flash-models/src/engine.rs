//! What a language model must do to be served: tokens in, logits out, one state per sequence.
use std::error::Error as StdError;

/// A language model that runs on a thread of its own.
///
/// An engine computes; it knows no requests, no text and no sampling. A panic in it fails the requests that run, and no
/// more are taken: see [`LanguageModel::health`](crate::LanguageModel::health).
pub trait Engine: Send + 'static {
    /// The state of one sequence: what the model remembers of its tokens, usually keys and values.
    type Sequence: Send + 'static;

    /// Sizes that the scheduler needs.
    fn dimensions(&self) -> Dimensions;

    /// A sequence without tokens.
    fn sequence(&mut self) -> Self::Sequence;

    /// Feeds tokens to several sequences in one go: prompts in chunks, answers token by token. Returns a row of
    /// [`Dimensions::vocabulary`] logits for each part, in order: those after its last token. The row may be empty where
    /// [`Part::wants_logits`] is false.
    ///
    /// # Errors
    ///
    /// All parts of the call fail together; their sequences are not used again.
    fn forward(&mut self, parts: &mut [Part<'_, Self::Sequence>]) -> Result<Vec<Vec<f32>>, EngineError>;

    /// A sequence of its own with the first `tokens` tokens of another, so that prompts with the same beginning are
    /// computed once. `None`, the default, if the model cannot.
    ///
    /// # Errors
    ///
    /// If there is no memory for it. The prompt is then computed.
    fn prefix(
        &mut self,
        sequence: &Self::Sequence,
        tokens: usize,
    ) -> Result<Option<Self::Sequence>, EngineError> {
        let _ = (sequence, tokens);
        Ok(None)
    }
}

/// Tokens for one sequence.
#[derive(Debug)]
pub struct Part<'a, S> {
    /// The sequence, with the tokens that it has already.
    pub sequence: &'a mut S,
    /// What comes next: at least one token.
    pub tokens: &'a [u32],
    /// Whether the logits after the last token are needed. They are not inside a prompt.
    pub wants_logits: bool,
}

/// Sizes of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dimensions {
    /// Tokens that a sequence may have.
    pub context: usize,
    /// Different tokens: the length of a row of logits.
    pub vocabulary: usize,
    /// Memory that a sequence takes for each of its tokens.
    pub bytes_per_token: usize,
}

/// A failure of an engine. The requests that ran fail; the engine goes on.
///
/// After [`EngineErrorKind::OutOfMemory`], half as many run, from the beginning; only one that fails alone is an error of its
/// client.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct EngineError {
    kind: EngineErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What can be done about a failure of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EngineErrorKind {
    /// The device has no memory for a call of this size. A smaller one may fit.
    OutOfMemory,
    /// Anything else: the same call would fail again.
    Other,
}

impl EngineError {
    /// What failed, for the log.
    pub fn new(message: impl Into<String>) -> Self {
        Self { kind: EngineErrorKind::Other, message: message.into(), source: None }
    }

    /// The device has no memory for the call.
    pub fn out_of_memory(message: impl Into<String>) -> Self {
        Self { kind: EngineErrorKind::OutOfMemory, ..Self::new(message) }
    }

    /// The cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What can be done about it.
    pub fn kind(&self) -> EngineErrorKind {
        self.kind
    }
}
