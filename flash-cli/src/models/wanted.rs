//! The models that a manifest asks for.
use std::collections::{BTreeMap, BTreeSet};

use flash_protocol::{InvalidModel, ModelEntry, ModelReference, manifest::Manifest};
use flash_weights::Patterns;

/// A model, and the worker types that load it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WantedModel {
    pub reference: ModelReference,
    /// As the code writes the reference, with the files that any of the worker types needs.
    pub entry: ModelEntry,
    /// With the files that each needs.
    pub workers: BTreeMap<String, ModelEntry>,
}

impl WantedModel {
    /// The files that are needed.
    pub(crate) fn patterns(&self) -> Patterns {
        Patterns::new(&self.entry.files)
    }

    /// For messages: `worker type a`, `worker types a, b`.
    pub(crate) fn of_workers(&self) -> String {
        let names: Vec<&str> = self.workers.keys().map(String::as_str).collect();
        match names.as_slice() {
            [one] => format!("worker type `{one}`"),
            several => format!("worker types `{}`", several.join("`, `")),
        }
    }
}

/// The models of an app, by reference.
///
/// # Errors
/// For a reference that is not valid, as a manifest of another version may have.
pub(crate) fn wanted(manifest: &Manifest) -> Result<Vec<WantedModel>, InvalidModel> {
    let mut models: BTreeMap<&str, BTreeMap<String, ModelEntry>> = BTreeMap::new();
    for worker in &manifest.workers {
        let Some(model) = &worker.model else { continue };
        models.entry(&model.reference).or_default().insert(worker.name.clone(), model.clone());
    }
    let model = |(reference, workers): (&str, BTreeMap<String, ModelEntry>)| {
        let takes_all = workers.values().any(|model| model.files.is_empty());
        let files: BTreeSet<String> = match takes_all {
            true => BTreeSet::new(),
            false => workers.values().flat_map(|model| model.files.iter().cloned()).collect(),
        };
        let entry = ModelEntry { reference: reference.to_owned(), files: files.into_iter().collect() };
        Ok(WantedModel { reference: ModelReference::parse(reference)?, entry, workers })
    };
    models.into_iter().map(model).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::fixtures;

    #[test]
    fn a_model_of_several_worker_types_has_the_files_that_any_of_them_needs() {
        let mut manifest = fixtures::manifest();
        let mut other = manifest.workers[0].clone();
        other.name = "other".to_owned();
        manifest.workers.push(other);
        let mut set = |at: usize, files: &[&str]| {
            let files = files.iter().map(|&file| file.to_owned()).collect();
            manifest.workers[at].model = Some(ModelEntry { reference: "org/name".to_owned(), files });
            wanted(&manifest).unwrap()
        };
        let last = 1.max(fixtures::manifest().workers.len());
        set(0, &["b", "a"]);
        let models = set(last, &["c", "a"]);
        assert_eq!(models.len(), 1);
        assert_eq!(models[0].entry.files, ["a", "b", "c"]);
        assert_eq!(models[0].workers.len(), 2);
        assert!(set(last, &[])[0].entry.files.is_empty(), "one takes all");
    }
}
