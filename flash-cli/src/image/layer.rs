//! One layer of an image: a tree of files, as a gzipped tar.
//!
//! The same tree gives the same bytes, on any machine and at any time: entries are sorted, parents are spelled
//! out, everything belongs to root and is dated 1970, modes are one of a few. Files are streamed, so that a
//! model of many gigabytes costs no memory.
use std::{
    collections::{BTreeMap, btree_map},
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use flate2::{Compression, GzBuilder};
use oci_spec::image::{Descriptor, Digest, MediaType};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use super::{Layout, LayoutError, layout::sha256};

/// A name that starts so deletes files of the layers below when an image is unpacked.
const WHITEOUT: &str = ".wh.";

/// What a layer consists of, by path in the image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tree {
    nodes: BTreeMap<String, Node>,
}

/// One thing in a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    Directory,
    /// Everyone may write to it, and delete only what is theirs: `/tmp`.
    SharedDirectory,
    File {
        content: Content,
        access: Access,
    },
    Symlink {
        target: String,
    },
}

/// Where a file's bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Bytes(Vec<u8>),
    /// Read when the layer is written; it must not change meanwhile.
    OnDisk(PathBuf),
}

/// Whether a file can be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Readable,
    Executable,
}

/// How hard a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Effort {
    /// Code: most of what the best level would save, in a quarter of its time.
    Code,
    /// Models are as good as random: higher levels take five times as long and save nothing.
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

/// A layer that is in a layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Layer {
    pub descriptor: Descriptor,
    /// The digest of the tar before it was compressed.
    pub diff_id: Digest,
    /// The size of that tar.
    pub unpacked: u64,
}

