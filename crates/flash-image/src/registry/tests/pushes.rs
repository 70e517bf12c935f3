//! Pushes to a working registry.
use std::process::Command;

use bytes::Bytes;
use oci_spec::image::{ImageIndex, ImageManifest};
use parking_lot::Mutex;

use super::*;
use crate::{
    Layout,
    registry::{Attachment, attach::attach},
};

/// What a registry has under a name, according to skopeo.
fn inspect(image: &str) -> serde_json::Value {
    let skopeo = ["inspect", "--tls-verify=false", "--raw", &format!("docker://{image}")];
    let output = Command::new("skopeo").args(skopeo).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn another_tool_pulls_what_was_pushed_byte_for_byte() {
    let Some(server) = docker_registry() else { return };
    if !docker_registry::has_programs(&["skopeo"]) {
        return;
    }
    let image = Image::of(1, &[300_000, 10, 5_000_000]);
    let to = name(&server.address, "team/app:1");
    let told = Mutex::new(Vec::new());
    let tell = |progress| told.lock().push(progress);
    let registry = registry(&to, Logins::default());
    let pushed =
        super::super::push(&registry, &image.layout, &image.manifest, &[], &to, &tell).await.unwrap();
    assert_eq!((pushed.uploaded, pushed.skipped, pushed.mounted), (4, 0, 0));
    assert!(pushed.uploaded_bytes > 5_300_010, "{pushed:?}");
    assert_eq!(pushed.digest, *image.manifest.digest());
    assert_eq!(server.tags("team/app"), ["1"]);
    for layer in &image.layers {
        let told = told.lock();
        let mut own = told.iter().filter(|progress| progress.digest == *layer.digest());
        assert!(own.any(|progress| progress.done == layer.size() && progress.total == layer.size()));
    }

    let directory = tempfile::TempDir::new().unwrap();
    let pulled = directory.path().join("pulled");
    let output = Command::new("skopeo")
        .args(["--insecure-policy", "copy", "--src-tls-verify=false", "--preserve-digests"])
        .arg(format!("docker://{to}"))
        .arg(format!("oci:{}", pulled.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let pulled = Layout::create(&pulled).unwrap();
    let found = pulled.index().unwrap().manifests()[0].clone();
    assert_eq!(found.digest(), image.manifest.digest());
    for layer in &image.layers {
        assert_eq!(pulled.read(layer).unwrap(), image.layout.read(layer).unwrap());
    }
}

#[tokio::test]
async fn what_is_there_is_not_sent_again() {
    let Some(server) = docker_registry() else { return };
    let image = Image::of(2, &[200_000, 100]);
    let to = name(&server.address, "app:1");
    assert_eq!(push(&image, &to).await.unwrap().uploaded, 3);
    let again = push(&image, &to).await.unwrap();
    assert_eq!((again.uploaded, again.skipped, again.uploaded_bytes), (0, 3, 0));
    // Another tag for the same image, and another image with one of its layers.
    let other_tag = push(&image, &name(&server.address, "app:2")).await.unwrap();
    assert_eq!((other_tag.uploaded, other_tag.skipped), (0, 3));
    let changed = push(&Image::of(2, &[200_000, 101]), &to).await.unwrap();
    assert_eq!((changed.uploaded, changed.skipped), (2, 1));
    assert_eq!(server.tags("app").len(), 2);
}

#[tokio::test]
async fn a_layer_that_appears_twice_is_sent_once() {
    let Some(server) = docker_registry() else { return };
    let image = Image::of(3, &[0, 0, 100]);
    let to = name(&server.address, "app:1");
    // As a separate task, on any thread.
    let pushed = tokio::spawn(async move { push(&image, &to).await }).await.unwrap().unwrap();
    assert_eq!(pushed.uploaded, 3);
}

#[tokio::test]
async fn the_next_repository_gets_what_the_one_before_has() {
    let Some(server) = docker_registry() else { return };
    let image = Image::of(4, &[200_000, 100]);
    let (first, second) = (name(&server.address, "app/cpu:1"), name(&server.address, "app/gpu:1"));
    let registry = registry(&first, Logins::default());
    let send = async |to: &Reference| {
        super::super::push(&registry, &image.layout, &image.manifest, &[], to, &|_| {}).await.unwrap()
    };
    assert_eq!(send(&first).await.uploaded, 3);
    let mounted = send(&second).await;
    assert_eq!((mounted.uploaded, mounted.mounted, mounted.uploaded_bytes), (0, 3, 0));
    assert_eq!(server.tags("app/gpu"), ["1"]);
}

#[tokio::test]
async fn an_image_without_a_tag_is_there_by_its_digest() {
    let Some(server) = docker_registry() else { return };
    let image = Image::of(5, &[100]);
    let to = name(&server.address, &format!("app@{}", image.manifest.digest()));
    push(&image, &to).await.unwrap();
    assert_eq!(server.tags("app"), [""; 0]);
    assert!(server.blob(image.manifest.digest().digest()).is_file());
}

#[tokio::test]
async fn an_attachment_is_found_from_its_image_and_is_there_once() {
    let Some(server) = docker_registry() else { return };
    if !docker_registry::has_programs(&["skopeo"]) {
        return;
    }
    let image = Image::of(6, &[100]);
    let to = name(&server.address, "app:1");
    push(&image, &to).await.unwrap();
    let attachment = |file_name: &str| Attachment {
        artifact_type: "application/vnd.cyclonedx+json".to_owned(),
        file_name: file_name.to_owned(),
        content: Bytes::from_static(br#"{"bomFormat":"CycloneDX"}"#),
    };
    let registry = registry(&to, Logins::default());
    let first = attach(&registry, &to, &image.manifest, &attachment("sbom.json")).await.unwrap();
    let again = attach(&registry, &to, &image.manifest, &attachment("sbom.json")).await.unwrap();
    assert_eq!(first, again);
    let other = attach(&registry, &to, &image.manifest, &attachment("other.json")).await.unwrap();

    let list = format!("{}/app:sha256-{}", server.address, image.manifest.digest().digest());
    let list: ImageIndex = serde_json::from_value(inspect(&list)).unwrap();
    let listed: Vec<_> = list.manifests().iter().map(|listed| listed.digest().clone()).collect();
    assert_eq!(listed, [first.clone(), other]);
    let kind = list.manifests()[0].artifact_type().as_ref().unwrap().to_string();
    assert_eq!(kind, "application/vnd.cyclonedx+json");
    let artifact = inspect(&format!("{}/app@{first}", server.address));
    let artifact: ImageManifest = serde_json::from_value(artifact).unwrap();
    assert_eq!(artifact.subject().as_ref().unwrap().digest(), image.manifest.digest());
    assert_eq!(std::fs::read(server.blob(artifact.layers()[0].digest().digest())).unwrap().len(), 25);
}
