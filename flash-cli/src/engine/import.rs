//! Gives an engine the images of a build, once each, and sees to it that they are the same.
use std::{io, path::Path};

use oci_spec::image::{Descriptor, ImageManifest};

use super::{Engine, EngineError, Kind, ask::IMPORT};
use crate::image::{ArchivedImage, Layout, write_archive};

const ARCHIVE: &str = "image.tar";

/// An image of a build.
#[derive(Debug, Clone)]
pub(crate) struct Import {
    /// Its name in the layout.
    pub worker: String,
    /// Of its manifest, as the build says.
    pub digest: String,
    /// What it is called in the engine's store.
    pub name: String,
}

/// An image, as its own manifest has it.
struct Found {
    manifest: Descriptor,
    parts: ImageManifest,
}

impl Found {
    /// What an engine may call it: most name an image by its config, docker's newer store by its manifest.
    fn ids(&self) -> [String; 2] {
        [self.parts.config().digest().to_string(), self.manifest.digest().to_string()]
    }
}

/// What an engine has, by id and name.
pub(crate) struct Stored(Vec<(String, String)>);

impl Stored {
    /// What the engine calls the image, if it has it.
    fn id(&self, image: &Found) -> Option<String> {
        image.ids().into_iter().find(|id| self.0.iter().any(|(stored, _)| stored == id))
    }

    fn has(&self, id: &str, name: &str) -> bool {
        self.0.iter().any(|stored| (stored.0.as_str(), stored.1.as_str()) == (id, name))
    }
}

/// Puts an image into the engine's store, unless it is there. Its id there.
///
/// # Errors
/// When the layout does not hold it, or the engine does not take it as it is.
pub(crate) async fn import(
    engine: &Engine,
    stored: &Stored,
    layout: &Layout,
    image: &Import,
    began: impl FnOnce(),
) -> Result<String, EngineError> {
    let (reader, wanted) = (layout.clone(), image.clone());
    let found = tokio::task::spawn_blocking(move || find(&reader, &wanted))
        .await
        .unwrap_or_else(|error| Err(EngineError::Archive(io::Error::other(error))))?;
    let id = match stored.id(&found) {
        Some(id) => id,
        None => {
            began();
            match engine.kind {
                Kind::Podman => pull(engine, layout.directory(), image).await?,
                Kind::Docker => load(engine, layout, &found, &image.name).await?,
            }
            // By its id it is the image that was built, and no other.
            engine.stored().await?.id(&found).ok_or_else(|| EngineError::Different {
                engine: engine.program(),
                worker: image.worker.clone(),
                wanted: found.ids().join(" or "),
            })?
        }
    };
    if !stored.has(&id, &image.name) {
        engine.ask(&engine.tag(&id, &image.name)).await?;
    }
    Ok(id)
}

impl Engine {
    /// The images in its store.
    pub(crate) async fn stored(&self) -> Result<Stored, EngineError> {
        let list = self.ask(&self.list_images()).await?;
        let image =
            |line: &str| line.split_once(' ').map(|(id, name)| (id.to_owned(), name.trim().to_owned()));
        Ok(Stored(list.lines().filter_map(image).collect()))
    }

    /// Removes images of these names, but for those to keep and those that have a container.
    pub(crate) async fn forget_images(&self, prefix: &str, keep: &[String]) {
        // They take room and do nothing else: a failure is tried again with the next build.
        let Ok(Stored(stored)) = self.stored().await else { return };
        for (_, name) in stored {
            if name.starts_with(prefix) && !keep.contains(&name) {
                let mut remove = self.remove_images();
                remove.push(name);
                let _ = self.ask(&remove).await;
            }
        }
    }
}

/// Reads what the layout has by this name. Its digest is checked, and with it those of config and layers.
fn find(layout: &Layout, image: &Import) -> Result<Found, EngineError> {
    let index = layout.index()?;
    let is_it = |entry: &&Descriptor| entry.digest().to_string() == image.digest;
    let manifest = index.manifests().iter().find(is_it).cloned().ok_or_else(|| EngineError::Changed {
        worker: image.worker.clone(),
        digest: image.digest.clone(),
        layout: layout.directory().to_owned(),
    })?;
    let parts = layout.read_json(&manifest)?;
    Ok(Found { manifest, parts })
}

async fn pull(engine: &Engine, layout: &Path, image: &Import) -> Result<(), EngineError> {
    // By a name without a path: one with a colon in it could not be told from the name of the image.
    let directory = layout.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let reference = format!("oci:{directory}:{}", image.worker);
    let id = engine.ask_in(&engine.words(&["pull", "--quiet", &reference]), layout.parent(), IMPORT).await?;
    let id = id.trim();
    // First: an image without a name may be removed by whoever cleans up.
    engine.ask(&engine.tag(id, &image.name)).await?;
    // Podman has named it after the directory, as it will the next one.
    let pulled = format!("localhost/{directory}:");
    let Stored(stored) = engine.stored().await?;
    let is_it = |stored: &str| stored.trim_start_matches("sha256:") == id.trim_start_matches("sha256:");
    for (_, name) in stored.iter().filter(|(stored, name)| is_it(stored) && name.starts_with(&pulled)) {
        // Another `flash` may have taken that name in the meantime.
        let _ = engine.ask(&engine.untag(id, name)).await;
    }
    Ok(())
}

/// Docker reads no layouts: it gets an archive.
async fn load(engine: &Engine, layout: &Layout, image: &Found, name: &str) -> Result<(), EngineError> {
    let archived =
        ArchivedImage { manifest: image.manifest.clone(), name: name.to_owned(), reference: name.to_owned() };
    let layout = layout.clone();
    let written = tokio::task::spawn_blocking(move || {
        let directory = tempfile::tempdir()?;
        write_archive(&directory.path().join(ARCHIVE), &layout, &[archived]).map_err(io::Error::other)?;
        Ok(directory)
    });
    let written = written.await.unwrap_or_else(|error| Err(io::Error::other(error)));
    let directory = written.map_err(EngineError::Archive)?;
    let load = engine.words(&["load", "--quiet", "--input", ARCHIVE]);
    engine.ask_in(&load, Some(directory.path()), IMPORT).await.map(drop)
}
