//! Imports a build's images into an engine, once each, and checks that they are the same.
use std::{io, path::Path};

use flash_image::{ArchivedImage, Layout, write_archive};
use oci_spec::image::{Descriptor, ImageManifest};

use super::{Engine, EngineError, Kind, invoke::IMPORT};

const ARCHIVE: &str = "image.tar";

/// An image of a build.
#[derive(Debug, Clone)]
pub struct Import {
    /// Its name in the layout.
    pub worker: String,
    /// The digest of its manifest, from the build.
    pub digest: String,
    /// Its name in the engine's store.
    pub name: String,
}

/// An image, from its own manifest.
struct Found {
    manifest: Descriptor,
    parts: ImageManifest,
}

impl Found {
    /// Its possible IDs in an engine: most use the config's digest, docker's newer store the manifest's.
    fn ids(&self) -> [String; 2] {
        [self.parts.config().digest().to_string(), self.manifest.digest().to_string()]
    }
}

/// The engine's images, by ID and name.
pub struct Stored(Vec<(String, String)>);

impl Stored {
    /// The engine's ID of the image, if it has it.
    fn id(&self, image: &Found) -> Option<String> {
        image.ids().into_iter().find(|id| self.0.iter().any(|(stored, _)| stored == id))
    }

    fn has(&self, id: &str, name: &str) -> bool {
        self.0.iter().any(|stored| (stored.0.as_str(), stored.1.as_str()) == (id, name))
    }
}

/// Imports an image into the engine's store, unless it is there; returns its ID.
///
/// # Errors
/// When the layout does not have it, or the engine does not store it unchanged.
pub async fn import(
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
            // Its ID proves that it is the image that was built.
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
    pub async fn stored(&self) -> Result<Stored, EngineError> {
        let list = self.ask(&self.list_images()).await?;
        let image =
            |line: &str| line.split_once(' ').map(|(id, name)| (id.to_owned(), name.trim().to_owned()));
        Ok(Stored(list.lines().filter_map(image).collect()))
    }

    /// Removes images with these names, except those to keep and those that have a container.
    pub async fn forget_images(&self, prefix: &str, keep: &[String]) {
        // They only take space: the next build tries again after a failure.
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

/// Reads the layout's image with this name. Its digest is checked, and so are those of config and layers.
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
    // A name without a path: a colon in it would look like part of the image's name.
    let directory = layout.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let reference = format!("oci:{directory}:{}", image.worker);
    let id = engine.ask_in(&engine.words(&["pull", "--quiet", &reference]), layout.parent(), IMPORT).await?;
    let id = id.trim();
    // First, because a cleanup may remove an image without a name.
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

/// Docker does not read layouts: it gets an archive.
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
