//! The tokens of a model: its tokenizer, which tokens end a text, its chat template.
use std::{
    fs,
    path::{Path, PathBuf},
};

use flash_openai::{Message, ModelError};
use serde::Deserialize;
use tokenizers::Tokenizer;

use super::{bytes::Spelling, template::ChatTemplate};
use crate::error::{Format, LoadError};

/// What a model's files say about text. All but the tokenizer is optional.
#[derive(Debug)]
pub struct Vocabulary {
    tokenizer: Tokenizer,
    spelling: Spelling,
    ends: Vec<u32>,
    template: Option<ChatTemplate>,
}

impl Vocabulary {
    /// A tokenizer, without tokens that end a text and without a template.
    pub fn new(tokenizer: Tokenizer) -> Self {
        let spelling = Spelling::of(&tokenizer);
        Self { tokenizer, spelling, ends: Vec::new(), template: None }
    }

    /// These tokens end a text. Those that the vocabulary does not have are left out.
    #[must_use]
    pub fn with_ends(mut self, ends: impl IntoIterator<Item = u32>) -> Self {
        let known = ends.into_iter().filter(|token| self.tokenizer.id_to_token(*token).is_some());
        let known: Vec<u32> = known.collect();
        self.ends.extend(known);
        self.ends.sort_unstable();
        self.ends.dedup();
        self
    }

    /// How conversations are written.
    #[must_use]
    pub fn with_template(mut self, template: ChatTemplate) -> Self {
        self.template = Some(template);
        self
    }

    /// Reads the files of Hugging Face's libraries in a directory: `tokenizer.json`, and if they are there
    /// `tokenizer_config.json`, `generation_config.json` and `chat_template.jinja`.
    ///
    /// # Errors
    ///
    /// If there is no `tokenizer.json`, or a file is damaged.
    pub fn load(directory: &Path) -> Result<Self, LoadError> {
        let path = directory.join("tokenizer.json");
        if !path.is_file() {
            return Err(LoadError::missing(directory, "`tokenizer.json`", Format::Tokenizer));
        }
        let tokenizer = Tokenizer::from_file(&path).map_err(|source| LoadError::damaged(path, source))?;
        Self::new(tokenizer).with_files(directory)
    }

    /// Takes from a directory what is there: it is more recent than what a GGUF file has.
    pub(crate) fn with_files(mut self, directory: &Path) -> Result<Self, LoadError> {
        let (path, config) = read::<TokenizerConfig>(directory, "tokenizer_config.json")?;
        let (_, generation) = read::<GenerationConfig>(directory, "generation_config.json")?;
        let token = |token: &Option<SpecialToken>| token.as_ref().map(|token| token.text().to_owned());
        let (beginning, end) = (token(&config.bos_token), token(&config.eos_token));
        let id = end.as_ref().and_then(|end| self.tokenizer.token_to_id(end));
        self = self.with_ends(generation.ends().into_iter().chain(id));
        let apart = directory.join("chat_template.jinja");
        let source = match apart.is_file() {
            true => {
                let text = fs::read_to_string(&apart)
                    .map_err(|source| LoadError::Read { path: apart.clone(), source })?;
                Some((apart, text))
            }
            false => config.chat_template.and_then(Templates::default).map(|text| (path, text)),
        };
        if let Some((path, source)) = source {
            let template = ChatTemplate::new(
                &source,
                beginning.as_deref().unwrap_or_default(),
                end.as_deref().unwrap_or_default(),
            );
            self.template = Some(template.map_err(|source| LoadError::damaged(path, source))?);
        }
        Ok(self)
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Whether the token ends a text.
    pub(crate) fn ends_with(&self, token: u32) -> bool {
        self.ends.binary_search(&token).is_ok()
    }

    /// The bytes that the token stands for.
    pub(crate) fn bytes(&self, token: u32) -> Vec<u8> {
        self.tokenizer.id_to_token(token).map(|text| self.spelling.bytes(&text)).unwrap_or_default()
    }

    /// The tokens of a conversation.
    pub(crate) fn chat_prompt(&self, messages: &[Message]) -> Result<Vec<u32>, ModelError> {
        let template = self.template.as_ref().ok_or_else(|| {
            ModelError::invalid_request("this model has no chat template: use /v1/completions")
        })?;
        // Templates write the token for the beginning themselves.
        self.encode(&template.render(messages)?, false)
    }

    /// The tokens of a text to continue.
    pub(crate) fn text_prompt(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        self.encode(text, true)
    }

    fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, ModelError> {
        let encoding = self
            .tokenizer
            .encode_fast(text, special)
            .map_err(|source| ModelError::internal("the text could not be tokenized").with_source(source))?;
        match encoding.get_ids() {
            [] => Err(ModelError::invalid_request("the prompt is empty: it needs at least one token")),
            ids => Ok(ids.to_vec()),
        }
    }
}

/// A file that may not be there, with its path.
fn read<T: Default + for<'a> Deserialize<'a>>(
    directory: &Path,
    name: &str,
) -> Result<(PathBuf, T), LoadError> {
    let path = directory.join(name);
    if !path.is_file() {
        return Ok((path, T::default()));
    }
    let bytes = fs::read(&path).map_err(|source| LoadError::Read { path: path.clone(), source })?;
    let value = serde_json::from_slice(&bytes).map_err(|source| LoadError::damaged(&path, source))?;
    Ok((path, value))
}

/// `tokenizer_config.json`.
#[derive(Default, Deserialize)]
struct TokenizerConfig {
    bos_token: Option<SpecialToken>,
    eos_token: Option<SpecialToken>,
    chat_template: Option<Templates>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum SpecialToken {
    Text(String),
    Settings { content: String },
}

impl SpecialToken {
    fn text(&self) -> &str {
        let (Self::Text(text) | Self::Settings { content: text }) = self;
        text
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Templates {
    One(String),
    Several(Vec<NamedTemplate>),
}

#[derive(Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

impl Templates {
    fn default(self) -> Option<String> {
        match self {
            Self::One(text) => Some(text),
            Self::Several(several) => {
                several.into_iter().find(|named| named.name == "default").map(|named| named.template)
            }
        }
    }
}

/// `generation_config.json`.
#[derive(Default, Deserialize)]
struct GenerationConfig {
    eos_token_id: Option<Ids>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Ids {
    One(u32),
    Several(Vec<u32>),
}

impl GenerationConfig {
    fn ends(self) -> Vec<u32> {
        match self.eos_token_id {
            None => Vec::new(),
            Some(Ids::One(id)) => vec![id],
            Some(Ids::Several(ids)) => ids,
        }
    }
}
