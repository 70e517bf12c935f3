use super::*;

fn archived(image: &Image) -> ArchivedImage {
    let (manifest, name) = (image.manifest.clone(), image.name.clone());
    ArchivedImage { manifest, reference: format!("localhost/shop/{name}:v1"), name }
}

fn archive(project: &Project, specs: &[ImageSpec]) -> PathBuf {
    let images: Vec<ArchivedImage> = specs.iter().map(|spec| archived(&project.assemble(spec))).collect();
    let file = project.path("images.tar");
    write_archive(&file, &project.layout, &images).unwrap();
    file
}

#[test]
fn the_same_images_give_the_same_archive() {
    let archives = [Project::new(), Project::new()].map(|project| {
        let specs = [project.spec("classify"), project.spec("resize")];
        std::fs::read(archive(&project, &specs)).unwrap()
    });
    assert!(archives[0] == archives[1]);
}

#[test]
fn an_archive_that_cannot_be_written_leaves_the_old_one_and_nothing_else() {
    let project = Project::new();
    let file = archive(&project, &[project.spec("classify")]);
    let before = std::fs::read(&file).unwrap();
    let files = || std::fs::read_dir(project.directory.path()).unwrap().count();
    let there = files();
    let image = project.assemble(&project.spec("resize"));
    std::fs::remove_file(project.layout.blob(image.layers[2].descriptor.digest())).unwrap();
    let error = write_archive(&file, &project.layout, &[archived(&image)]).unwrap_err();
    assert!(matches!(error, ArchiveError::Source(SourceError::Read { .. })), "{error}");
    assert_eq!(files(), there);
    assert!(std::fs::read(&file).unwrap() == before);
    let error = write_archive(&project.path("none/images.tar"), &project.layout, &[]).unwrap_err();
    assert!(
        matches!(&error, ArchiveError::Write { path, .. } if path.ends_with("none/images.tar")),
        "{error}"
    );
}

#[test]
fn skopeo_reads_every_image_of_an_archive_in_both_formats() {
    let project = Project::new();
    let specs = [project.spec("classify"), project.spec("resize")];
    let file = archive(&project, &specs);
    for spec in &specs {
        let Some(mut skopeo) = tool("skopeo") else { return };
        let image = project.assemble(spec);
        let source = format!("oci-archive:{}:{}", file.display(), spec.name);
        let target = project.path(&format!("{}-copy", spec.name));
        output(skopeo.arg("copy").arg(source).arg(format!("dir:{}", target.display())));
        let copied = std::fs::read(target.join("manifest.json")).unwrap();
        assert_eq!(copied, project.layout.read(&image.manifest).unwrap());
        let source = format!("docker-archive:{}:localhost/shop/{}:v1", file.display(), spec.name);
        let config = output(tool("skopeo").unwrap().args(["inspect", "--config", "--raw"]).arg(source));
        assert_eq!(config.as_bytes(), project.layout.read(&image.config).unwrap());
    }
}

#[test]
fn podman_loads_an_archive_and_the_images_run() {
    let project = Project::new();
    let file = archive(&project, &[project.running_spec("classify"), project.running_spec("resize")]);
    let podman = || {
        let mut podman = tool("podman")?;
        podman.args(["--storage-driver=vfs", "--runtime=runc", "--cgroup-manager=cgroupfs", "--root"]);
        podman.arg(project.path("storage")).arg("--runroot").arg(project.path("run"));
        Some(podman)
    };
    let Some(mut load) = podman() else { return };
    output(load.args(["load", "--quiet", "--input"]).arg(&file));
    for worker in ["classify", "resize"] {
        let image = format!("localhost/shop/{worker}:v1");
        let mut run = podman().unwrap();
        run.args(["run", "--rm", "--network=none", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000"]);
        assert_eq!(output(run.arg(&image)), format!("{worker} weights true\n"));
    }
}
