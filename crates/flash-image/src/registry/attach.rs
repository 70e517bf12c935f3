//! Attaches data to an image that is not part of it, such as its SBOM: an OCI artifact with the image as its
//! subject.
//!
//! If the registry does not list artifacts by their subject, the list is stored under the tag that the
//! specification defines for that.
use bytes::Bytes;
use http::{HeaderName, StatusCode, header};
use oci_spec::{
    distribution::Reference,
    image::{Descriptor, Digest, ImageIndex, ImageIndexBuilder, ImageManifestBuilder, MediaType},
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{
    auth::Scope,
    connection::Registry,
    error::RegistryError,
    manifest::{MANIFEST_BYTES, put_manifest},
    transport,
    upload::{self, Blob, Content},
};
use crate::layout::sha256;

/// The header of a registry that lists artifacts by their subject.
const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
/// The config of an artifact without one.
const EMPTY: &[u8] = b"{}";
const TITLE: &str = "org.opencontainers.image.title";

/// An attachment to an image.
#[derive(Debug, Clone)]
pub struct Attachment {
    /// The type that tools look for: `application/vnd.cyclonedx+json`.
    pub artifact_type: String,
    /// The name of the file when it is downloaded.
    pub file_name: String,
    /// The bytes of the file.
    pub content: Bytes,
}

/// Attaches to the image with this manifest, which was pushed before. Repeated calls attach it once.
///
/// # Errors
/// When the registry rejects it.
pub(super) async fn attach(
    registry: &Registry,
    image: &Reference,
    subject: &Descriptor,
    attachment: &Attachment,
) -> Result<Digest, RegistryError> {
    let artifact_type = MediaType::from(attachment.artifact_type.as_str());
    let content = stored(registry, image, attachment.content.clone(), artifact_type.clone()).await?;
    let mut content = content;
    content.set_annotations(Some([(TITLE.to_owned(), attachment.file_name.clone())].into()));
    let config = stored(registry, image, Bytes::from_static(EMPTY), MediaType::EmptyJSON).await?;
    let bare = Descriptor::new(subject.media_type().clone(), subject.size(), subject.digest().clone());
    let manifest = ImageManifestBuilder::default()
        .schema_version(2u32)
        .media_type(MediaType::ImageManifest)
        .artifact_type(artifact_type.clone())
        .config(config)
        .layers([content])
        .subject(bare)
        .build()
        .map_err(|_| incomplete("an attachment"))?;
    let bytes = json(&manifest)?;
    let mut artifact = descriptor(&bytes, MediaType::ImageManifest);
    let digest = artifact.digest().clone();
    let answer = put_manifest(registry, image, digest.as_ref(), &artifact, &bytes).await?;
    if !answer.headers().contains_key(SUBJECT) {
        artifact.set_artifact_type(Some(artifact_type));
        list(registry, image, subject.digest(), artifact).await?;
    }
    Ok(digest)
}

async fn stored(
    registry: &Registry,
    image: &Reference,
    content: Bytes,
    media_type: MediaType,
) -> Result<Descriptor, RegistryError> {
    let descriptor = descriptor(&content, media_type);
    let blob = Blob {
        digest: descriptor.digest().clone(),
        size: descriptor.size(),
        content: Content::Memory(content),
    };
    upload::put(registry, image.repository(), &blob, &|_| {}).await?;
    Ok(descriptor)
}

/// Adds to the list of this subject's attachments, if it is not in it. Concurrent calls may lose one: the protocol
/// offers no protection.
async fn list(
    registry: &Registry,
    image: &Reference,
    subject: &Digest,
    artifact: Descriptor,
) -> Result<(), RegistryError> {
    let tag = format!("{}-{}", subject.algorithm(), subject.digest());
    let mut manifests = listed(registry, image, &tag).await?;
    if manifests.iter().any(|listed| listed.digest() == artifact.digest()) {
        return Ok(());
    }
    manifests.push(artifact);
    let index = ImageIndexBuilder::default()
        .schema_version(2u32)
        .media_type(MediaType::ImageIndex)
        .manifests(manifests)
        .build()
        .map_err(|_| incomplete("a list of attachments"))?;
    let bytes = json(&index)?;
    put_manifest(registry, image, &tag, &descriptor(&bytes, MediaType::ImageIndex), &bytes).await?;
    Ok(())
}

async fn listed(registry: &Registry, image: &Reference, tag: &str) -> Result<Vec<Descriptor>, RegistryError> {
    let task = "list the attachments of an image";
    let url = registry.url(image.repository(), &format!("manifests/{tag}"));
    let scope = Scope::push(image.repository());
    let request = |client: &reqwest::Client| {
        client.get(url.clone()).header(header::ACCEPT, MediaType::ImageIndex.as_ref())
    };
    let answer = registry.ask(&scope, task, request).await?;
    if answer.status() == StatusCode::NOT_FOUND {
        return Ok(Vec::new());
    }
    if !answer.status().is_success() {
        return Err(registry.refusal(task, answer).await);
    }
    let bytes = transport::body(answer, registry.name(), MANIFEST_BYTES).await?;
    let index: ImageIndex = serde_json::from_slice(&bytes).map_err(|_| RegistryError::Unsupported {
        what: format!("tag {tag} of {}", image.repository()),
        reason: "it is not a list of attachments",
    })?;
    Ok(index.manifests().clone())
}

fn descriptor(bytes: &[u8], media_type: MediaType) -> Descriptor {
    Descriptor::new(media_type, bytes.len() as u64, sha256(&Sha256::digest(bytes)))
}

/// With sorted keys: otherwise the annotations of the same attachment would have another order each time.
fn json(value: &impl Serialize) -> Result<Vec<u8>, RegistryError> {
    let json = serde_json::to_value(value).and_then(|value| serde_json::to_vec(&value));
    json.map_err(|_| incomplete("a manifest"))
}

fn incomplete(what: &str) -> RegistryError {
    RegistryError::Unsupported { what: what.to_owned(), reason: "it cannot be encoded" }
}
