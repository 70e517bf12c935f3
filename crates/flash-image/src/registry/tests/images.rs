//! Images to push.
use oci_spec::image::{Arch, Descriptor, ImageManifestBuilder, MediaType, Os, Platform, PlatformBuilder};
use tempfile::TempDir;

use crate::Layout;

/// An image in its own layout.
pub(super) struct Image {
    pub layout: Layout,
    pub manifest: Descriptor,
    pub layers: Vec<Descriptor>,
    _directory: TempDir,
}

impl Image {
    /// With layers of these sizes, whose content differs for each seed.
    pub(super) fn of(seed: u64, sizes: &[usize]) -> Self {
        Self::for_platform(seed, sizes, &linux(Arch::Amd64))
    }

    pub(super) fn for_platform(seed: u64, sizes: &[usize], platform: &Platform) -> Self {
        let directory = TempDir::new().unwrap();
        let layout = Layout::create(directory.path()).unwrap();
        let layers: Vec<Descriptor> = sizes
            .iter()
            .enumerate()
            .map(|(layer, &size)| {
                let bytes = noise(seed * 1_000 + layer as u64, size);
                layout.put(MediaType::ImageLayerGzip, &bytes).unwrap()
            })
            .collect();
        let config = serde_json::json!({
            "architecture": platform.architecture(),
            "os": platform.os(),
            "config": {},
            "rootfs": {
                "type": "layers",
                "diff_ids": layers.iter().map(|layer| layer.digest().to_string()).collect::<Vec<_>>(),
            },
        });
        let config = layout.put(MediaType::ImageConfig, config.to_string().as_bytes()).unwrap();
        let manifest = ImageManifestBuilder::default()
            .schema_version(2u32)
            .media_type(MediaType::ImageManifest)
            .config(config)
            .layers(layers.clone())
            .build()
            .unwrap();
        let manifest = manifest.to_string().unwrap();
        let manifest = layout.put(MediaType::ImageManifest, manifest.as_bytes()).unwrap();
        Self { layout, manifest, layers, _directory: directory }
    }
}

pub(super) fn linux(architecture: Arch) -> Platform {
    PlatformBuilder::default().os(Os::Linux).architecture(architecture).build().unwrap()
}

/// Incompressible bytes, the same for the same seed.
fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..)).take(size).collect()
}
