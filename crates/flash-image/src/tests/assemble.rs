use std::collections::{BTreeMap, HashMap};

use oci_spec::image::{
    Config, ConfigBuilder, HistoryBuilder, ImageConfigurationBuilder, ImageManifestBuilder, MediaType,
    RootFsBuilder,
};

use crate::Access;

use super::{
    super::{
        DataLayer,
        layer::{Content, Effort, Node, Tree},
    },
    *,
};

#[test]
fn the_same_sources_in_two_directories_give_the_same_image() {
    let (one, other) = (Project::new(), Project::new());
    let images: Vec<Image> =
        [&one, &other].map(|project| project.assemble(&project.spec("classify"))).to_vec();
    assert_eq!(images[0].manifest, images[1].manifest);
    assert_eq!(images[0].config, images[1].config);
    // Maps have another order each time, even within one process.
    for _ in 0..20 {
        assert_eq!(one.assemble(&one.spec("classify")).manifest, images[0].manifest);
    }
    let files = ["oci-layout", "index.json"];
    for project in [&one, &other] {
        project.layout.set_index(std::slice::from_ref(&images[0].manifest)).unwrap();
    }
    for file in files {
        let read = |project: &Project| std::fs::read(project.layout.directory().join(file)).unwrap();
        assert_eq!(read(&one), read(&other), "{file}");
    }
}

#[test]
fn an_image_starts_the_binary_as_nobody_and_says_which_worker_it_is() {
    let project = Project::new();
    let mut spec = project.spec("classify");
    spec.env.insert("RUST_LOG".to_owned(), "info".to_owned());
    let image = project.assemble(&spec);
    let config = project.config(&image);
    assert_eq!(config.created().as_deref(), Some("1970-01-01T00:00:00Z"));
    assert_eq!((config.os(), config.architecture()), (&Os::Linux, &Arch::Amd64));
    let run = config.config().as_ref().unwrap();
    assert_eq!(run.entrypoint().as_deref(), Some(["/app/app".to_owned()].as_slice()));
    assert_eq!((run.working_dir().as_deref(), run.user().as_deref()), (Some("/app"), Some("65532:65532")));
    let env = ["FLASH_ROLE=worker", "FLASH_WORKER=classify", "RUST_LOG=info"];
    let env = env.iter().chain(&["SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"]);
    assert!(run.env().as_ref().unwrap().iter().eq(env), "{:?}", run.env());
    assert_eq!(run.labels().as_ref().unwrap().get("org.opencontainers.image.title").unwrap(), "classify");

    let manifest = project.manifest(&image);
    assert_eq!(manifest.layers().len(), 3);
    assert_eq!(config.rootfs().diff_ids().len(), 3);
    assert_eq!(config.history().as_ref().unwrap().len(), 3);
    assert_eq!(image.compressed, manifest.layers().iter().map(Descriptor::size).sum::<u64>());
    assert!(image.unpacked > image.compressed);
    assert_eq!(image.manifest.platform().as_ref(), Some(&spec.platform));
    let name = image.manifest.annotations().as_ref().unwrap().get("org.opencontainers.image.ref.name");
    assert_eq!(name.unwrap(), "classify");
}

#[test]
fn a_code_change_makes_a_new_binary_layer_and_no_other() {
    let project = Project::new();
    let before = project.assemble(&project.spec("classify"));
    project.write("binary", "the app with a change");
    let after = project.assemble(&project.spec("classify"));
    assert_eq!(before.layers[..2], after.layers[..2]);
    assert_ne!(before.layers[2], after.layers[2]);
    project.write("models/small.bin", "better weights");
    let retrained = project.assemble(&project.spec("classify"));
    assert_ne!(after.layers[1], retrained.layers[1]);
    assert_eq!(after.layers[2], retrained.layers[2]);
}

#[test]
fn worker_types_share_what_is_the_same() {
    let project = Project::new();
    let mut assembler = Assembler::new(&project.layout);
    let classify = assembler.assemble(&project.spec("classify")).unwrap();
    let resize = assembler.assemble(&ImageSpec { included: Vec::new(), ..project.spec("resize") }).unwrap();
    assert_eq!([&classify.layers[0], &classify.layers[2]], [&resize.layers[0], &resize.layers[1]]);
    assert_ne!(classify.config, resize.config);
    // Three layers, and a config and a manifest for each.
    assert_eq!(project.blobs(), 7);
}

#[test]
fn a_model_is_a_layer_of_its_own_that_all_worker_types_share_and_a_code_change_leaves_alone() {
    let project = Project::new();
    project.write("cache/weights.bin", "many bytes");
    let data = DataLayer {
        name: "model org/name@v1".to_owned(),
        directory: "models/org--name/0123".to_owned(),
        files: BTreeMap::from([("onnx/weights.bin".to_owned(), project.path("cache/weights.bin"))]),
        access: Access::Readable,
    };
    let with = |worker: &str| ImageSpec { data: vec![data.clone()], ..project.spec(worker) };
    let mut assembler = Assembler::new(&project.layout);
    let one = assembler.assemble(&with("classify")).unwrap();
    let other = assembler.assemble(&ImageSpec { included: Vec::new(), ..with("resize") }).unwrap();
    assert_eq!(one.layers[1], other.layers[1]);
    project.write("binary", "the app with a change");
    let after = project.assemble(&with("classify"));
    assert_eq!((one.layers.len(), &one.layers[..3]), (4, &after.layers[..3]));
    let blob = project.layout.read(&one.layers[1].descriptor).unwrap();
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(blob.as_slice()));
    let names: Vec<String> =
        tar.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect();
    assert_eq!(names.last().unwrap(), "models/org--name/0123/onnx/weights.bin");
    assert!(one.parts.contains(&Part { name: "model org/name@v1".to_owned(), bytes: 10 }));
}