/// Why a layer cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LayerError {
    #[error("`{path}` cannot be a path in an image: {reason}")]
    Path { path: String, reason: &'static str },
    #[error("`{0}` is twice in one layer")]
    Twice(String),
    #[error("`{path}` is in `{parent}`, which is not a directory")]
    NotInDirectory { path: String, parent: String },
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not a regular file", .0.display())]
    NotRegular(PathBuf),
    #[error("{} changed while it was read: it had {expected} bytes", path.display())]
    Changed { path: PathBuf, expected: u64 },
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

impl Tree {
    /// Adds something at a path such as `app/models/a.bin`, and the directories that lead to it.
    ///
    /// # Errors
    /// When the path is not one below the root, is taken, or leads through a file.
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
            // It was made as a parent; now it is told what it is.
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

    /// The files on disk that it is made of.
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
    pub(super) fn diff_id(&self) -> Result<(Digest, u64), LayerError> {
        let nowhere = |source| LayoutError::Write { path: PathBuf::new(), source };
        let tar = self.write_tar(Hashed::new(io::sink()), nowhere)?;
        Ok((sha256(&tar.hash.finalize()), tar.size))
    }

    /// Writes it into the layout.
    ///
    /// # Errors
    /// When a file cannot be read or changes meanwhile, and when the layout cannot be written.
    pub(crate) fn write(&self, layout: &Layout, effort: Effort) -> Result<Layer, LayerError> {
        let unwritable = |source| layout.unwritable(source);
        // No name and no time: both would differ from machine to machine.
        let gzip = GzBuilder::new().write(layout.writer()?, effort.level());
        let Hashed { inner: gzip, hash, size } = self.write_tar(Hashed::new(gzip), unwritable)?;
        let descriptor = gzip.finish().map_err(unwritable)?.finish(MediaType::ImageLayerGzip)?;
        Ok(Layer { descriptor, diff_id: sha256(&hash.finalize()), unpacked: size })
    }

    fn write_tar<W: Write>(
        &self,
        output: W,
        unwritable: impl Fn(io::Error) -> LayoutError,
    ) -> Result<W, LayerError> {
        let mut tar = tar::Builder::new(output);
        for (path, node) in &self.nodes {
            append(&mut tar, path, node, &unwritable)?;
        }
        tar.into_inner().map_err(|source| unwritable(source).into())
    }
}

fn check_path(path: &str) -> Result<(), LayerError> {
    let refused = |reason| Err(LayerError::Path { path: path.to_owned(), reason });
    for component in path.split('/') {
        match component {
            "" => return refused("it has an empty part"),
            "." | ".." => return refused("it has a part `.` or `..`"),
            name if name.starts_with(WHITEOUT) => return refused("images use `.wh.` names to delete files"),
            name if name.contains('\0') => return refused("it has a NUL"),
            _ => {}
        }
    }
    Ok(())
}

fn append<W: Write>(
    tar: &mut tar::Builder<W>,
    path: &str,
    node: &Node,
    unwritable: &impl Fn(io::Error) -> LayoutError,
) -> Result<(), LayerError> {
    let refused = |source| LayerError::from(unwritable(source));
    match node {
        Node::Directory | Node::SharedDirectory => {
            let mode = if *node == Node::Directory { 0o755 } else { 0o1777 };
            let mut header = header(EntryType::Directory, mode, 0);
            tar.append_data(&mut header, format!("{path}/"), io::empty()).map_err(refused)
        }
        Node::Symlink { target } => {
            let mut header = header(EntryType::Symlink, 0o777, 0);
            tar.append_link(&mut header, path, target).map_err(refused)
        }
        Node::File { content: Content::Bytes(bytes), access } => {
            let mut header = header(EntryType::Regular, access.mode(), length(bytes));
            tar.append_data(&mut header, path, bytes.as_slice()).map_err(refused)
        }
        Node::File { content: Content::OnDisk(source), access } => {
            let mut file = SourceFile::open(source)?;
            let mut header = header(EntryType::Regular, access.mode(), file.length);
            let appended = tar.append_data(&mut header, path, &mut file);
            // A failed read comes out of the same call as a failed write.
            file.failure.map_or_else(|| appended.map_err(refused), Err)
        }
    }
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

impl Access {
    fn mode(self) -> u32 {
        match self {
            Self::Readable => 0o644,
            Self::Executable => 0o755,
        }
    }
}

/// A file that is read to the length that it had when it was opened, and not a byte more or less: the length
/// stands in the tar before the bytes.
struct SourceFile<'a> {
    path: &'a Path,
    file: File,
    length: u64,
    left: u64,
    failure: Option<LayerError>,
}

impl<'a> SourceFile<'a> {
    fn open(path: &'a Path) -> Result<Self, LayerError> {
        let unreadable = |source| LayerError::Read { path: path.to_owned(), source };
        // Asked before it is opened: opening a pipe waits for its other end.
        if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
            return Err(LayerError::NotRegular(path.to_owned()));
        }
        let file = File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        Ok(Self { path, file, length, left: length, failure: None })
    }

    fn changed(&mut self) -> io::Error {
        self.failure = Some(LayerError::Changed { path: self.path.to_owned(), expected: self.length });
        io::ErrorKind::UnexpectedEof.into()
    }
}

impl Read for SourceFile<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let read = loop {
            match self.file.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        match read {
            Ok(0) if self.left > 0 => Err(self.changed()),
            Ok(read) => match self.left.checked_sub(u64::try_from(read).unwrap_or(u64::MAX)) {
                Some(left) => {
                    self.left = left;
                    Ok(read)
                }
                None => Err(self.changed()),
            },
            Err(error) => {
                let kind = error.kind();
                self.failure = Some(LayerError::Read { path: self.path.to_owned(), source: error });
                Err(kind.into())
            }
        }
    }
}

/// Passes bytes on, and knows their digest and number.
struct Hashed<W> {
    inner: W,
    hash: Sha256,
    size: u64,
}

impl<W> Hashed<W> {
    fn new(inner: W) -> Self {
        Self { inner, hash: Sha256::new(), size: 0 }
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.size += length(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
