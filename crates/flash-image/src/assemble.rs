//! Assembles one image: layers, config, manifest.
//!
//! Layers that rarely change are below those that often do: a base image, the certificates, included files, the
//! binary. A code change makes only a new binary layer.
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use oci_spec::{
    OciSpecError,
    image::{
        ANNOTATION_BASE_IMAGE_DIGEST, ANNOTATION_BASE_IMAGE_NAME, ANNOTATION_REF_NAME, Arch, Config,
        ConfigBuilder, Descriptor, History, HistoryBuilder, ImageConfiguration, ImageConfigurationBuilder,
        ImageManifest, ImageManifestBuilder, MediaType, Os, Platform, RootFsBuilder,
    },
};

use super::{
    Layout, LayoutError,
    certificates::{self, CERTIFICATES},
    include::IncludedFile,
    layer::{Access, Content, Effort, Layer, LayerError, Node, Tree},
    layer_cache::LayerCache,
    tarball::SourceError,
};

/// The app's directory in an image, without the leading slash.
const APP: &str = "app";
/// The creation time of everything.
const EPOCH: &str = "1970-01-01T00:00:00Z";
/// Labels that describe the base image, and would be wrong for an image made from it.
const OWN_LABELS: &str = "org.opencontainers.image.";

/// The contents of an image.
#[derive(Debug, Clone)]
pub struct ImageSpec {
    /// The worker type, and the image's name in the layout.
    pub name: String,
    /// The top layer, and what the image starts.
    pub binary: Binary,
    /// A layer each, below everything that changes with the app.
    pub data: Vec<DataLayer>,
    /// Below `/app`.
    pub included: Vec<IncludedFile>,
    /// What is below the layers of the app.
    pub base: Base,
    /// A base image must be for the same one.
    pub platform: Platform,
    /// As `UID:GID`.
    pub user: String,
    /// In addition to those of every worker.
    pub env: BTreeMap<String, String>,
    /// Added to those of the base image; the same name replaces its value.
    pub labels: BTreeMap<String, String>,
}

/// Files that images share as a layer of their own: the same files give the same layer in every image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataLayer {
    /// What it is, for people.
    pub name: String,
    /// Where the files are in the image, without the leading slash.
    pub directory: String,
    /// Files on this machine, by their path below the directory.
    pub files: BTreeMap<String, PathBuf>,
    /// Of all of them: code is executable, as libraries are.
    pub access: Access,
}

/// The app.
#[derive(Debug, Clone)]
pub struct Binary {
    /// Where it is on this machine.
    pub path: PathBuf,
    /// Its name below `/app`.
    pub name: String,
    /// How it gets its libraries.
    pub linkage: Linkage,
}

/// Where a binary has its libraries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linkage {
    /// In itself: it runs on any base.
    Static,
    /// In the base that it was linked for.
    Dynamic,
}

/// The base of an image.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "there is one for each image")]
pub enum Base {
    /// An empty image.
    Scratch,
    /// An image whose blobs are in the same layout.
    Image {
        /// Its manifest in that layout.
        manifest: Descriptor,
        /// As the user wrote it.
        reference: String,
    },
}

/// An image in the layout. It is not in the index yet.
#[derive(Debug, Clone)]
pub struct Image {
    /// The worker type, as in [`ImageSpec::name`].
    pub name: String,
    /// With its platform, and its name in the index.
    pub manifest: Descriptor,
    /// Its OCI config: entry point, user, variables, labels.
    pub config: Descriptor,
    /// How its binary is meant to be linked.
    pub linkage: Linkage,
    /// The layers of its base, lowest first.
    pub base_layers: Vec<Descriptor>,
    /// The layers above the base, lowest first; the last one holds the binary.
    pub layers: Vec<Layer>,
    /// The sum of all layers, compressed.
    pub compressed: u64,
    /// The sum of all layers, unpacked.
    pub unpacked: u64,
    /// Its parts, largest first.
    pub parts: Vec<Part>,
}

/// A part of an image that takes space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// A path in the image, or a base image's reference.
    pub name: String,
    /// Its unpacked size.
    pub bytes: u64,
}

/// Why an image cannot be assembled.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant says what it is")]
pub enum AssembleError {
    #[error(transparent)]
    Layer(#[from] LayerError),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error("the base image {reference} is for {found}, but the image is for {wanted}")]
    OtherPlatform { reference: String, found: String, wanted: String },
    #[error("the base image {reference} is damaged: it has {layers} layers but {digests} digests")]
    DamagedBase { reference: String, layers: usize, digests: usize },
    #[error("cannot encode the manifest of the image `{name}`")]
    Describe { name: String, source: OciSpecError },
}

/// Makes the images of one build.
#[derive(Debug)]
pub struct Assembler {
    layout: Layout,
    layer_cache: LayerCache,
}

/// The parts of a base image that images on it need.
#[derive(Default)]
struct Below {
    layers: Vec<Descriptor>,
    diff_ids: Vec<String>,
    history: Option<Vec<History>>,
    config: Config,
    unpacked: u64,
    annotations: HashMap<String, String>,
    part: Option<Part>,
}

impl Assembler {
    /// For this layout.
    pub fn new(layout: &Layout) -> Self {
        Self { layout: layout.clone(), layer_cache: LayerCache::open(layout.clone()) }
    }

