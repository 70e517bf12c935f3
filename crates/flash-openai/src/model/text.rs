//! A language model, and the messages it is asked to continue.
use super::{
    error::ModelError,
    generation::{Generating, Generation},
};

/// A language model.
///
/// Methods that return no stream are called on a thread that may block: they may take milliseconds.
pub trait TextModel: Send + Sync + 'static {
    /// Tokens that a prompt and its answer may have together. Longer prompts never reach [`generate`](Self::generate).
    fn context_length(&self) -> usize;

    /// The tokens of a conversation by the model's chat template, up to where the assistant's answer begins. Includes
    /// whatever token the model wants at the beginning.
    ///
    /// # Errors
    ///
    /// If the model has no template, or its template refuses these messages
    /// ([`InvalidRequest`](super::ModelErrorKind::InvalidRequest)).
    fn chat_prompt(&self, messages: &[Message]) -> Result<Vec<u32>, ModelError>;

    /// The tokens of a text to continue. Includes whatever token the model wants at the beginning. Names of special
    /// tokens in `text` may be read as these tokens.
    ///
    /// # Errors
    ///
    /// If the text has no tokens.
    fn text_prompt(&self, text: &str) -> Result<Vec<u32>, ModelError>;

    /// Starts to generate. Returns at once: admission, prefill and decoding happen behind the stream, and a generation
    /// that cannot start fails as the first item.
    ///
    /// The stream yields any number of [`Piece`](crate::Generated::Piece)s, then exactly one [`End`](crate::Generated::End); or an error as its
    /// last item. Dropping it cancels the generation. A stream that is not polled holds back its own generation only.
    fn generate(&self, generation: Generation) -> Generating;
}

/// One message of a conversation. Parts of a content that is a list are joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said. Empty if the client sent `null`.
    pub content: String,
    /// Who of several participants in the role, if the client says so.
    pub name: Option<String>,
}

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Instructions. OpenAI's `developer` is this role too: templates know `system`.
    System,
    /// The person or program that asks.
    User,
    /// The model.
    Assistant,
    /// The result of a tool, in a conversation that was had with another model.
    Tool,
}

impl Role {
    /// The name that chat templates use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}
