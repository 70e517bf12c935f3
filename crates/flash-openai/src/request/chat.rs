//! `POST /v1/chat/completions`.
use serde::Deserialize;
use serde_json::Value;

use super::{sampling::unsupported, within};
use crate::{
    error::ApiError,
    model::{Message, Role},
};

/// The fields that only chat has.
#[derive(Debug, Deserialize)]
pub(crate) struct ChatRequest {
    pub(crate) model: String,
    messages: Vec<WrittenMessage>,
    logprobs: Option<bool>,
    top_logprobs: Option<usize>,
    tools: Option<Vec<Value>>,
    functions: Option<Vec<Value>>,
    response_format: Option<ResponseFormat>,
}

#[derive(Debug, Deserialize)]
struct ResponseFormat {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Deserialize)]
struct WrittenMessage {
    role: String,
    content: Option<Content>,
    name: Option<String>,
    tool_calls: Option<Vec<Value>>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a string or a list of parts")]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
}

impl ChatRequest {
    /// The messages, their parts joined.
    ///
    /// # Errors
    /// If there are none, or one has an unknown role or something else than text.
    pub(crate) fn messages(&self) -> Result<Vec<Message>, ApiError> {
        self.check_unsupported()?;
        if self.messages.is_empty() {
            return Err(ApiError::invalid("messages", "`messages` is empty: send at least one message"));
        }
        self.messages.iter().enumerate().map(|(index, message)| message.read(index)).collect()
    }

    /// How many alternatives to each token the answer lists; `None` for no log probabilities.
    ///
    /// # Errors
    /// If alternatives are asked for without log probabilities, or too many.
    pub(crate) fn logprobs(&self) -> Result<Option<usize>, ApiError> {
        let top = within("top_logprobs", self.top_logprobs, 0..=20)?;
        match (self.logprobs.unwrap_or(false), top) {
            (true, top) => Ok(Some(top.unwrap_or(0))),
            (false, None | Some(0)) => Ok(None),
            (false, Some(_)) => {
                Err(ApiError::invalid("top_logprobs", "`top_logprobs` needs `logprobs` set to true"))
            }
        }
    }

    fn check_unsupported(&self) -> Result<(), ApiError> {
        for (name, tools) in [("tools", &self.tools), ("functions", &self.functions)] {
            if tools.as_ref().is_some_and(|tools| !tools.is_empty()) {
                return Err(unsupported(name, "ask for text, and leave it out"));
            }
        }
        match &self.response_format {
            Some(format) if format.kind != "text" => {
                Err(unsupported("response_format", "leave it out, or set its `type` to `text`"))
            }
            _ => Ok(()),
        }
    }
}

impl WrittenMessage {
    fn read(&self, index: usize) -> Result<Message, ApiError> {
        let at = |field: &str| format!("messages[{index}].{field}");
        if self.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty()) {
            return Err(unsupported(&at("tool_calls"), "leave messages with tool calls out"));
        }
        let role = match self.role.as_str() {
            "system" | "developer" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "tool" => Role::Tool,
            other => {
                let message =
                    format!("`{other}` is no role: use `system`, `developer`, `user`, `assistant` or `tool`");
                return Err(ApiError::invalid(at("role"), message));
            }
        };
        let content = match &self.content {
            None if role == Role::Assistant => String::new(),
            None => return Err(ApiError::invalid(at("content"), "a message has no `content`")),
            Some(Content::Text(text)) => text.clone(),
            Some(Content::Parts(parts)) => joined(parts, &at("content"))?,
        };
        Ok(Message { role, content, name: self.name.clone() })
    }
}

/// The text of all parts.
fn joined(parts: &[Part], at: &str) -> Result<String, ApiError> {
    let mut content = String::new();
    for (index, part) in parts.iter().enumerate() {
        let at = || format!("{at}[{index}]");
        match (part.kind.as_str(), &part.text) {
            ("text", Some(text)) => content.push_str(text),
            ("text", None) => return Err(ApiError::invalid(at(), "a part of type `text` has no `text`")),
            (other, _) => {
                let message = format!("a part has the type `{other}`, but this model reads text only");
                return Err(ApiError::invalid(at(), message));
            }
        }
    }
    Ok(content)
}
