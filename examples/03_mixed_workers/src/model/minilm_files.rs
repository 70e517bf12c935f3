//! Where MiniLM's weights are on this machine.
//!
//! Only looks; fetching is left to the tools that already do it well, so the program needs no network.
use std::{
    env,
    path::{Path, PathBuf},
};

use super::ModelError;

/// The environment variable that names the directory with `model.safetensors`, `tokenizer.json` and
/// `config.json`; it wins over the Hugging Face cache.
pub const MINILM_DIR: &str = "MINILM_DIR";

pub(super) const WEIGHTS: &str = "model.safetensors";
pub(super) const TOKENIZER: &str = "tokenizer.json";
pub(super) const CONFIG: &str = "config.json";

const CACHED: &str = "models--sentence-transformers--all-MiniLM-L6-v2/snapshots";

/// Finds the directory with MiniLM's files: `MINILM_DIR` if set, else the Hugging Face cache.
///
/// # Errors
/// When no place has all three files; the message says how to get them.
pub fn find_minilm() -> Result<PathBuf, ModelError> {
    if let Some(named) = variable(MINILM_DIR) {
        return complete(&named)
            .then(|| named.clone())
            .ok_or(ModelError::MiniLmNotFound { searched: vec![named] });
    }
    let Some(hub) = hub() else { return Err(ModelError::MiniLmNotFound { searched: Vec::new() }) };
    let snapshots = hub.join(CACHED);
    newest_complete(&snapshots).ok_or_else(|| ModelError::MiniLmNotFound { searched: vec![snapshots] })
}

/// The Hugging Face cache, by the rules of its own tools.
fn hub() -> Option<PathBuf> {
    let home = || variable("HOME").or_else(|| variable("USERPROFILE"));
    let root = || variable("HF_HOME").or_else(|| home().map(|home| home.join(".cache/huggingface")));
    variable("HF_HUB_CACHE").or_else(|| root().map(|root| root.join("hub")))
}

fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Of several snapshots the one fetched last; an interrupted download is not complete.
fn newest_complete(snapshots: &Path) -> Option<PathBuf> {
    let folders = snapshots.read_dir().ok()?.flatten().map(|entry| entry.path());
    folders.filter(|folder| complete(folder)).max_by_key(|folder| {
        let fetched = folder.metadata().and_then(|metadata| metadata.modified()).ok();
        (fetched, folder.clone())
    })
}

fn complete(directory: &Path) -> bool {
    [WEIGHTS, TOKENIZER, CONFIG].iter().all(|file| directory.join(file).is_file())
}
