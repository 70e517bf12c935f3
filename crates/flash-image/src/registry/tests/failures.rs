//! The errors when a registry cannot accept an image.
use std::time::Instant;

use axum::{Router, http::StatusCode};
use docker_registry::Options;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::*;
use crate::registry::address::Address;

/// A certificate authority, and a certificate signed by it with its key.
fn certificates(name: &str) -> (String, String, String) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let shown = authority.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(authority, key);
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    (shown, certificate.pem(), key.serialize_pem())
}

async fn push_with_tls(server: &DockerRegistry, authority: Option<&str>) -> Result<Pushed, RegistryError> {
    let to = name(&server.address, "app:1");
    let address = Address::with_tls(&server.address);
    let registry = Registry::at(address, Logins::default(), QUICK).unwrap();
    let registry = match authority {
        Some(authority) => registry.trusting(authority),
        None => registry,
    };
    let image = Image::of(51, &[1_000]);
    super::super::push(&registry, &image.layout, &image.manifest, &[], &to, &|_| {}).await
}

#[tokio::test]
async fn certificates_are_checked() {
    if !docker_registry::has_programs(&["docker-registry"]) {
        return;
    }
    let (authority, certificate, key) = certificates("127.0.0.1");
    let tls = Options { tls: Some((certificate, key)), ..Options::default() };
    let server = DockerRegistry::start_with(&tls);
    assert_eq!(push_with_tls(&server, Some(&authority)).await.unwrap().uploaded, 2);
    let error = push_with_tls(&server, None).await.unwrap_err();
    assert!(matches!(error, RegistryError::UnknownAuthority { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("SSL_CERT_FILE"));

    let (authority, certificate, key) = certificates("elsewhere.example");
    let tls = Options { tls: Some((certificate, key)), ..Options::default() };
    let server = DockerRegistry::start_with(&tls);
    let error = push_with_tls(&server, Some(&authority)).await.unwrap_err();
    assert!(matches!(error, RegistryError::Tls { .. }), "{error:?}");
}

#[tokio::test]
async fn a_registry_without_tls_is_told_from_one_that_is_not_there() {
    let Some(mut server) = docker_registry() else { return };
    let error = push_with_tls(&server, None).await.unwrap_err();
    assert!(matches!(error, RegistryError::Tls { .. }), "{error:?}");
    server.stop();
    let error = push_with_tls(&server, None).await.unwrap_err();
    let RegistryError::GivenUp { tries: 3, source } = &error else { panic!("{error:?}") };
    assert!(matches!(**source, RegistryError::Unreachable { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("curl"), "{:?}", error.hint());
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_told_soon() {
    let to = name("registry.invalid", "app:1");
    let started = Instant::now();
    let error = push(&Image::of(52, &[10]), &to).await.unwrap_err();
    let text = shown(&error);
    assert!(text.contains("cannot reach registry registry.invalid"), "{text}");
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[tokio::test]
async fn a_registry_that_cannot_store_says_why_and_gets_no_tag() {
    if !docker_registry::has_programs(&["docker-registry"]) {
        return;
    }
    // No file may grow beyond a limit: to the registry this looks like a full disk.
    let small = Options { largest_file_kib: Some(200), ..Options::default() };
    let server = DockerRegistry::start_with(&small);
    let to = name(&server.address, "app:1");
    let error = push(&Image::of(53, &[1_000_000]), &to).await.unwrap_err();
    let text = shown(&error);
    assert!(text.contains("file too large") && text.contains("status 500"), "{text}");
    assert!(error.hint().unwrap().contains("full disk"), "{:?}", error.hint());
    assert_eq!(server.tags("app"), [""; 0]);
    push(&Image::of(54, &[1_000]), &to).await.unwrap();
}

#[tokio::test]
async fn a_damaged_layer_of_ours_does_not_become_an_image() {
    let Some(server) = docker_registry() else { return };
    let image = Image::of(55, &[100_000]);
    let blob = image.layout.blob(image.layers[0].digest());
    let mut bytes = std::fs::read(&blob).unwrap();
    bytes[5] ^= 1;
    std::fs::write(&blob, bytes).unwrap();
    let error = push(&image, &name(&server.address, "app:1")).await.unwrap_err();
    assert!(matches!(error, RegistryError::DigestMismatch { .. }), "{error:?}");
    assert_eq!(server.tags("app"), [""; 0]);
}

#[tokio::test]
async fn a_manifest_that_the_registry_refuses_is_told() {
    let Some(server) = docker_registry() else { return };
    let image = Image::of(56, &[100]);
    let to = name(&server.address, "app:1");
    let registry = registry(&to, Logins::default());
    let unknown = Image::of(57, &[100]);
    // Its blobs are missing.
    let bytes = unknown.layout.read(&unknown.manifest).unwrap();
    let error = super::super::manifest::put_manifest(&registry, &to, "1", &unknown.manifest, &bytes).await;
    let error = error.unwrap_err();
    assert!(matches!(error, RegistryError::ManifestRefused { .. }), "{error:?}");
    assert!(shown(&error).contains("blob unknown"), "{}", shown(&error));
    push(&image, &to).await.unwrap();
}

#[tokio::test]
async fn what_is_no_registry_is_told() {
    for status in [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED] {
        let app = Router::new().fallback(async move || (status, "<html>a web page</html>"));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = name(&listener.local_addr().unwrap().to_string(), "app:1");
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let error = push(&Image::of(58, &[100]), &to).await.unwrap_err();
        assert!(matches!(error, RegistryError::Protocol { .. }), "{error:?}");
        server.abort();
    }
}
