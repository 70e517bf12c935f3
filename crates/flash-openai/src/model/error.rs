//! Why a model gave no answer, in kinds that clients can act on.
use std::error::Error as StdError;

/// An error of a model. Its message is shown to the client; its source is for the log.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ModelError {
    kind: ModelErrorKind,
    message: String,
    param: Option<&'static str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What a client can do about an error. Each kind has its HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ModelErrorKind {
    /// The request cannot be served as it is: 400.
    InvalidRequest,
    /// The prompt does not fit the context: 400, with code `context_length_exceeded`.
    ContextLength,
    /// The line is full, or memory is short right now. The same request may succeed later: 503. Clients retry it.
    Overloaded,
    /// The model failed: 500. Clients are told not to retry.
    Internal,
}

impl ModelError {
    /// The request cannot be served as it is. `message` says what to change.
    pub fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(ModelErrorKind::InvalidRequest, message)
    }

    /// A prompt of `prompt` tokens for a context of `limit`.
    pub fn context_length(prompt: usize, limit: usize) -> Self {
        let message = format!(
            "the prompt has {prompt} tokens, but this model's maximum context length is {limit} tokens: shorten the \
             prompt"
        );
        Self::new(ModelErrorKind::ContextLength, message)
    }

    /// There is no room right now.
    pub fn overloaded(message: impl Into<String>) -> Self {
        Self::new(ModelErrorKind::Overloaded, message)
    }

    /// The model failed.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ModelErrorKind::Internal, message)
    }

    fn new(kind: ModelErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), param: None, source: None }
    }

    /// The field of the request that is wrong, such as `messages`.
    #[must_use]
    pub fn with_param(mut self, param: &'static str) -> Self {
        self.param = Some(param);
        self
    }

    /// The cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What the client can do.
    pub fn kind(&self) -> ModelErrorKind {
        self.kind
    }

    /// What went wrong, for the client.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The field of the request that is wrong.
    pub fn param(&self) -> Option<&'static str> {
        self.param
    }
}
