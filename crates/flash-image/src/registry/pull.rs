//! Pulls one image for a platform from a registry into a layout.
//!
//! What the layout has is not requested: an image named by its digest that was pulled before needs no network.
//! Everything is checked against its digest before it is added to the layout.
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::{StatusCode, header};
use oci_spec::{
    distribution::Reference,
    image::{Descriptor, Digest, ImageManifest, MediaType, Platform},
};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{
    auth::Scope,
    blocking::blocking,
    connection::Registry,
    download::{self, Arrival, Source},
    error::RegistryError,
    manifest::{CONTENT_DIGEST, MANIFEST_BYTES, accepted_manifests},
    progress::OnProgress,
    transport,
};
use crate::{Layout, LayoutError, layout::sha256};

/// Blobs transferred at once.
const AT_ONCE: usize = 3;

/// The result of a pull.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The manifest for the platform. It and its layers may have Docker's media types.
    pub manifest: Descriptor,
    /// What the name refers to: an index if the image is for several platforms, else the manifest.
    pub digest: Digest,
    pub downloaded: usize,
    /// Blobs that the layout already had.
    pub skipped: usize,
    /// Of the downloaded blobs.
    pub downloaded_bytes: u64,
}

/// Pulls an image into the layout. It is not added to the layout's index.
///
/// # Errors
/// When there is no such image for the platform, when it does not match its digest, or when it cannot be stored.
pub async fn pull(
    registry: &Registry,
    layout: &Layout,
    from: &Reference,
    platform: &Platform,
    progress: OnProgress<'_>,
) -> Result<Pulled, RegistryError> {
    let pull = Pull { registry, layout, from, platform };
    let source = Source { registry, layout, repository: from.repository(), progress };
    let (named, manifest, image) = pull.resolve().await?;
    let config = download::get(&source, image.config()).await?;
    pull.check_platform(image.config()).await?;
    let mut pulled = Pulled { manifest, digest: named, downloaded: 0, skipped: 0, downloaded_bytes: 0 };
    pulled.count(image.config(), config);
    let mut layers: Vec<Descriptor> = Vec::new();
    for layer in image.layers() {
        if !layers.iter().any(|known| known.digest() == layer.digest()) {
            layers.push(layer.clone());
        }
    }
    let source = &source;
    let arrivals = stream::iter(layers)
        .map(|layer| async move {
            let arrival = download::get(source, &layer).await?;
            Ok::<_, RegistryError>((layer, arrival))
        })
        .buffer_unordered(AT_ONCE);
    let mut arrivals = std::pin::pin!(arrivals);
    while let Some((layer, arrival)) = arrivals.try_next().await? {
        pulled.count(&layer, arrival);
    }
    Ok(pulled)
}

/// Finds out what an image's name stands for, and that the image is for the platform. Its layers are not downloaded.
/// Returns the digest of what is named: of an index, if the image is for several platforms.
///
/// # Errors
/// When there is no such image for the platform, and when the registry does not let us have it.
pub async fn resolve(
    registry: &Registry,
    from: &Reference,
    platform: &Platform,
) -> Result<Digest, RegistryError> {
    let made = blocking(|| {
        let directory = tempfile::tempdir()
            .map_err(|source| LayoutError::Write { path: std::env::temp_dir(), source })?;
        let layout = Layout::create(directory.path())?;
        Ok((directory, layout))
    });
    // Deleted with this value.
    let (_directory, layout) = made.await?;
    let pull = Pull { registry, layout: &layout, from, platform };
    let (named, _, image) = pull.resolve().await?;
    let source = Source { registry, layout: &layout, repository: from.repository(), progress: &|_| () };
    download::get(&source, image.config()).await?;
    pull.check_platform(image.config()).await?;
    Ok(named)
}

impl Pulled {
    fn count(&mut self, blob: &Descriptor, arrival: Arrival) {
        match arrival {
            Arrival::WasThere => self.skipped += 1,
            Arrival::Downloaded => {
                self.downloaded += 1;
                self.downloaded_bytes += blob.size();
            }
        }
    }
}

/// An index, with only the fields needed here, or an image.
#[derive(Deserialize)]
#[serde(untagged)]
enum Document {
    Index { manifests: Vec<Descriptor> },
    Image(Box<ImageManifest>),
}

/// The part of a config that names the platform.
#[derive(Deserialize)]
struct Target {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
}

struct Pull<'a> {
    registry: &'a Registry,
    layout: &'a Layout,
    from: &'a Reference,
    platform: &'a Platform,
}

