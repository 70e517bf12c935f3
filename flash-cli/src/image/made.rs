//! Layers that are already made: by this build for another worker type, or by a build before.
//!
//! Nothing is guessed. Within a build, a layer is the same when its tree is and none of its files was touched.
//! Between builds, it is the same when the digest of its tar is and the same `flash` compressed it: the tar is
//! hashed, which takes a twentieth of the time that compressing takes.
use std::{
    fs::Metadata,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    Layout, LayoutError,
    layer::{Effort, Layer, LayerError, Tree},
    tape::SourceError,
};

/// What is remembered, beside the blobs.
const FILE: &str = "made-layers.json";

/// Makes the layers of a layout, each once.
#[derive(Debug)]
pub(super) struct MadeLayers {
    layout: Layout,
    remembered: Remembered,
    of_this_build: Vec<Made>,
}

#[derive(Debug)]
struct Made {
    tree: Tree,
    stamps: Vec<Stamp>,
    effort: Effort,
    layer: Layer,
}

/// The file's content. Of another `flash`, or damaged, it is forgotten: it only saves time.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Remembered {
    /// The `flash` that compressed them: another one may make other bytes of the same tar.
    flash: String,
    layers: Vec<RememberedLayer>,
}

#[derive(Debug, Serialize, Deserialize)]
struct RememberedLayer {
    effort: Effort,
    layer: Layer,
}

/// What changes when someone touches a file.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    path: PathBuf,
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl MadeLayers {
    /// Of this layout.
    pub(super) fn open(layout: Layout) -> Self {
        let flash = this_flash();
        let remembered = std::fs::read(layout.directory().join(FILE))
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Remembered>(&bytes).ok())
            .filter(|remembered| remembered.flash == flash)
            .unwrap_or_else(|| Remembered { flash, layers: Vec::new() });
        Self { layout, remembered, of_this_build: Vec::new() }
    }

    /// The layer of this tree, made if there is none.
    ///
    /// # Errors
    /// When it has to be made and cannot be.
    pub(super) fn layer(&mut self, tree: Tree, effort: Effort) -> Result<Layer, LayerError> {
        // Before anything is read: a change meanwhile makes the next look differ.
        let stamps = tree.sources().map(Stamp::of).collect::<Result<Vec<_>, _>>()?;
        let same = |made: &&Made| made.effort == effort && made.stamps == stamps && made.tree == tree;
        if let Some(made) = self.of_this_build.iter().find(same) {
            return Ok(made.layer.clone());
        }
        let layer = match self.of_another_build(&tree, effort)? {
            Some(layer) => layer,
            None => {
                let layer = tree.write(&self.layout, effort)?;
                self.remember(layer.clone(), effort)?;
                layer
            }
        };
        self.of_this_build.push(Made { tree, stamps, effort, layer: layer.clone() });
        Ok(layer)
    }

    fn of_another_build(&self, tree: &Tree, effort: Effort) -> Result<Option<Layer>, LayerError> {
        if self.remembered.layers.is_empty() {
            return Ok(None);
        }
        let (diff_id, unpacked) = tree.diff_id(&self.layout)?;
        let found = self.remembered.layers.iter().find(|remembered| {
            let RememberedLayer { layer, effort: of } = remembered;
            *of == effort
                && layer.diff_id == diff_id
                && layer.unpacked == unpacked
                && self.layout.has(&layer.descriptor)
        });
        Ok(found.map(|remembered| remembered.layer.clone()))
    }

    fn remember(&mut self, layer: Layer, effort: Effort) -> Result<(), LayoutError> {
        let layout = &self.layout;
        self.remembered.layers.retain(|remembered| {
            remembered.layer.descriptor != layer.descriptor && layout.has(&remembered.layer.descriptor)
        });
        self.remembered.layers.push(RememberedLayer { effort, layer });
        let bytes = serde_json::to_vec(&self.remembered).map_err(|error| layout.unwritable(error.into()))?;
        layout.replace(FILE, &bytes)
    }
}

impl Stamp {
    fn of(path: &Path) -> Result<Self, SourceError> {
        let unreadable = |source| SourceError::Read { path: path.to_owned(), source };
        let file = std::fs::metadata(path).map_err(unreadable)?;
        Ok(Self {
            path: path.to_owned(),
            device: file.dev(),
            inode: file.ino(),
            length: file.len(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        })
    }
}

/// Tells one build of `flash` from another, also of the same version.
fn this_flash() -> String {
    let stamp = |file: Metadata| format!("{}-{}.{}", file.len(), file.mtime(), file.mtime_nsec());
    let executable = std::env::current_exe().and_then(std::fs::metadata).map(stamp);
    format!("{} {}", env!("CARGO_PKG_VERSION"), executable.unwrap_or_default())
}
