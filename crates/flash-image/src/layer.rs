//! One layer of an image: a tree of files as a gzipped tar.
//!
//! The same tree gives the same bytes on any machine and at any time: entries are sorted, parents are explicit,
//! everything is owned by root and dated 1970, and only a few modes are used. Files are streamed, so that a model
//! of many gigabytes needs no memory.
use std::{
    collections::{BTreeMap, btree_map},
    io::{self, Write},
    path::{Path, PathBuf},
};

use flate2::{Compression, GzBuilder};
use oci_spec::image::{Descriptor, Digest, MediaType};
use serde::{Deserialize, Serialize};
use tar::EntryType;

use super::{
    Layout, LayoutError,
    hashed::Hashed,
    tarball::{self, AppendError, SourceError},
};

/// A name with this prefix deletes files of lower layers when an image is unpacked.
const WHITEOUT: &str = ".wh.";

/// The contents of a layer, by path in the image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tree {
    nodes: BTreeMap<String, Node>,
}

/// One entry in a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    Directory,
    /// Everyone may write to it, but delete only their own files: `/tmp`.
    SharedDirectory,
    File {
        content: Content,
        access: Access,
    },
}

/// Where a file's bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Bytes(Vec<u8>),
    /// Read when the layer is written; it must not change until then.
    OnDisk(PathBuf),
}

/// Whether a file is executable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Mode 0644.
    Readable,
    /// Mode 0755.
    Executable,
}

/// How hard a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Effort {
    /// For code: most of what the best level would save, in a quarter of its time.
    Code,
    /// Models are nearly random: higher levels take five times as long and save nothing.
    Data,
}

impl Effort {
    fn level(self) -> Compression {
        match self {
            Self::Code => Compression::new(2),
            Self::Data => Compression::new(1),
        }
    }
}

/// A layer in a layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    pub descriptor: Descriptor,
    /// The digest of the uncompressed tar.
    pub diff_id: Digest,
    /// The size of that tar.
    pub unpacked: u64,
}

