use super::*;

/// A layout with one image in its index.
fn built(spec: impl FnOnce(&Project) -> ImageSpec) -> (Project, Image) {
    let project = Project::new();
    let image = project.assemble(&spec(&project));
    project.layout.set_index(std::slice::from_ref(&image.manifest)).unwrap();
    (project, image)
}

#[test]
fn skopeo_finds_an_image_by_its_worker_type() {
    let Some(mut skopeo) = tool("skopeo") else { return };
    let (project, image) = built(|project| project.spec("classify"));
    let source = format!("oci:{}:classify", project.layout.directory().display());
    let inspected = output(skopeo.arg("inspect").arg(&source));
    let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["Digest"], image.manifest.digest().to_string());
    assert_eq!((&inspected["Os"], &inspected["Architecture"]), (&"linux".into(), &"amd64".into()));
    assert_eq!(inspected["Layers"].as_array().unwrap().len(), 3);
    assert_eq!(inspected["Created"], "1970-01-01T00:00:00Z");
    // Copying reads every blob and compares its digest.
    let copy = format!("oci:{}:copy", project.path("copy").display());
    output(tool("skopeo").unwrap().args(["copy", "--preserve-digests"]).args([&source, &copy]));
}

#[test]
fn umoci_unpacks_an_image_to_the_app_the_certificates_and_a_place_for_temporary_files() {
    use std::os::unix::fs::PermissionsExt as _;

    let Some(mut umoci) = tool("umoci") else { return };
    let (project, _) = built(|project| project.spec("classify"));
    let image = format!("{}:classify", project.layout.directory().display());
    let bundle = project.path("bundle");
    output(umoci.args(["unpack", "--rootless", "--image", &image]).arg(&bundle));
    let listed =
        output(Command::new("find").args([".", "-mindepth", "1"]).current_dir(bundle.join("rootfs")));
    let mut listed: Vec<&str> = listed.lines().collect();
    listed.sort_unstable();
    let all = [
        "./app",
        "./app/app",
        "./app/models",
        "./app/models/small.bin",
        "./etc",
        "./etc/ssl",
        "./etc/ssl/certs",
        "./etc/ssl/certs/ca-certificates.crt",
        "./tmp",
    ];
    assert_eq!(listed, all);
    let mode = |path: &str| {
        let metadata = std::fs::metadata(bundle.join("rootfs").join(path)).unwrap();
        metadata.permissions().mode() & 0o7777
    };
    let modes = ["app", "app/app", "app/models/small.bin", "tmp"].map(mode);
    assert_eq!(modes, [0o755, 0o755, 0o644, 0o1777]);
    assert_eq!(std::fs::read(bundle.join("rootfs/app/app")).unwrap(), b"the app");
    let config = std::fs::read(bundle.join("config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(config["process"]["args"], serde_json::json!(["/app/app"]));
}
