//! All images in one file, for `podman load`, `docker load` and `skopeo copy oci-archive:FILE:NAME`.
//!
//! It is a tar of an OCI layout, plus the `manifest.json` in which older readers look for an image's name. The same
//! images give the same bytes. The file is written atomically.
use std::{
    collections::{BTreeMap, HashMap},
    io::{self, BufWriter},
    path::{Path, PathBuf},
};

use oci_spec::{
    OciSpecError,
    image::{ANNOTATION_REF_NAME, Descriptor, ImageIndexBuilder, ImageManifest, MediaType, OciLayoutBuilder},
};
use serde::Serialize;
use tar::EntryType;
use tempfile::NamedTempFile;

use super::{
    Layout, LayoutError,
    layout::{LAYOUT_VERSION, canonical_json, readable_by_all},
    tarball::{self, AppendError, SourceError},
};

/// Where containerd and Docker look for the name of an image in an index.
const ANNOTATION_FULL_NAME: &str = "io.containerd.image.name";

/// An image and its name once loaded.
#[derive(Debug, Clone)]
pub struct ArchivedImage {
    /// Its manifest in the layout.
    pub manifest: Descriptor,
    /// Its name in the archive.
    pub name: String,
    /// Such as `localhost/app/worker:latest`.
    pub reference: String,
}

/// Why an archive cannot be written.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant says what it is")]
pub enum ArchiveError {
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("cannot encode the archive's manifest")]
    Describe(#[from] OciSpecError),
}

/// An image in the format of `docker load`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

/// Writes the images of a layout to a file, replacing an existing one.
///
/// # Errors
/// When a blob cannot be read or the file cannot be written; an existing file is then kept.
pub fn write_archive(file: &Path, layout: &Layout, images: &[ArchivedImage]) -> Result<(), ArchiveError> {
    let unwritable = |source| ArchiveError::Write { path: file.to_owned(), source };
    let directory = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut blobs = BTreeMap::new();
    let mut docker = Vec::new();
    for image in images {
        docker.push(describe(layout, image, &mut blobs)?);
    }
    let version = OciLayoutBuilder::default().image_layout_version(LAYOUT_VERSION).build()?;
    let temporary = NamedTempFile::new_in(directory).map_err(unwritable)?;
    let mut tar = tar::Builder::new(BufWriter::with_capacity(1 << 16, temporary));
    // The index comes first, so that a reader can list the images without reading everything.
    let described = [
        ("oci-layout", canonical_json(&version)),
        ("index.json", canonical_json(&index(images)?)),
        ("manifest.json", canonical_json(&docker)),
    ];
    for (name, json) in described {
        let json = json.map_err(unwritable)?;
        tarball::append(&mut tar, name, EntryType::Regular, 0o644, &json).map_err(unwritable)?;
    }
    for name in ["blobs/", "blobs/sha256/"] {
        tarball::append(&mut tar, name, EntryType::Directory, 0o755, &[]).map_err(unwritable)?;
    }
    for (name, blob) in &blobs {
        tarball::append_file(&mut tar, name, 0o644, &layout.blob(blob.digest())).map_err(
            |error| match error {
                AppendError::Source(error) => ArchiveError::Source(error),
                AppendError::Write(source) => unwritable(source),
            },
        )?;
    }
    let written = tar.into_inner().and_then(|file| file.into_inner().map_err(io::IntoInnerError::into_error));
    let written = written.map_err(unwritable)?;
    readable_by_all(&written).map_err(unwritable)?;
    written.persist(file).map_err(|error| unwritable(error.error))?;
    Ok(())
}

/// Adds an image's blobs to those of the archive.
fn describe(
    layout: &Layout,
    image: &ArchivedImage,
    blobs: &mut BTreeMap<String, Descriptor>,
) -> Result<DockerImage, LayoutError> {
    let manifest: ImageManifest = layout.read_json(&image.manifest)?;
    for blob in [&image.manifest, manifest.config()].into_iter().chain(manifest.layers()) {
        blobs.insert(blob_name(blob), blob.clone());
    }
    Ok(DockerImage {
        config: blob_name(manifest.config()),
        repo_tags: vec![image.reference.clone()],
        layers: manifest.layers().iter().map(blob_name).collect(),
    })
}

fn blob_name(blob: &Descriptor) -> String {
    format!("blobs/{}/{}", blob.digest().algorithm(), blob.digest().digest())
}

fn index(images: &[ArchivedImage]) -> Result<oci_spec::image::ImageIndex, OciSpecError> {
    let named = images.iter().map(|image| {
        let mut manifest = image.manifest.clone();
        manifest.set_annotations(Some(HashMap::from([
            (ANNOTATION_REF_NAME.to_owned(), image.name.clone()),
            (ANNOTATION_FULL_NAME.to_owned(), image.reference.clone()),
        ])));
        manifest
    });
    ImageIndexBuilder::default()
        .schema_version(2u32)
        .media_type(MediaType::ImageIndex)
        .manifests(named.collect::<Vec<_>>())
        .build()
}
