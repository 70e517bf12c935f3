//! From a directory to a model that serves.
use std::{
    fs,
    path::{Path, PathBuf},
};

use candle_core::quantized::gguf_file::Content;

use super::{
    engine::{GgufEngine, open},
    metadata::{Shape, number, text},
    quantization::Quantization,
    tokenizer,
};
use crate::{ChatTemplate, LanguageModel, LoadError, Options, Vocabulary, error::Format};

/// Serves the quantised model in a directory with [`Options::default`]: one file `*.gguf`, of the family llama, qwen2 or
/// qwen3. `path` may also be the file itself.
///
/// Tokenizer and chat template are those of `tokenizer.json`, `tokenizer_config.json`, `generation_config.json` and
/// `chat_template.jinja` beside the file; what is not there comes from the GGUF file.
///
/// # Errors
///
/// If a file is missing, damaged, of a kind that is not supported, or larger than the memory that is left.
pub fn gguf(path: impl AsRef<Path>) -> Result<LanguageModel, LoadError> {
    gguf_with(path, Options::default())
}

/// As [`gguf`], with limits of your own.
///
/// # Errors
///
/// If a file is missing, damaged, or of a kind that is not supported.
pub fn gguf_with(path: impl AsRef<Path>, options: Options) -> Result<LanguageModel, LoadError> {
    gguf_quantized(path, Quantization::Automatic, options)
}

/// As [`gguf_with`], with matrices stored as you say.
///
/// # Errors
///
/// If a file is missing, damaged, or of a kind that is not supported.
pub fn gguf_quantized(
    path: impl AsRef<Path>,
    quantization: Quantization,
    options: Options,
) -> Result<LanguageModel, LoadError> {
    let file = find(path.as_ref())?;
    let (content, _) = open(&file)?;
    // Before anything else is wrong with a model that cannot run.
    Shape::of(&content).map_err(|reason| LoadError::Unsupported { path: file.clone(), reason })?;
    let vocabulary = vocabulary(&file, &content)?;
    let engine = GgufEngine::load(&file, quantization)?;
    LanguageModel::serve(engine, vocabulary, options)
}

/// The one GGUF file of a directory.
fn find(path: &Path) -> Result<PathBuf, LoadError> {
    if path.is_file() {
        return Ok(path.to_owned());
    }
    let read = |source| LoadError::Read { path: path.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")) {
            found.push(path);
        }
    }
    found.sort();
    let name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    match &found[..] {
        [] => Err(LoadError::missing(path, "GGUF file (`*.gguf`)", Format::Gguf)),
        [one] => Ok(one.clone()),
        several => {
            let found = several.iter().filter_map(name).collect();
            Err(LoadError::Several { directory: path.to_owned(), found })
        }
    }
}

fn vocabulary(file: &Path, content: &Content) -> Result<Vocabulary, LoadError> {
    let directory = file.parent().unwrap_or(Path::new("."));
    let tokenizer = match directory.join("tokenizer.json").is_file() {
        true => Vocabulary::load(directory)?,
        false => {
            let unsupported = |reason| LoadError::Unsupported { path: file.to_owned(), reason };
            Vocabulary::new(tokenizer::tokenizer(content).map_err(unsupported)?)
        }
    };
    let token = |key: &str| number(content, key).and_then(|id| u32::try_from(id).ok());
    let ends = ["eos", "eot", "eom"].map(|name| token(&format!("tokenizer.ggml.{name}_token_id")));
    let mut vocabulary = tokenizer.with_ends(ends.into_iter().flatten());
    if let Some(source) = text(content, "tokenizer.chat_template") {
        let written = |key: &str| token(key).map(|id| written(content, id)).unwrap_or_default();
        let (beginning, end) =
            (written("tokenizer.ggml.bos_token_id"), written("tokenizer.ggml.eos_token_id"));
        let template = ChatTemplate::new(source, &beginning, &end);
        vocabulary = vocabulary.with_template(template.map_err(|source| LoadError::damaged(file, source))?);
    }
    // Files beside it win.
    vocabulary.with_files(directory)
}

fn written(content: &Content, token: u32) -> String {
    let tokens = content.metadata.get("tokenizer.ggml.tokens").and_then(|tokens| tokens.to_vec().ok());
    let token = tokens.and_then(|tokens| tokens.get(token as usize)).and_then(|token| token.to_string().ok());
    token.cloned().unwrap_or_default()
}
