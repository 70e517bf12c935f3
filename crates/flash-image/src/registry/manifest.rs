//! Manifests, as the protocol transfers them: their limits, their media types, and how one is stored.
//!
//! What a manifest says is up to those who push, pull and attach.
use http::header;
use oci_spec::{
    distribution::Reference,
    image::{Descriptor, MediaType},
};
use reqwest::Response;

use super::{auth::Scope, connection::Registry, error::RegistryError};

/// The longest manifest that registries accept.
pub(super) const MANIFEST_BYTES: usize = 4 << 20;
/// The registry's own digest of its answer.
pub(super) const CONTENT_DIGEST: &str = "docker-content-digest";
/// Docker's own types for the two kinds of manifest. Base images still use them.
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// The supported manifests, for `Accept`.
pub(super) fn accepted_manifests() -> String {
    let (manifest, index) = (MediaType::ImageManifest, MediaType::ImageIndex);
    [manifest.as_ref(), index.as_ref(), DOCKER_MANIFEST, DOCKER_LIST].join(", ")
}

/// Stores a manifest under its digest or a tag.
pub(super) async fn put_manifest(
    registry: &Registry,
    image: &Reference,
    name: &str,
    manifest: &Descriptor,
    bytes: &[u8],
) -> Result<Response, RegistryError> {
    let scope = Scope::push(image.repository());
    let task = "store a manifest";
    let url = registry.url(image.repository(), &format!("manifests/{name}"));
    let answer = registry
        .ask(&scope, task, |client| {
            let request = client.put(url.clone()).body(bytes.to_vec());
            request.header(header::CONTENT_TYPE, manifest.media_type().as_ref())
        })
        .await?;
    if answer.status().is_success() {
        return Ok(answer);
    }
    Err(match registry.refusal(task, answer).await {
        RegistryError::Refused { registry, reason, .. } => {
            RegistryError::ManifestRefused { registry, image: image.whole(), reason }
        }
        other => other,
    })
}
