//! The directory with the files of a worker type's model, which an `#[init]` takes.
use std::{
    fmt,
    ops::Deref,
    path::{Path, PathBuf},
    sync::Arc,
};

use flash_protocol::{Error, ModelEntry, ModelSource, Result, variables};
use flash_text::similar_names;
use flash_weights::{HubCache, Place, locate};

use crate::descriptor::{Registered, RegisteredRouter, Resource};

/// How many files an error lists.
const LISTED_FILES: usize = 20;

/// The directory with the files of the model of a worker type. Files may be shared by many workers: read only.
///
/// A constructor marked `#[init]` takes one if the worker type has a `model`:
///
/// ```
/// use flash_sdk::{ModelDir, Result, remote};
///
/// struct Embedder {
///     vocabulary: String,
/// }
///
/// #[remote(cpu = Cpu3c_2_4, model = "org/name@main", files = ["vocab.txt", "*.safetensors"])]
/// impl Embedder {
///     #[init]
///     fn load(model: ModelDir) -> Result<Self> {
///         Ok(Self { vocabulary: std::fs::read_to_string(model.file("vocab.txt")?)? })
///     }
///
///     pub fn words(&self) -> Result<usize> {
///         Ok(self.vocabulary.lines().count())
///     }
/// }
///
/// # fn main() {}
/// ```
///
/// Before a worker starts, `flash run` and `flash deploy` see to it that the files are there. In process (`cargo run`,
/// `cargo test`) they are looked up in the Hub's cache, without a network: `flash models pull` fetches them.
#[derive(Clone, PartialEq, Eq)]
pub struct ModelDir {
    path: Arc<Path>,
    reference: Arc<str>,
}

impl ModelDir {
    /// A directory with a model, for tests that make the value themselves.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        let path: PathBuf = path.into();
        let reference = format!("path:{}", path.display());
        Self { path: path.into(), reference: reference.into() }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The model as the code names it: `org/name@revision`.
    pub fn reference(&self) -> &str {
        &self.reference
    }

    /// The path of a file, relative to the directory.
    ///
    /// # Errors
    /// If it is not there. The error lists the files that are.
    pub fn file(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        if path.is_file() {
            return Ok(path);
        }
        let names = flash_weights::files_below(&self.path).unwrap_or_default();
        let near = match similar_names(name, names.iter().map(String::as_str)).first() {
            Some(near) => format!("; did you mean `{near}`?"),
            None if names.is_empty() => ", which is empty".to_owned(),
            None => {
                let rest = names.len().saturating_sub(LISTED_FILES);
                let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
                format!(", which has {}{rest}", names[..names.len().min(LISTED_FILES)].join(", "))
            }
        };
        let (model, directory) = (&self.reference, self.path.display());
        let hint = "`files` in `#[remote]` says which files are fetched";
        Err(Error::handler(format!("the model `{model}` has no file `{name}` in {directory}{near}: {hint}")))
    }
}

impl Deref for ModelDir {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

impl AsRef<Path> for ModelDir {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

impl fmt::Debug for ModelDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ModelDir").field(&self.path).finish()
    }
}

/// The directory of the model of a worker type. Reads directories: blocks.
///
/// # Errors
/// If the worker type has no model, or its files are not there.
pub fn model_dir(resource: Resource) -> Result<ModelDir> {
    let source = model_of(resource).ok_or_else(|| Error::handler(no_model(resource.worker())))?;
    let directory = |name| variables::get(name).map(PathBuf::from);
    let place = Place {
        given: directory(variables::MODEL_DIR),
        crate_directory: directory("CARGO_MANIFEST_DIR").unwrap_or_default(),
        cache: HubCache::from_env(),
    };
    let path =
        locate(&ModelEntry::from(source), &place).map_err(|error| Error::handler(error.to_string()))?;
    Ok(ModelDir { path: path.into(), reference: source.reference.into() })
}

/// The message about an `#[init]` that takes a directory, of a worker type without a model.
pub(crate) fn no_model(worker: &str) -> String {
    format!(
        "`#[init]` takes a `ModelDir`, but worker type `{worker}` has no model: add `model = \"org/name@revision\"` to \
         its `#[remote]`"
    )
}

/// The model in the configuration of a worker type, wherever in the app that is.
fn model_of(resource: Resource) -> Option<ModelSource> {
    let name = match resource {
        Resource::Declared(config) => return config.model,
        Resource::Named(name) => name,
    };
    let functions = inventory::iter::<Registered>.into_iter().map(|entry| (entry.function)().resource);
    let routers = inventory::iter::<RegisteredRouter>.into_iter().map(|entry| (entry.0)().resource);
    functions.chain(routers).find_map(|resource| match resource {
        Resource::Declared(config) if config.name == name => config.model,
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_there_is_named_with_those_that_are() {
        let directory = std::env::temp_dir().join(format!("flash-model-dir-{}", std::process::id()));
        std::fs::create_dir_all(directory.join("onnx")).unwrap();
        for name in ["tokenizer.json", "onnx/model.onnx"] {
            std::fs::write(directory.join(name), "").unwrap();
        }
        let model = ModelDir::at(&directory);
        assert_eq!(model.file("onnx/model.onnx").unwrap(), directory.join("onnx/model.onnx"));
        let near = model.file("tokeniser.json").unwrap_err();
        assert!(near.message().contains("did you mean `tokenizer.json`?"), "{near}");
        let far = model.file("config.bin").unwrap_err();
        assert!(far.message().contains("which has onnx/model.onnx, tokenizer.json"), "{far}");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
