//! Pushes one image from a layout to a registry: blobs, the config, the manifest, its attachments, and finally its
//! tag.
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::{StatusCode, header};
use oci_spec::{
    distribution::Reference,
    image::{Descriptor, Digest, ImageManifest},
};
use sha2::{Digest as _, Sha256};

use super::{
    attach::{Attachment, attach},
    auth::Scope,
    blocking::blocking,
    connection::Registry,
    error::RegistryError,
    manifest::{CONTENT_DIGEST, MANIFEST_BYTES, accepted_manifests, put_manifest},
    progress::OnProgress,
    transport,
    upload::{self, Arrival, Blob, Content},
};
use crate::{Layout, LayoutError, layout::sha256};

/// Blobs transferred at once.
const AT_ONCE: usize = 3;

/// The result of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The digest of the manifest, which the tag points to.
    pub digest: Digest,
    pub uploaded: usize,
    /// Blobs that the repository already had.
    pub skipped: usize,
    /// Blobs mounted from another repository of the registry.
    pub mounted: usize,
    /// Of the uploaded blobs.
    pub uploaded_bytes: u64,
}

/// Pushes the image with this manifest to a name, with its attachments. If dropped, it leaves uploads that the
/// registry cleans up, and never a tag without its image or its attachments.
///
/// # Errors
/// When something is missing in the layout, or the registry rejects it. The tag is then unchanged, unless it was
/// sent and its answer was lost, or could not be read back.
pub async fn push(
    registry: &Registry,
    layout: &Layout,
    manifest: &Descriptor,
    attachments: &[Attachment],
    to: &Reference,
    progress: OnProgress<'_>,
) -> Result<Pushed, RegistryError> {
    if to.digest().is_some_and(|named| named != manifest.digest().as_ref()) {
        let reason = "the image to push has another digest";
        return Err(RegistryError::Unsupported { what: format!("the name {to}"), reason });
    }
    // The first request also shows whether the registry is there and whether the login works.
    let tagged = match to.tag() {
        Some(tag) => tagged(registry, to, tag).await?,
        None => None,
    };
    let (bytes, image) = read(layout, manifest).await?;
    let mut pushed =
        Pushed { digest: manifest.digest().clone(), uploaded: 0, skipped: 0, mounted: 0, uploaded_bytes: 0 };
    // Each owns its blob: with a borrowed one, the whole would be bound to one thread.
    let layers = stream::iter(blobs(layout, image.layers()))
        .map(|blob| async move {
            let arrival = upload::put(registry, to.repository(), &blob, progress).await?;
            Ok::<_, RegistryError>((blob, arrival))
        })
        .buffer_unordered(AT_ONCE);
    let mut layers = std::pin::pin!(layers);
    while let Some((blob, arrival)) = layers.try_next().await? {
        pushed.count(&blob, arrival);
    }
    for blob in blobs(layout, std::slice::from_ref(image.config())) {
        pushed.count(&blob, upload::put(registry, to.repository(), &blob, progress).await?);
    }
    let is_tagged = tagged.as_ref() == Some(manifest.digest());
    if !is_tagged {
        put_manifest(registry, to, manifest.digest().as_ref(), manifest, &bytes).await?;
    }
    for attachment in attachments {
        attach(registry, to, manifest, attachment).await?;
    }
    if let Some(tag) = to.tag().filter(|_| !is_tagged) {
        put_manifest(registry, to, tag, manifest, &bytes).await?;
        check_tag(registry, to, tag, manifest.digest()).await?;
    }
    Ok(pushed)
}

impl Pushed {
    fn count(&mut self, blob: &Blob, arrival: Arrival) {
        match arrival {
            Arrival::WasThere => self.skipped += 1,
            Arrival::Mounted => self.mounted += 1,
            Arrival::Uploaded => {
                self.uploaded += 1;
                self.uploaded_bytes += blob.size;
            }
        }
    }
}

async fn read(layout: &Layout, manifest: &Descriptor) -> Result<(Vec<u8>, ImageManifest), RegistryError> {
    let (layout, manifest) = (layout.clone(), manifest.clone());
    let read = blocking(move || {
        let bytes = layout.read(&manifest)?;
        let image = serde_json::from_slice(&bytes).map_err(|error| LayoutError::Damaged {
            path: layout.blob(manifest.digest()),
            reason: error.to_string(),
        })?;
        Ok((bytes, image))
    });
    Ok(read.await?)
}

/// Each blob once, though an image may contain one several times.
fn blobs(layout: &Layout, named: &[Descriptor]) -> Vec<Blob> {
    let mut blobs: Vec<Blob> = Vec::new();
    for descriptor in named {
        let digest = descriptor.digest();
        if !blobs.iter().any(|blob| blob.digest == *digest) {
            let content = Content::File(layout.blob(digest));
            blobs.push(Blob { digest: digest.clone(), size: descriptor.size(), content });
        }
    }
    blobs
}

/// The digest that a tag points to, if the tag exists.
async fn tagged(registry: &Registry, image: &Reference, tag: &str) -> Result<Option<Digest>, RegistryError> {
    // With push permission, because that token is needed anyway.
    let scope = Scope::push(image.repository());
    let task = "resolve a tag";
    let url = registry.url(image.repository(), &format!("manifests/{tag}"));
    let accept = accepted_manifests();
    let request = |client: &reqwest::Client| client.head(url.clone()).header(header::ACCEPT, &accept);
    let answer = registry.ask(&scope, task, request).await?;
    if answer.status() == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    if !answer.status().is_success() {
        return Err(registry.refusal(task, answer).await);
    }
    if let Some(digest) = answer.headers().get(CONTENT_DIGEST) {
        return Ok(digest.to_str().ok().and_then(|digest| digest.parse().ok()));
    }
    let request = |client: &reqwest::Client| client.get(url.clone()).header(header::ACCEPT, &accept);
    let answer = registry.ask(&scope, task, request).await?;
    let bytes = transport::body(answer, registry.name(), MANIFEST_BYTES).await?;
    Ok(Some(sha256(&Sha256::digest(&bytes))))
}

async fn check_tag(
    registry: &Registry,
    image: &Reference,
    tag: &str,
    wanted: &Digest,
) -> Result<(), RegistryError> {
    let found = tagged(registry, image, tag).await?;
    if found.as_ref() == Some(wanted) {
        return Ok(());
    }
    Err(RegistryError::TagMoved {
        image: image.whole(),
        wanted: wanted.clone(),
        found: found.map_or_else(|| "nothing".to_owned(), |found| found.to_string()),
    })
}
