//! Pulls base images from a registry into a layout.
use oci_spec::image::{Arch, Descriptor, ImageIndexBuilder, ImageManifest, MediaType};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::{
    images::linux,
    proxy::{Proxy, cut_after_each, pass},
    *,
};
use crate::{
    Layout,
    layout::sha256,
    registry::{manifest::put_manifest, pull::Pulled, resolve},
};

/// A layout to pull into.
struct Target {
    layout: Layout,
    _directory: TempDir,
}

impl Target {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        Self { layout: Layout::create(directory.path()).unwrap(), _directory: directory }
    }

    async fn pull(&self, from: &Reference, architecture: Arch) -> Result<Pulled, RegistryError> {
        let registry = registry(from, Logins::default());
        super::super::pull(&registry, &self.layout, from, &linux(architecture), &|_| {}).await
    }

    fn has_all_of(&self, image: &Image) -> bool {
        let manifest: ImageManifest = self.layout.read_json(&image.manifest).unwrap();
        self.layout.has(manifest.config()) && image.layers.iter().all(|layer| self.layout.read(layer).is_ok())
    }

    fn files(&self) -> usize {
        std::fs::read_dir(self.layout.directory().join("blobs/sha256")).unwrap().count()
    }
}

#[tokio::test]
async fn what_is_there_is_seen_and_so_is_whether_anybody_may_pull_it() {
    let Some(server) = docker_registry() else { return };
    let image = Image::of(41, &[100]);
    let to = name(&server.address, "looks/app:1");
    let registry = registry(&to, Logins::default());
    assert!(!super::super::image_exists(&registry, &to).await.unwrap());
    push(&image, &to).await.unwrap();
    let by_digest = to.clone_with_digest(image.manifest.digest().to_string());
    for known in [&to, &by_digest] {
        assert!(super::super::image_exists(&registry, known).await.unwrap(), "{known}");
        assert!(super::super::is_public(known).await.unwrap(), "{known}");
    }
    assert!(super::super::is_on_this_machine(&to));
    assert!(!super::super::is_on_this_machine(&"ghcr.io/me/app:1".parse().unwrap()));
}

/// Without credentials, for amd64.
pub(super) async fn pull(from: &Reference) -> Result<Pulled, RegistryError> {
    Target::new().pull(from, Arch::Amd64).await
}

/// Pushes an image for two platforms; returns the digest of its index.
async fn push_index(server: &DockerRegistry, path: &str, images: &[(&Image, Arch)]) -> String {
    let to = name(&server.address, path);
    let mut manifests = Vec::new();
    for (image, architecture) in images {
        let by_digest = to.clone_with_digest(image.manifest.digest().to_string());
        push(image, &by_digest).await.unwrap();
        let mut manifest = image.manifest.clone();
        manifest.set_platform(Some(linux(architecture.clone())));
        manifests.push(manifest);
    }
    let index = ImageIndexBuilder::default()
        .schema_version(2u32)
        .media_type(MediaType::ImageIndex)
        .manifests(manifests)
        .build()
        .unwrap();
    let bytes = index.to_string().unwrap().into_bytes();
    let digest = sha256(&Sha256::digest(&bytes));
    let descriptor = Descriptor::new(MediaType::ImageIndex, bytes.len() as u64, digest.clone());
    let registry = registry(&to, Logins::default());
    put_manifest(&registry, &to, to.tag().unwrap(), &descriptor, &bytes).await.unwrap();
    digest.to_string()
}

#[tokio::test]
async fn an_image_for_several_platforms_gives_the_one_that_is_wanted() {
    let Some(server) = docker_registry() else { return };
    let amd64 = Image::for_platform(41, &[100_000, 10], &linux(Arch::Amd64));
    let arm64 = Image::for_platform(42, &[100_000, 10], &linux(Arch::ARM64));
    let index = push_index(&server, "base/cuda:13", &[(&amd64, Arch::Amd64), (&arm64, Arch::ARM64)]).await;
    let from = name(&server.address, "base/cuda:13");
    for (image, architecture) in [(&amd64, Arch::Amd64), (&arm64, Arch::ARM64)] {
        let target = Target::new();
        let pulled = target.pull(&from, architecture.clone()).await.unwrap();
        assert_eq!(pulled.manifest.digest(), image.manifest.digest());
        assert_eq!(pulled.digest.to_string(), index);
        assert_eq!((pulled.downloaded, pulled.skipped), (3, 0));
        assert!(target.has_all_of(image));
        let again = target.pull(&from, architecture).await.unwrap();
        assert_eq!((again.downloaded, again.skipped, again.downloaded_bytes), (0, 3, 0));
    }
    // Without its layers, its name stands for the same.
    let registry = registry(&from, Logins::default());
    let resolved = resolve(&registry, &from, &linux(Arch::ARM64)).await.unwrap();
    assert_eq!(resolved.to_string(), index);
    let error = resolve(&registry, &from, &linux(Arch::RISCV64)).await.unwrap_err();
    assert!(matches!(error, RegistryError::NoPlatform { .. }), "{error:?}");
    let error = Target::new().pull(&from, Arch::RISCV64).await.unwrap_err();
    let text = shown(&error);
    assert!(matches!(error, RegistryError::NoPlatform { .. }), "{text}");
    assert!(text.contains("linux/riscv64: it is for linux/amd64, linux/arm64"), "{text}");
}