    /// Writes an image into the layout.
    ///
    /// # Errors
    /// When a file cannot be read, the layout cannot be written, or the base does not fit.
    pub fn assemble(&mut self, spec: &ImageSpec) -> Result<Image, AssembleError> {
        let below = match &spec.base {
            Base::Scratch => Below { history: Some(Vec::new()), ..Below::default() },
            Base::Image { manifest, reference } => self.below(spec, manifest, reference)?,
        };
        let layers = self.layers(spec)?;
        let undescribed = |source| AssembleError::Describe { name: spec.name.clone(), source };
        let config = config(spec, &below, &layers).map_err(undescribed)?;
        let config = self.layout.put_json(MediaType::ImageConfig, &config)?;
        let descriptors = layers.iter().map(|layer| layer.descriptor.clone());
        let manifest = ImageManifestBuilder::default()
            .schema_version(2u32)
            .media_type(MediaType::ImageManifest)
            .config(config.clone())
            .layers(below.layers.iter().cloned().chain(descriptors).collect::<Vec<_>>());
        let manifest = match below.annotations.is_empty() {
            true => manifest,
            false => manifest.annotations(below.annotations),
        };
        let manifest = manifest.build().map_err(undescribed)?;
        let mut descriptor = self.layout.put_json(MediaType::ImageManifest, &manifest)?;
        descriptor.set_platform(Some(spec.platform.clone()));
        descriptor
            .set_annotations(Some(HashMap::from([(ANNOTATION_REF_NAME.to_owned(), spec.name.clone())])));
        Ok(Image {
            name: spec.name.clone(),
            manifest: descriptor,
            config,
            linkage: spec.binary.linkage,
            compressed: manifest.layers().iter().map(Descriptor::size).sum(),
            unpacked: below.unpacked + layers.iter().map(|layer| layer.unpacked).sum::<u64>(),
            parts: parts(spec, below.part)?,
            base_layers: below.layers,
            layers,
        })
    }

    fn layers(&mut self, spec: &ImageSpec) -> Result<Vec<Layer>, LayerError> {
        let mut layers = vec![self.layer_cache.layer(system_files()?, Effort::Code)?];
        for data in &spec.data {
            let mut tree = Tree::default();
            for (path, source) in &data.files {
                let content = Content::OnDisk(source.clone());
                let node = Node::File { content, access: data.access };
                tree.add(&format!("{}/{path}", data.directory), node)?;
            }
            let effort = match data.access {
                Access::Readable => Effort::Data,
                Access::Executable => Effort::Code,
            };
            layers.push(self.layer_cache.layer(tree, effort)?);
        }
        if !spec.included.is_empty() {
            let mut tree = Tree::default();
            for file in &spec.included {
                let content = Content::OnDisk(file.source.clone());
                tree.add(&format!("{APP}/{}", file.path), Node::File { content, access: file.access })?;
            }
            layers.push(self.layer_cache.layer(tree, Effort::Data)?);
        }
        let mut tree = Tree::default();
        let content = Content::OnDisk(spec.binary.path.clone());
        tree.add(&binary_path(spec), Node::File { content, access: Access::Executable })?;
        layers.push(self.layer_cache.layer(tree, Effort::Code)?);
        Ok(layers)
    }