#[test]
fn the_largest_parts_come_first() {
    let project = Project::new();
    project.write("models/large.bin", &"w".repeat(5_000));
    let parts = project.assemble(&project.spec("classify")).parts;
    let part = |name: &str, bytes| Part { name: name.to_owned(), bytes };
    let expected =
        [part("/app/models/large.bin", 5_000), part("/app/app", 7), part("/app/models/small.bin", 7)];
    assert_eq!(parts, expected);
}

/// A base image as from a registry: Docker's media types, and its own settings.
fn base(project: &Project, architecture: Arch) -> (Descriptor, Descriptor) {
    let mut tree = Tree::default();
    let content = Content::Bytes(vec![b'x'; 20_000]);
    tree.add("usr/lib/libcudart.so", Node::File { content, access: Access::Readable }).unwrap();
    let layer = tree.write(&project.layout, Effort::Code).unwrap();
    let labels = [("maintainer", "someone"), ("org.opencontainers.image.version", "22.04")];
    let config: Config = ConfigBuilder::default()
        .env(vec!["PATH=/usr/local/cuda/bin:/bin".to_owned(), "SSL_CERT_FILE=/other".to_owned()])
        .cmd(vec!["/bin/bash".to_owned()])
        .labels(HashMap::from(labels.map(|(key, value)| (key.to_owned(), value.to_owned()))))
        .build()
        .unwrap();
    let step = |empty| HistoryBuilder::default().created_by("step").empty_layer(empty).build().unwrap();
    let config = ImageConfigurationBuilder::default()
        .architecture(architecture)
        .os(Os::Linux)
        .config(config)
        .rootfs(
            RootFsBuilder::default().typ("layers").diff_ids(vec![layer.diff_id.to_string()]).build().unwrap(),
        )
        .history(vec![step(false), step(true)])
        .build()
        .unwrap();
    let config =
        project.layout.put_json(MediaType::from("application/vnd.docker.container.image.v1+json"), &config);
    let docker = MediaType::from("application/vnd.docker.image.rootfs.diff.tar.gzip");
    let below = Descriptor::new(docker, layer.descriptor.size(), layer.descriptor.digest().clone());
    let docker = MediaType::from("application/vnd.docker.distribution.manifest.v2+json");
    let manifest = ImageManifestBuilder::default()
        .schema_version(2u32)
        .media_type(docker.clone())
        .config(config.unwrap())
        .layers(vec![below])
        .build()
        .unwrap();
    (project.layout.put_json(docker, &manifest).unwrap(), layer.descriptor)
}

#[test]
fn an_image_on_a_base_keeps_its_layers_and_settings_below_ours() {
    let project = Project::new();
    let (manifest, below) = base(&project, Arch::Amd64);
    let base = Base::Image { manifest: manifest.clone(), reference: "example.org/cuda:13".to_owned() };
    let image = project.assemble(&ImageSpec { base, ..project.spec("train") });
    assert_eq!(image.base_layers, std::slice::from_ref(&below), "under its OCI media type");
    let on_it = project.manifest(&image);
    assert_eq!((on_it.layers().len(), &on_it.layers()[0]), (4, &below));
    let annotations = on_it.annotations().as_ref().unwrap();
    assert_eq!(annotations.get("org.opencontainers.image.base.name").unwrap(), "example.org/cuda:13");
    assert_eq!(
        annotations.get("org.opencontainers.image.base.digest").unwrap(),
        &manifest.digest().to_string()
    );

    let config = project.config(&image);
    assert_eq!(config.rootfs().diff_ids().len(), 4);
    assert_eq!(config.history().as_ref().unwrap().len(), 5);
    let run = config.config().as_ref().unwrap();
    assert_eq!(run.cmd(), &None);
    let env = run.env().as_ref().unwrap();
    assert_eq!(env[0], "PATH=/usr/local/cuda/bin:/bin");
    let bundles: Vec<&String> =
        env.iter().filter(|variable| variable.starts_with("SSL_CERT_FILE=")).collect();
    assert_eq!(bundles, ["SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"]);
    let labels = run.labels().as_ref().unwrap();
    assert_eq!(labels.get("maintainer").unwrap(), "someone");
    assert_eq!(labels.get("org.opencontainers.image.version").unwrap(), "train", "and not the base's");
    let part = &image.parts[0];
    assert!(part.name == "base image example.org/cuda:13" && part.bytes > 20_000, "{part:?}");
    assert!(image.unpacked > 20_000);
}

#[test]
fn a_base_for_another_machine_is_refused() {
    let project = Project::new();
    let (manifest, _) = base(&project, Arch::ARM64);
    let base = Base::Image { manifest, reference: "example.org/cuda:13".to_owned() };
    let error = Assembler::new(&project.layout).assemble(&ImageSpec { base, ..project.spec("train") });
    let message = error.unwrap_err().to_string();
    assert_eq!(
        message,
        "the base image example.org/cuda:13 is for linux/arm64, but the image is for linux/amd64"
    );
}
