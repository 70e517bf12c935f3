//! The models of images: a layer of its own for each, the same in the image of every worker type that has it.
use std::{collections::BTreeMap, path::PathBuf};

use flash_image::{Access, DataLayer};
use flash_protocol::{HubModel, ModelReference, manifest::Manifest};
use flash_weights::{LOCK_FILE, LockedModel, download::verify, files_below};

use super::steps::{Build, on_thread};
use crate::{
    exit::{Failure, FailureCode},
    models::{Fetched, LockPolicy, ModelPlace, check_lock, fetch},
    project::{self, LastManifest},
};

/// Where models are in an image, without the leading slash.
const DIRECTORY: &str = "models";

impl Build<'_> {
    /// What is not locked is reported before anything is compiled, if no source has changed since the last build.
    ///
    /// # Errors
    /// The first model that is not in the lock file.
    pub(super) async fn check_models(&self) -> Result<(), Failure> {
        let directory = &self.package.directory;
        let Some(last) = LastManifest::load(directory) else { return Ok(()) };
        let place = ModelPlace::open(directory, &project::load_dotenv(directory)?)?;
        match check_lock(&last.manifest, &place) {
            Err(failure) if last.is_current(self.package).await => Err(failure),
            _ => Ok(()),
        }
    }

    /// The layers of models, by worker type. What is not on this machine is fetched.
    ///
    /// # Errors
    /// When the lock file does not have a model, when its files cannot be fetched or read, and when one of them is not
    /// the one that is locked.
    pub(super) async fn models(&self, manifest: &Manifest) -> Result<BTreeMap<String, DataLayer>, Failure> {
        let directory = &self.package.directory;
        let mut place = ModelPlace::open(directory, &project::load_dotenv(directory)?)?;
        let (_, models) = fetch(manifest, &mut place, LockPolicy::Demand, self.output).await?;
        for fetched in &models {
            check_content(fetched, &place).await?;
        }
        on_thread(move || {
            let mut layers = BTreeMap::new();
            for fetched in models {
                let Some(layer) = layer(&fetched)? else { continue };
                layers.extend(fetched.model.workers.into_keys().map(|worker| (worker, layer.clone())));
            }
            Ok(layers)
        })
        .await?
    }
}

/// An image leaves this machine, so that what is in it must be what is locked: a file with the right size is not enough.
///
/// # Errors
/// The first file that has another content.
async fn check_content(fetched: &Fetched, place: &ModelPlace) -> Result<(), Failure> {
    let (ModelReference::Hub(model), Some(locked)) = (&fetched.model.reference, &fetched.locked) else {
        return Ok(());
    };
    let damaged = verify(&place.cache, model, locked, &|_| {})
        .await
        .map_err(|error| Failure::of(FailureCode::Failed, &error))?;
    match damaged.first() {
        Some((file, _)) => Err(Failure::failed(format!(
            "`{file}` of the model `{}` is not the one in {LOCK_FILE}",
            fetched.model.entry.reference
        ))
        .hint("remove it with `flash models verify`, and fetch it again with `flash models pull`")),
        None => Ok(()),
    }
}

/// The layer of a model; `None` for one on a volume.
fn layer(fetched: &Fetched) -> Result<Option<DataLayer>, Failure> {
    let reference = &fetched.model.entry.reference;
    let (directory, names): (String, Vec<String>) = match (&fetched.model.reference, &fetched.locked) {
        (ModelReference::Hub(hub), Some(locked)) => {
            (hub_directory(hub, locked), locked.files.keys().cloned().collect())
        }
        (ModelReference::Path(_), _) => {
            let patterns = fetched.model.patterns();
            let files = files_below(&fetched.directory).map_err(|error| {
                Failure::failed(format!("cannot read {}: {error}", fetched.directory.display()))
            })?;
            let files = files.into_iter().filter(|name| patterns.matches(name)).collect();
            (format!("{DIRECTORY}/{}", own_name(fetched)), files)
        }
        (ModelReference::Hub(_) | ModelReference::Volume { .. }, _) => return Ok(None),
    };
    let source = |name: String| {
        let path = fetched.directory.join(&name);
        // The content, and not a link to it.
        let content = path
            .canonicalize()
            .map_err(|error| Failure::failed(format!("cannot read {}: {error}", path.display())))?;
        Ok((name, content))
    };
    let files = names.into_iter().map(source).collect::<Result<BTreeMap<String, PathBuf>, Failure>>()?;
    Ok(Some(DataLayer { name: format!("model {reference}"), directory, files, access: Access::Readable }))
}

fn hub_directory(hub: &HubModel, locked: &LockedModel) -> String {
    format!("{DIRECTORY}/{}/{}", hub.repo.replace('/', "--"), locked.commit)
}

/// The name of a directory of this machine, as far as it can be one in an image.
fn own_name(fetched: &Fetched) -> String {
    let name = fetched.directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    match name.is_empty() || name.starts_with(".wh.") {
        true => "model".to_owned(),
        false => name,
    }
}

#[cfg(test)]
mod tests {
    use flash_protocol::ModelEntry;
    use flash_weights::LockedFile;
    use tempfile::TempDir;

    use super::*;
    use crate::models::WantedModel;

    fn fetched(reference: &str, files: &[&str], directory: &TempDir, locked: Option<LockedModel>) -> Fetched {
        let files = files.iter().map(|&file| file.to_owned()).collect();
        let entry = ModelEntry { reference: reference.to_owned(), files };
        let model = WantedModel {
            reference: ModelReference::parse(reference).unwrap(),
            workers: BTreeMap::from([("w".to_owned(), entry.clone())]),
            entry,
        };
        Fetched { model, directory: directory.path().join("mine"), locked, bytes: 0 }
    }

    #[test]
    fn a_layer_has_the_files_that_are_locked_or_match_and_the_content_that_links_lead_to() {
        let directory = TempDir::new().unwrap();
        let mine = directory.path().join("mine");
        std::fs::create_dir(&mine).unwrap();
        std::fs::write(directory.path().join("blob"), "x").unwrap();
        std::os::unix::fs::symlink("../blob", mine.join("a.bin")).unwrap();
        std::fs::write(mine.join("b.txt"), "y").unwrap();
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let file = LockedFile { size: 1, sha256: String::new() };
        let files = BTreeMap::from([("a.bin".to_owned(), file)]);
        let locked = LockedModel { commit: commit.to_owned(), patterns: Vec::new(), files };
        let of_hub = layer(&fetched("org/name@main", &[], &directory, Some(locked))).unwrap().unwrap();
        assert_eq!(of_hub.directory, format!("models/org--name/{commit}"));
        let blob = directory.path().join("blob").canonicalize().unwrap();
        assert_eq!(of_hub.files, BTreeMap::from([("a.bin".to_owned(), blob)]));
        let own = layer(&fetched("path:mine", &["*.txt"], &directory, None)).unwrap().unwrap();
        assert_eq!(
            (own.directory.as_str(), own.files.keys().next().unwrap().as_str()),
            ("models/mine", "b.txt")
        );
        assert_eq!(layer(&fetched("volume:v/m", &[], &directory, None)).unwrap(), None);
    }
}