/// Why a layer cannot be made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant says what it is")]
pub enum LayerError {
    #[error("`{path}` cannot be a path in an image: {reason}")]
    Path { path: String, reason: &'static str },
    #[error("`{0}` is in the layer twice")]
    Twice(String),
    #[error("`{path}` is in `{parent}`, which is not a directory")]
    NotInDirectory { path: String, parent: String },
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

impl Tree {
    /// Adds an entry at a path such as `app/models/a.bin`, and the directories above it.
    ///
    /// # Errors
    /// When the path is not below the root, is in use, or leads through a file.
    pub(crate) fn add(&mut self, path: &str, node: Node) -> Result<(), LayerError> {
        check_path(path)?;
        for (end, _) in path.match_indices('/') {
            let parent = &path[..end];
            match self.nodes.entry(parent.to_owned()).or_insert(Node::Directory) {
                Node::Directory | Node::SharedDirectory => {}
                _ => {
                    let (path, parent) = (path.to_owned(), parent.to_owned());
                    return Err(LayerError::NotInDirectory { path, parent });
                }
            }
        }
        match self.nodes.entry(path.to_owned()) {
            btree_map::Entry::Vacant(free) => {
                free.insert(node);
            }
            // It was created as a parent directory; now its kind is known.
            btree_map::Entry::Occupied(mut taken)
                if *taken.get() == Node::Directory
                    && matches!(node, Node::Directory | Node::SharedDirectory) =>
            {
                taken.insert(node);
            }
            btree_map::Entry::Occupied(taken) => return Err(LayerError::Twice(taken.key().clone())),
        }
        Ok(())
    }

    /// The files on disk that it consists of.
    pub(super) fn sources(&self) -> impl Iterator<Item = &Path> {
        self.nodes.values().filter_map(|node| match node {
            Node::File { content: Content::OnDisk(path), .. } => Some(path.as_path()),
            _ => None,
        })
    }

    /// The digest and the size of its tar, without writing it.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(super) fn diff_id(&self, layout: &Layout) -> Result<(Digest, u64), LayerError> {
        let (_, diff_id, size) = self.write_tar(layout, Hashed::new(io::sink()))?.finish();
        Ok((diff_id, size))
    }

    /// Writes it into the layout.
    ///
    /// # Errors
    /// When a file cannot be read or changes while it is read, and when the layout cannot be written.
    pub(crate) fn write(&self, layout: &Layout, effort: Effort) -> Result<Layer, LayerError> {
        // No name and no time: both would differ between machines.
        let gzip = GzBuilder::new().write(layout.writer()?, effort.level());
        let (gzip, diff_id, unpacked) = self.write_tar(layout, Hashed::new(gzip))?.finish();
        let blob = gzip.finish().map_err(|source| layout.unwritable(source))?;
        let descriptor = blob.finish(MediaType::ImageLayerGzip)?;
        Ok(Layer { descriptor, diff_id, unpacked })
    }

    fn write_tar<W: Write>(&self, layout: &Layout, output: W) -> Result<W, LayerError> {
        let mut tar = tar::Builder::new(output);
        for (path, node) in &self.nodes {
            append(&mut tar, path, node).map_err(|error| match error {
                AppendError::Source(error) => LayerError::from(error),
                AppendError::Write(source) => layout.unwritable(source).into(),
            })?;
        }
        tar.into_inner().map_err(|source| layout.unwritable(source).into())
    }
}

fn check_path(path: &str) -> Result<(), LayerError> {
    let refused = |reason| Err(LayerError::Path { path: path.to_owned(), reason });
    for component in path.split('/') {
        match component {
            "" => return refused("it has an empty part"),
            "." | ".." => return refused("it has a part `.` or `..`"),
            name if name.starts_with(WHITEOUT) => return refused("images use `.wh.` names to delete files"),
            name if name.contains('\0') => return refused("it contains a NUL character"),
            _ => {}
        }
    }
    Ok(())
}

fn append<W: Write>(tar: &mut tar::Builder<W>, path: &str, node: &Node) -> Result<(), AppendError> {
    match node {
        Node::Directory => tarball::append(tar, &format!("{path}/"), EntryType::Directory, 0o755, &[]),
        Node::SharedDirectory => tarball::append(tar, &format!("{path}/"), EntryType::Directory, 0o1777, &[]),
        Node::File { content: Content::Bytes(bytes), access } => {
            tarball::append(tar, path, EntryType::Regular, access.mode(), bytes)
        }
        Node::File { content: Content::OnDisk(source), access } => {
            return tarball::append_file(tar, path, access.mode(), source);
        }
    }
    .map_err(AppendError::Write)
}

impl Access {
    fn mode(self) -> u32 {
        match self {
            Self::Readable => 0o644,
            Self::Executable => 0o755,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{File, Permissions},
        os::unix::fs::PermissionsExt as _,
        process::Command,
        time::SystemTime,
    };

    use tempfile::TempDir;

    use super::*;

    fn file(path: &Path) -> Node {
        Node::File { content: Content::OnDisk(path.to_owned()), access: Access::Readable }
    }

    fn bytes(bytes: &[u8]) -> Node {
        Node::File { content: Content::Bytes(bytes.to_vec()), access: Access::Readable }
    }

    /// A tree with every kind of node.
    fn tree(source: &Path) -> Tree {
        let script = Node::File { content: Content::Bytes(b"#!".to_vec()), access: Access::Executable };
        let mut tree = Tree::default();
        tree.add(&format!("app/{}/{}", "long".repeat(30), "name".repeat(40)), file(source)).unwrap();
        tree.add("app/réseau", bytes(b"weights")).unwrap();
        tree.add("app/run", script).unwrap();
        tree.add("tmp", Node::SharedDirectory).unwrap();
        tree
    }

    /// Its layer, in a separate directory and from a file with this mode and date.
    fn written(mode: u32, modified: SystemTime) -> (TempDir, Layout, Layer) {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("source");
        std::fs::write(&path, "content").unwrap();
        let source = File::open(&path).unwrap();
        source.set_permissions(Permissions::from_mode(mode)).unwrap();
        source.set_modified(modified).unwrap();
        let layout = Layout::create(&directory.path().join("images")).unwrap();
        let tree = tree(&path);
        let layer = tree.write(&layout, Effort::Code).unwrap();
        assert_eq!(tree.diff_id(&layout).unwrap(), (layer.diff_id.clone(), layer.unpacked));
        (directory, layout, layer)
    }

    #[test]
    fn the_same_files_give_the_same_layer_in_another_directory_and_at_another_time() {
        let (_first, _, one) = written(0o600, SystemTime::UNIX_EPOCH);
        let (_second, layout, other) = written(0o644, SystemTime::now());
        assert_eq!(one, other);
        let head = &layout.read(&other.descriptor).unwrap()[..10];
        assert_eq!(head, [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255], "no name, no time, no system");
    }

    #[test]
    fn the_system_tar_reads_a_layer_of_sorted_entries_that_belong_to_root_and_have_no_date() {
        let (_directory, layout, layer) = written(0o644, SystemTime::now());
        let blob = layout.blob(layer.descriptor.digest());
        let list = Command::new("tar")
            .args(["--list", "--verbose", "--numeric-owner", "--utc", "--quoting-style=literal", "-zf"])
            .arg(&blob)
            .output()
            .unwrap();
        assert!(list.status.success(), "{}", String::from_utf8_lossy(&list.stderr));
        let list = String::from_utf8(list.stdout).unwrap();
        let rows: Vec<(&str, &str)> = list
            .lines()
            .map(|line| {
                assert!(line.contains(" 0/0 ") && line.contains(" 1970-01-01 00:00 "), "{line}");
                (&line[..10], line.split("00:00 ").nth(1).unwrap())
            })
            .collect();
        let long = "long".repeat(30);
        let (directory, name) = (format!("app/{long}/"), format!("app/{long}/{}", "name".repeat(40)));
        assert_eq!(
            rows,
            [
                ("drwxr-xr-x", "app/"),
                ("drwxr-xr-x", directory.as_str()),
                ("-rw-r--r--", name.as_str()),
                ("-rwxr-xr-x", "app/run"),
                ("-rw-r--r--", "app/réseau"),
                ("drwxrwxrwt", "tmp/"),
            ]
        );
    }

    #[test]
    fn a_file_that_cannot_be_read_leaves_no_layer() {
        let directory = TempDir::new().unwrap();
        let layout = Layout::create(directory.path()).unwrap();
        let mut tree = Tree::default();
        tree.add("app/model", file(&directory.path().join("gone"))).unwrap();
        let error = tree.write(&layout, Effort::Data).unwrap_err();
        assert!(
            matches!(&error, LayerError::Source(SourceError::Read { path, .. }) if path.ends_with("gone"))
        );
        assert_eq!(std::fs::read_dir(directory.path().join("blobs/sha256")).unwrap().count(), 0);
    }

    #[test]
    fn paths_that_would_leave_or_change_the_image_are_refused() {
        let mut tree = Tree::default();
        for path in [
            "",
            "/etc/passwd",
            "a//b",
            "../up",
            "a/../../b",
            "./a",
            "app/.wh.run",
            "app/.wh..wh..opq",
            "a\0b",
        ] {
            assert!(matches!(tree.add(path, bytes(b"")), Err(LayerError::Path { .. })), "{path}");
        }
        tree.add("app/run", bytes(b"")).unwrap();
        assert!(matches!(tree.add("app/run", bytes(b"")), Err(LayerError::Twice(_))));
        assert!(matches!(tree.add("app", bytes(b"")), Err(LayerError::Twice(_))));
        assert!(matches!(tree.add("app/run/model", bytes(b"")), Err(LayerError::NotInDirectory { .. })));
        tree.add("app", Node::SharedDirectory).unwrap();
    }
}