impl Pull<'_> {
    /// The digest of what is named, the manifest for the platform, and its content.
    async fn resolve(&self) -> Result<(Digest, Descriptor, ImageManifest), RegistryError> {
        let pinned = match self.from.digest() {
            Some(digest) => {
                Some(digest.parse().map_err(|_| self.unsupported("its digest has an unsupported format"))?)
            }
            None => None,
        };
        let (named, document) = self.manifest(pinned).await?;
        match document {
            Document::Image(image) => Ok((named.digest().clone(), named, *image)),
            Document::Index { manifests } => {
                let chosen = self.choose(&manifests)?.digest().clone();
                match self.manifest(Some(chosen)).await? {
                    (manifest, Document::Image(image)) => Ok((named.digest().clone(), manifest, *image)),
                    (_, Document::Index { .. }) => Err(self.unsupported("it is an index of indexes")),
                }
            }
        }
    }

    /// A manifest from the layout, else from the registry.
    async fn manifest(&self, pinned: Option<Digest>) -> Result<(Descriptor, Document), RegistryError> {
        if let Some(digest) = &pinned
            && let Some(bytes) = kept(self.layout, digest).await
        {
            return self.keep(bytes).await;
        }
        let name = match &pinned {
            Some(digest) => digest.to_string(),
            None => self.from.tag().unwrap_or("latest").to_owned(),
        };
        let (task, scope) = ("serve a manifest", Scope::pull(self.from.repository()));
        let url = self.registry.url(self.from.repository(), &format!("manifests/{name}"));
        let accept = accepted_manifests();
        let request = |client: &reqwest::Client| client.get(url.clone()).header(header::ACCEPT, &accept);
        let answer = self.registry.ask(&scope, task, request).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Err(RegistryError::NotFound { image: self.from.whole() });
        }
        if !answer.status().is_success() {
            return Err(self.registry.refusal(task, answer).await);
        }
        let told = answer.headers().get(CONTENT_DIGEST).and_then(|digest| digest.to_str().ok()?.parse().ok());
        let bytes = transport::body(answer, self.registry.name(), MANIFEST_BYTES).await?;
        let found = sha256(&Sha256::digest(&bytes));
        match pinned.or(told) {
            Some(wanted) if wanted != found => Err(RegistryError::DigestMismatch {
                what: format!("the manifest of {}", self.from),
                wanted,
                found: found.to_string(),
            }),
            _ => self.keep(bytes.to_vec()).await,
        }
    }

    /// Adds a manifest to the layout and returns its kind.
    async fn keep(&self, bytes: Vec<u8>) -> Result<(Descriptor, Document), RegistryError> {
        let unknown = || self.unsupported("its manifest has an unsupported format");
        let document: Document = serde_json::from_slice(&bytes).map_err(|_| unknown())?;
        let media_type = match &document {
            Document::Index { .. } => MediaType::ImageIndex,
            Document::Image(image) => image.media_type().clone().unwrap_or(MediaType::ImageManifest),
        };
        let layout = self.layout.clone();
        let descriptor = blocking(move || layout.put(media_type, &bytes)).await?;
        Ok((descriptor, document))
    }

    fn choose<'d>(&self, manifests: &'d [Descriptor]) -> Result<&'d Descriptor, RegistryError> {
        let fits = |offered: &Platform| {
            let variant = self.platform.variant().is_none() || offered.variant() == self.platform.variant();
            offered.os() == self.platform.os()
                && offered.architecture() == self.platform.architecture()
                && variant
        };
        let mut candidates = manifests.iter();
        candidates.find(|manifest| manifest.platform().as_ref().is_some_and(fits)).ok_or_else(|| {
            let offered = manifests.iter().filter_map(|manifest| manifest.platform().as_ref());
            let offered = offered.filter(|offered| offered.os().to_string() != "unknown");
            self.no_platform(offered.map(named).collect())
        })
    }

    async fn check_platform(&self, config: &Descriptor) -> Result<(), RegistryError> {
        if config.size() > MANIFEST_BYTES as u64 {
            return Err(self.unsupported("its config is too large"));
        }
        let (layout, config) = (self.layout.clone(), config.clone());
        let target: Target = blocking(move || layout.read_json(&config)).await?;
        let fits = target.os == self.platform.os().to_string()
            && target.architecture == self.platform.architecture().to_string();
        match fits {
            true => Ok(()),
            false => Err(self.no_platform(vec![format!("{}/{}", target.os, target.architecture)])),
        }
    }

    fn no_platform(&self, mut offered: Vec<String>) -> RegistryError {
        offered.sort();
        offered.dedup();
        RegistryError::NoPlatform { image: self.from.whole(), wanted: named(self.platform), offered }
    }

    fn unsupported(&self, reason: &'static str) -> RegistryError {
        RegistryError::Unsupported { what: format!("image {}", self.from), reason }
    }
}

/// As people write it.
fn named(platform: &Platform) -> String {
    let variant = platform.variant().as_ref().map_or_else(String::new, |variant| format!("/{variant}"));
    format!("{}/{}{variant}", platform.os(), platform.architecture())
}

/// A blob of the layout whose size is not known yet.
async fn kept(layout: &Layout, digest: &Digest) -> Option<Vec<u8>> {
    let path = layout.blob(digest);
    if tokio::fs::metadata(&path).await.ok()?.len() > MANIFEST_BYTES as u64 {
        return None;
    }
    let bytes = tokio::fs::read(&path).await.ok()?;
    (sha256(&Sha256::digest(&bytes)) == *digest).then_some(bytes)
}
