//! Registries that require a password, and where it comes from.
use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Instant,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use docker_registry::{Options, PASSWORD, USER};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::registry::{
    credential_helper,
    login::{Found, Login, LoginError},
};

fn with_password() -> Option<DockerRegistry> {
    let options = Options { password: true, ..Options::default() };
    docker_registry::has_programs(&["docker-registry"]).then(|| DockerRegistry::start_with(&options))
}

fn file(directory: &TempDir, content: &serde_json::Value) -> PathBuf {
    let path = directory.path().join("config.json");
    std::fs::write(&path, content.to_string()).unwrap();
    path
}

/// As stored by `docker login` and `podman login`.
fn encoded(user: &str, password: &str) -> serde_json::Value {
    json!({ "auth": BASE64_STANDARD.encode(format!("{user}:{password}")) })
}

fn script(directory: &TempDir, text: &str) -> String {
    let path = directory.path().join("docker-credential-test");
    // Renamed into place: a script that is open for writing anywhere cannot be run.
    let written = directory.path().join("written");
    std::fs::write(&written, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&written, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(written, &path).unwrap();
    path.to_str().unwrap().to_owned()
}

fn shown_login(found: Option<Found>) -> String {
    match found.map(|found| found.login) {
        Some(Login::Password { user, password }) => format!("{user}:{}", password.reveal()),
        Some(Login::IdentityToken(token)) => format!("token {}", token.reveal()),
        None => "nothing".to_owned(),
    }
}

async fn found(path: &Path, registry: &str, repository: &str) -> String {
    shown_login(Logins::in_files(&[path]).find(registry, repository).await.unwrap())
}

#[tokio::test]
async fn the_right_password_opens_a_registry() {
    let Some(server) = with_password() else { return };
    let (image, to) = (Image::of(21, &[100_000]), name(&server.address, "app:1"));
    let logins = Logins::with_password(&server.address, USER, PASSWORD);
    assert_eq!(push_as(&image, &to, logins).await.unwrap().uploaded, 2);

    let directory = TempDir::new().unwrap();
    let auths = json!({ "auths": { server.address.as_str(): encoded(USER, PASSWORD) } });
    let logins = Logins::in_files(&[&directory.path().join("none.json"), &file(&directory, &auths)]);
    assert_eq!(push_as(&image, &to, logins).await.unwrap().skipped, 2);
}

#[tokio::test]
async fn a_wrong_password_and_none_are_told_apart_and_never_shown() {
    let Some(server) = with_password() else { return };
    let (image, to) = (Image::of(22, &[100]), name(&server.address, "app:1"));
    let wrong = Logins::with_password(&server.address, USER, "hunter2hunter2");
    let error = push_as(&image, &to, wrong).await.unwrap_err();
    assert!(matches!(error, RegistryError::WrongPassword { .. }), "{error:?}");
    let text = shown(&error);
    assert!(text.contains("FLASH_REGISTRY_PASSWORD") && text.contains(&server.address), "{text}");
    assert!(!text.contains("hunter2") && !text.contains(&BASE64_STANDARD.encode("flash:hunter2")), "{text}");

    let error = push(&image, &to).await.unwrap_err();
    assert!(matches!(error, RegistryError::NoCredentials { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains(&format!("docker login {}", server.address)));
    // Credentials for one registry are not sent to another.
    let other = Logins::with_password("registry.example", USER, PASSWORD);
    let error = push_as(&image, &to, other).await.unwrap_err();
    assert!(matches!(error, RegistryError::NoCredentials { .. }), "{error:?}");
}

#[tokio::test]
async fn the_entry_that_says_most_about_a_repository_is_taken() {
    let directory = TempDir::new().unwrap();
    let path = file(
        &directory,
        &json!({ "auths": {
            "quay.io": encoded("all", "a:b"),
            "quay.io/team": encoded("team", "b"),
            "quay.io/team/app": encoded("app", "c"),
            "https://index.docker.io/v1/": { "username": "hub", "password": "d" },
            "ghcr.io": { "identitytoken": "e", "auth": "" },
            "helper.example": {},
        }}),
    );
    assert_eq!(found(&path, "quay.io", "other/app").await, "all:a:b");
    assert_eq!(found(&path, "quay.io", "teams/app").await, "all:a:b");
    assert_eq!(found(&path, "quay.io", "team/web").await, "team:b");
    assert_eq!(found(&path, "quay.io", "team/app").await, "app:c");
    assert_eq!(found(&path, "docker.io", "library/redis").await, "hub:d");
    assert_eq!(found(&path, "ghcr.io", "a/b").await, "token e");
    assert_eq!(found(&path, "helper.example", "a").await, "nothing");
    assert_eq!(found(&path, "other.example", "a").await, "nothing");
}

#[tokio::test]
async fn a_broken_file_is_told_without_what_is_in_it() {
    let directory = TempDir::new().unwrap();
    for content in [r#"{"auths": {"a.example": {"auth": 7, "x": "hunter2"}}}"#, r#"{"auths": "hunter2"}"#] {
        let path = directory.path().join("config.json");
        std::fs::write(&path, content).unwrap();
        let error = Logins::in_files(&[&path]).find("a.example", "a").await.unwrap_err();
        let text = shown(&error.into());
        assert!(text.contains("config.json") && text.contains("line 1"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
    let path = file(&directory, &json!({ "auths": { "a.example": { "auth": "aHVudGVyMg==" } } }));
    let error = Logins::in_files(&[&path]).find("a.example", "a").await.unwrap_err();
    assert!(matches!(&error, LoginError::Entry { registry, .. } if registry == "a.example"), "{error:?}");
}

#[tokio::test]
async fn a_helper_is_asked_by_its_protocol() {
    let directory = TempDir::new().unwrap();
    let ask = async |text: &str| {
        credential_helper::ask(&script(&directory, text), "a.example", credential_helper::LIMIT).await
    };
    let answers =
        r#"test "$1" = get && server=$(cat) && echo "{\"Username\":\"me\",\"Secret\":\"for $server\"}""#;
    let Some(Login::Password { user, password }) = ask(answers).await.unwrap() else { panic!() };
    assert_eq!((user.as_str(), password.reveal()), ("me", "for a.example"));
    let token = r#"cat >/dev/null; echo '{"Username":"<token>","Secret":"t"}'"#;
    assert!(matches!(ask(token).await.unwrap(), Some(Login::IdentityToken(_))));
    let nothing = "echo 'credentials not found in native keychain'; exit 1";
    assert!(ask(nothing).await.unwrap().is_none());

    let error = ask("echo hunter2; exit 3").await.unwrap_err();
    assert!(matches!(error, LoginError::HelperFailed { .. }), "{error:?}");
    assert!(!shown(&error.into()).contains("hunter2"));
    let error = ask("echo hunter2").await.unwrap_err();
    assert!(!shown(&error.into()).contains("hunter2"));
    let missing = credential_helper::ask("docker-credential-not-here", "a.example", credential_helper::LIMIT)
        .await
        .unwrap_err();
    assert!(shown(&missing.into()).contains("install `docker-credential-not-here`"));
}

#[tokio::test]
async fn a_helper_that_hangs_is_stopped() {
    let directory = TempDir::new().unwrap();
    let hanging = script(&directory, "exec sleep 600");
    let started = Instant::now();
    let error = credential_helper::ask(&hanging, "a.example", Duration::from_millis(200)).await.unwrap_err();
    assert!(matches!(error, LoginError::HelperSilent { .. }), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[tokio::test]
async fn a_registry_that_asks_for_nothing_needs_no_helper() {
    let Some(server) = docker_registry() else { return };
    let directory = TempDir::new().unwrap();
    let logins = Logins::in_files(&[&file(&directory, &json!({ "credsStore": "not-here" }))]);
    push_as(&Image::of(23, &[10]), &name(&server.address, "app:1"), logins).await.unwrap();
}

#[tokio::test]
async fn an_image_that_needs_a_login_is_not_public_and_a_look_without_one_says_so() {
    let Some(server) = with_password() else { return };
    let to = name(&server.address, "private/app:1");
    let login = || Logins::with_password(to.registry(), USER, PASSWORD);
    push_as(&Image::of(42, &[100]), &to, login()).await.unwrap();
    assert!(super::super::image_exists(&registry(&to, login()), &to).await.unwrap());
    assert!(!super::super::is_public(&to).await.unwrap());
    let error = super::super::image_exists(&registry(&to, Logins::default()), &to).await.unwrap_err();
    assert!(matches!(error, RegistryError::NoCredentials { .. }), "{error:?}");
}
