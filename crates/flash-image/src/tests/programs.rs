use oci_spec::image::ImageManifest;

use super::{
    super::layer::{Content, Effort, Node, Tree},
    *,
};

/// A base as from a registry, with a program and a path of its own.
pub(super) fn base(project: &Project) -> Base {
    let mut tree = Tree::default();
    let program = Node::File { content: Content::Bytes(b"#!".to_vec()), access: Access::Executable };
    tree.add("opt/ffmpeg/bin/ffmpeg", program).unwrap();
    let layer = tree.write(&project.layout, Effort::Code).unwrap();
    let config = serde_json::json!({
        "architecture": this_machine(),
        "os": "linux",
        "config": { "Env": ["PATH=/opt/ffmpeg/bin:/bin"] },
        "rootfs": { "type": "layers", "diff_ids": [layer.diff_id.to_string()] },
    });
    let config = project.layout.put_json(MediaType::ImageConfig, &config).unwrap();
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": MediaType::ImageManifest, "config": config, "layers": [layer.descriptor],
    });
    let manifest = project.layout.put_json(MediaType::ImageManifest, &manifest).unwrap();
    Base::Image { manifest, reference: "example.org/ffmpeg:7".to_owned() }
}

fn missing(project: &Project, image: &Image, needed: &[&str]) -> Option<MissingPrograms> {
    let needed: Vec<String> = needed.iter().map(|&name| name.to_owned()).collect();
    ProgramSearch::new(&project.layout).missing(image, &needed).unwrap()
}

#[test]
fn programs_of_a_base_are_found_by_its_path_and_others_are_told() {
    let project = Project::new();
    let image = project.assemble(&ImageSpec { base: base(&project), ..project.running_spec("clips") });
    assert_eq!(missing(&project, &image, &["ffmpeg", "/opt/ffmpeg/bin/ffmpeg", "./app"]), None);
    let told = missing(&project, &image, &["ffmpeg", "sox", "models/small.bin"]).unwrap();
    assert_eq!(told.programs, ["sox", "models/small.bin"], "a file that may not be executed is no program");
    assert_eq!(told.path, "/opt/ffmpeg/bin:/bin");
    let alone = project.assemble(&project.running_spec("clips"));
    assert_eq!(missing(&project, &alone, &["ffmpeg"]).unwrap().programs, ["ffmpeg"]);
}

#[test]
fn a_layer_in_a_format_that_cannot_be_read_is_told_and_a_damaged_one_is_an_error() {
    let project = Project::new();
    let mut image = project.assemble(&ImageSpec { base: base(&project), ..project.running_spec("clips") });
    let search = |image: &Image| ProgramSearch::new(&project.layout).missing(image, &["ffmpeg".to_owned()]);
    let manifest: ImageManifest = project.manifest(&image);
    assert_eq!(manifest.layers()[0], image.base_layers[0]);
    std::fs::write(project.layout.blob(image.base_layers[0].digest()), b"no gzip").unwrap();
    assert!(matches!(search(&image), Err(ProgramsError::Layout(LayoutError::Damaged { .. }))));
    image.base_layers[0].set_media_type(MediaType::ImageLayerZstd);
    let error = search(&image).unwrap_err();
    assert!(matches!(error, ProgramsError::Compression { .. }), "{error}");
}