    fn below(
        &self,
        spec: &ImageSpec,
        manifest: &Descriptor,
        reference: &str,
    ) -> Result<Below, AssembleError> {
        let digest = manifest.digest().to_string();
        let manifest: ImageManifest = self.layout.read_json(manifest)?;
        let config: ImageConfiguration = self.layout.read_json(manifest.config())?;
        if (config.os(), config.architecture()) != (spec.platform.os(), spec.platform.architecture()) {
            return Err(AssembleError::OtherPlatform {
                reference: reference.to_owned(),
                found: platform_name(config.os(), config.architecture()),
                wanted: platform_name(spec.platform.os(), spec.platform.architecture()),
            });
        }
        let diff_ids = config.rootfs().diff_ids().clone();
        let layers: Vec<Descriptor> = manifest.layers().iter().map(oci_layer).collect();
        if diff_ids.len() != layers.len() {
            return Err(AssembleError::DamagedBase {
                reference: reference.to_owned(),
                layers: layers.len(),
                digests: diff_ids.len(),
            });
        }
        let unpacked = layers.iter().map(|layer| self.layout.unpacked_size(layer)).sum::<Result<u64, _>>()?;
        // A history that does not cover every layer would be wrong about ours.
        let complete = |history: &Vec<History>| {
            history.iter().filter(|step| step.empty_layer() != Some(true)).count() == layers.len()
        };
        Ok(Below {
            history: config.history().clone().filter(complete),
            config: config.config().clone().unwrap_or_default(),
            annotations: HashMap::from([
                (ANNOTATION_BASE_IMAGE_DIGEST.to_owned(), digest),
                (ANNOTATION_BASE_IMAGE_NAME.to_owned(), reference.to_owned()),
            ]),
            part: Some(Part { name: format!("base image {reference}"), bytes: unpacked }),
            layers,
            diff_ids,
            unpacked,
        })
    }
}

/// What every image has: the certificate authorities to trust, and a directory for temporary files.
fn system_files() -> Result<Tree, LayerError> {
    let mut tree = Tree::default();
    let content = Content::Bytes(certificates::bundle());
    tree.add(CERTIFICATES, Node::File { content, access: Access::Readable })?;
    tree.add("tmp", Node::SharedDirectory)?;
    Ok(tree)
}

fn binary_path(spec: &ImageSpec) -> String {
    format!("{APP}/{}", spec.binary.name)
}

fn platform_name(os: &Os, architecture: &Arch) -> String {
    format!("{os}/{architecture}")
}

/// The same layer with its media type in an OCI manifest.
fn oci_layer(layer: &Descriptor) -> Descriptor {
    let media_type = match layer.media_type().as_ref() {
        "application/vnd.docker.image.rootfs.diff.tar" => MediaType::ImageLayer,
        "application/vnd.docker.image.rootfs.diff.tar.gzip"
        | "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" => MediaType::ImageLayerGzip,
        "application/vnd.docker.image.rootfs.diff.tar.zstd" => MediaType::ImageLayerZstd,
        _ => layer.media_type().clone(),
    };
    Descriptor::new(media_type, layer.size(), layer.digest().clone())
}

fn config(spec: &ImageSpec, below: &Below, layers: &[Layer]) -> Result<ImageConfiguration, OciSpecError> {
    let mut labels: HashMap<String, String> = below.config.labels().clone().unwrap_or_default();
    labels.retain(|key, _| !key.starts_with(OWN_LABELS));
    labels.extend(spec.labels.clone());
    let config = ConfigBuilder::default()
        .entrypoint(vec![format!("/{}", binary_path(spec))])
        .working_dir(format!("/{APP}"))
        .user(spec.user.clone())
        .env(env(spec, below.config.env().as_deref().unwrap_or_default()))
        .labels(labels)
        .build()?;
    let digests = layers.iter().map(|layer| layer.diff_id.to_string());
    let rootfs = RootFsBuilder::default()
        .typ("layers")
        .diff_ids(below.diff_ids.iter().cloned().chain(digests).collect::<Vec<_>>())
        .build()?;
    let image = ImageConfigurationBuilder::default()
        .created(EPOCH)
        .architecture(spec.platform.architecture().clone())
        .os(spec.platform.os().clone())
        .config(config)
        .rootfs(rootfs);
    let image = match spec.platform.variant() {
        Some(variant) => image.variant(variant.clone()),
        None => image,
    };
    match &below.history {
        Some(history) => image.history(with_ours(spec, history)?),
        None => image,
    }
    .build()
}

/// The base's variables with ours: a variable of the same name is replaced in place.
fn env(spec: &ImageSpec, base: &[String]) -> Vec<String> {
    let mut ours = spec.env.clone();
    ours.insert(flash_protocol::variables::ROLE.to_owned(), "worker".to_owned());
    ours.insert(flash_protocol::variables::WORKER.to_owned(), spec.name.clone());
    ours.insert("SSL_CERT_FILE".to_owned(), format!("/{CERTIFICATES}"));
    let name = |variable: &String| variable.split('=').next().unwrap_or_default().to_owned();
    let kept = base.iter().filter(|variable| !ours.contains_key(&name(variable))).cloned();
    kept.chain(ours.iter().map(|(name, value)| format!("{name}={value}"))).collect()
}

fn with_ours(spec: &ImageSpec, base: &[History]) -> Result<Vec<History>, OciSpecError> {
    let included = (!spec.included.is_empty()).then_some("included files");
    let data = spec.data.iter().map(|data| data.name.as_str());
    let steps = std::iter::once("certificates").chain(data).chain(included).chain(["binary"]);
    let ours = steps
        .map(|step| HistoryBuilder::default().created(EPOCH).created_by("flash build").comment(step).build());
    base.iter().cloned().map(Ok).chain(ours).collect()
}

fn parts(spec: &ImageSpec, base: Option<Part>) -> Result<Vec<Part>, LayerError> {
    let size = |path: &Path| match std::fs::metadata(path) {
        Ok(file) => Ok(file.len()),
        Err(source) => Err(SourceError::Read { path: path.to_owned(), source }),
    };
    let mut parts = vec![Part { name: format!("/{}", binary_path(spec)), bytes: size(&spec.binary.path)? }];
    for file in &spec.included {
        parts.push(Part { name: format!("/{APP}/{}", file.path), bytes: size(&file.source)? });
    }
    for data in &spec.data {
        let bytes = data.files.values().map(|source| size(source)).sum::<Result<u64, _>>()?;
        parts.push(Part { name: data.name.clone(), bytes });
    }
    parts.extend(base);
    parts.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    Ok(parts)
}
