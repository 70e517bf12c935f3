//! Reuses layers that already exist: made in this build for another worker type, or in an earlier build.
//!
//! Nothing is guessed. Within a build, a layer is the same if its tree is and none of its files was touched.
//! Between builds, it is the same if the digest of its tar is and the same `flash` compressed it: hashing the tar
//! takes a twentieth of the time of compressing it.
use std::{
    fs::Metadata,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    Layout, LayoutError,
    layer::{Effort, Layer, LayerError, Tree},
    tarball::SourceError,
};

/// The cache file, beside the blobs.
const FILE: &str = "made-layers.json";

/// Makes the layers of a layout, each once.
#[derive(Debug)]
pub(super) struct LayerCache {
    layout: Layout,
    cached: CacheFile,
    built: Vec<BuiltLayer>,
}

#[derive(Debug)]
struct BuiltLayer {
    tree: Tree,
    stamps: Vec<Stamp>,
    effort: Effort,
    layer: Layer,
}

/// The file's content. If it is damaged or from another `flash`, it is ignored: it only saves time.
#[derive(Debug, Default, Serialize, Deserialize)]
struct CacheFile {
    /// The `flash` that compressed them: another one may make other bytes from the same tar.
    flash: String,
    layers: Vec<CachedLayer>,
}

#[derive(Debug, Serialize, Deserialize)]
struct CachedLayer {
    effort: Effort,
    layer: Layer,
}

/// The metadata that changes when a file is touched.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    path: PathBuf,
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl LayerCache {
    /// Of this layout.
    pub(super) fn open(layout: Layout) -> Self {
        let flash = this_flash();
        let cached = std::fs::read(layout.directory().join(FILE))
            .ok()
            .and_then(|bytes| serde_json::from_slice::<CacheFile>(&bytes).ok())
            .filter(|cached| cached.flash == flash)
            .unwrap_or_else(|| CacheFile { flash, layers: Vec::new() });
        Self { layout, cached, built: Vec::new() }
    }

    /// The layer for this tree, made if there is none.
    ///
    /// # Errors
    /// When it must be made and cannot be.
    pub(super) fn layer(&mut self, tree: Tree, effort: Effort) -> Result<Layer, LayerError> {
        // Before anything is read, so that a later change is noticed the next time.
        let stamps = tree.sources().map(Stamp::of).collect::<Result<Vec<_>, _>>()?;
        let same =
            |built: &&BuiltLayer| built.effort == effort && built.stamps == stamps && built.tree == tree;
        if let Some(built) = self.built.iter().find(same) {
            return Ok(built.layer.clone());
        }
        let layer = match self.earlier_layer(&tree, effort)? {
            Some(layer) => layer,
            None => {
                let layer = tree.write(&self.layout, effort)?;
                self.remember(layer.clone(), effort)?;
                layer
            }
        };
        self.built.push(BuiltLayer { tree, stamps, effort, layer: layer.clone() });
        Ok(layer)
    }

    fn earlier_layer(&self, tree: &Tree, effort: Effort) -> Result<Option<Layer>, LayerError> {
        if self.cached.layers.is_empty() {
            return Ok(None);
        }
        let (diff_id, unpacked) = tree.diff_id(&self.layout)?;
        let found = self.cached.layers.iter().find(|cached| {
            let CachedLayer { layer, effort: of } = cached;
            *of == effort
                && layer.diff_id == diff_id
                && layer.unpacked == unpacked
                && self.layout.has(&layer.descriptor)
        });
        Ok(found.map(|cached| cached.layer.clone()))
    }

    fn remember(&mut self, layer: Layer, effort: Effort) -> Result<(), LayoutError> {
        let layout = &self.layout;
        self.cached.layers.retain(|cached| {
            cached.layer.descriptor != layer.descriptor && layout.has(&cached.layer.descriptor)
        });
        self.cached.layers.push(CachedLayer { effort, layer });
        let bytes = serde_json::to_vec(&self.cached).map_err(|error| layout.unwritable(error.into()))?;
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

/// Distinguishes builds of `flash`, even of the same version.
fn this_flash() -> String {
    let stamp = |file: Metadata| format!("{}-{}.{}", file.len(), file.mtime(), file.mtime_nsec());
    let executable = std::env::current_exe().and_then(std::fs::metadata).map(stamp);
    format!("{} {}", env!("CARGO_PKG_VERSION"), executable.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use oci_spec::image::MediaType;
    use tempfile::TempDir;

    use super::*;
    use crate::layer::{Access, Content, Node};

    fn layout() -> (TempDir, Layout) {
        let directory = TempDir::new().unwrap();
        std::fs::write(directory.path().join("binary"), "code").unwrap();
        let layout = Layout::create(&directory.path().join("images")).unwrap();
        (directory, layout)
    }

    fn tree(directory: &TempDir) -> Tree {
        let content = Content::OnDisk(directory.path().join("binary"));
        let mut tree = Tree::default();
        tree.add("app/binary", Node::File { content, access: Access::Executable }).unwrap();
        tree
    }

    #[test]
    fn a_layer_is_made_once_for_all_worker_types_of_a_build() {
        let (directory, layout) = layout();
        let mut cache = LayerCache::open(layout);
        let layer = cache.layer(tree(&directory), Effort::Code).unwrap();
        assert_eq!(cache.layer(tree(&directory), Effort::Code).unwrap(), layer);
        assert_eq!(cache.built.len(), 1);
    }

    #[test]
    fn a_file_that_another_variant_of_the_build_replaced_is_read_again() {
        let (directory, layout) = layout();
        let mut cache = LayerCache::open(layout);
        let cpu = cache.layer(tree(&directory), Effort::Code).unwrap();
        // Cargo puts both at one path; here they also have the same length and date.
        let path = directory.path().join("binary");
        let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
        std::fs::write(&path, "cuda").unwrap();
        std::fs::File::open(&path).unwrap().set_modified(modified).unwrap();
        let gpu = cache.layer(tree(&directory), Effort::Code).unwrap();
        assert_ne!(cpu, gpu);
    }

    #[test]
    fn a_layer_of_a_build_before_is_found_by_its_content() {
        let (directory, layout) = layout();
        let mut cache = LayerCache::open(layout.clone());
        let layer = cache.layer(tree(&directory), Effort::Code).unwrap();
        // Only this stand-in shows whether the stored layer was used.
        let cached = &mut cache.cached.layers[0].layer;
        cached.descriptor = layout.put(MediaType::ImageLayerGzip, b"remembered").unwrap();
        let stand_in = cached.clone();
        let save = |cache: &LayerCache| {
            layout.replace(FILE, &serde_json::to_vec(&cache.cached).unwrap()).unwrap();
        };
        save(&cache);

        // As after a checkout: other dates, same content.
        let binary = std::fs::File::open(directory.path().join("binary")).unwrap();
        binary.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        let again = |effort| LayerCache::open(layout.clone()).layer(tree(&directory), effort).unwrap();
        assert_eq!(again(Effort::Code), stand_in);
        assert_ne!(again(Effort::Data), stand_in, "compressed otherwise");

        std::fs::remove_file(layout.blob(stand_in.descriptor.digest())).unwrap();
        assert_eq!(again(Effort::Code), layer, "its blob is gone");

        layout.put(MediaType::ImageLayerGzip, b"remembered").unwrap();
        cache.cached.flash = "another".to_owned();
        save(&cache);
        assert_eq!(again(Effort::Code), layer, "of another flash");

        layout.replace(FILE, b"{").unwrap();
        assert_eq!(again(Effort::Code), layer, "a damaged memory");
    }
}