#[tokio::test]
async fn an_image_for_another_platform_is_refused() {
    let Some(server) = docker_registry() else { return };
    let from = name(&server.address, "app:1");
    push(&Image::of(43, &[10]), &from).await.unwrap();
    let error = Target::new().pull(&from, Arch::ARM64).await.unwrap_err();
    assert!(matches!(error, RegistryError::NoPlatform { .. }), "{error:?}");
    let registry = registry(&from, Logins::default());
    let error = resolve(&registry, &from, &linux(Arch::ARM64)).await.unwrap_err();
    assert!(matches!(error, RegistryError::NoPlatform { .. }), "only its config tells: {error:?}");
}

#[tokio::test]
async fn a_pinned_image_that_was_pulled_before_needs_no_registry() {
    let Some(mut server) = docker_registry() else { return };
    let image = Image::of(44, &[50_000]);
    let index = push_index(&server, "app:1", &[(&image, Arch::Amd64)]).await;
    let pinned = name(&server.address, &format!("app@{index}"));
    let target = Target::new();
    // As a separate task, on any thread.
    let target = tokio::spawn(async move {
        target.pull(&pinned, Arch::Amd64).await.unwrap();
        target
    });
    let target = target.await.unwrap();
    server.stop();
    let pinned = name(&server.address, &format!("app@{index}"));
    let again = target.pull(&pinned, Arch::Amd64).await.unwrap();
    assert_eq!((again.downloaded, again.skipped), (0, 2));
    let tagged = target.pull(&name(&server.address, "app:1"), Arch::Amd64).await;
    assert!(tagged.is_err());
}

#[tokio::test]
async fn a_download_goes_on_where_it_broke() {
    let Some(server) = docker_registry() else { return };
    let image = Image::of(45, &[4_000_000, 100]);
    push(&image, &name(&server.address, "app:1")).await.unwrap();
    let proxy = Proxy::start(&server.address, pass, cut_after_each(1_000_000, 3)).await;
    let target = Target::new();
    target.pull(&name(&proxy.address, "app:1"), Arch::Amd64).await.unwrap();
    assert!(target.has_all_of(&image));
    assert_eq!(proxy.cuts(), 3);
    assert!(proxy.down() < 4_500_000, "{}", proxy.down());
}

#[tokio::test]
async fn a_damaged_blob_is_refused_and_not_kept() {
    let Some(server) = docker_registry() else { return };
    let image = Image::of(46, &[1_000]);
    let from = name(&server.address, "app:1");
    push(&image, &from).await.unwrap();
    let stored = server.blob(image.layers[0].digest().digest());
    let mut bytes = std::fs::read(&stored).unwrap();
    bytes[500] ^= 1;
    std::fs::write(&stored, bytes).unwrap();
    let target = Target::new();
    let error = target.pull(&from, Arch::Amd64).await.unwrap_err();
    let wanted = image.layers[0].digest();
    assert!(
        matches!(&error, RegistryError::DigestMismatch { wanted: told, .. } if told == wanted),
        "{error:?}"
    );
    // The manifest and the config.
    assert_eq!(target.files(), 2);
}

#[tokio::test]
async fn an_image_that_is_not_there_is_told() {
    let Some(server) = docker_registry() else { return };
    for path in ["nothing:1", &format!("nothing@sha256:{}", "0".repeat(64))] {
        let from = name(&server.address, path);
        let error = pull(&from).await.unwrap_err();
        assert!(matches!(&error, RegistryError::NotFound { image } if *image == from.whole()), "{error:?}");
    }
}
