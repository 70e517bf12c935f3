//! A registry that requires tokens signed by its own token server.
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Router,
    http::{StatusCode, header},
};
use docker_registry::{Options, PASSWORD, USER};
use serde_json::json;

use super::{
    token_server::{IDENTITY_TOKEN, TokenServer},
    *,
};

async fn start() -> Option<(TokenServer, DockerRegistry)> {
    if !docker_registry::has_programs(&["docker-registry"]) {
        return None;
    }
    let tokens = TokenServer::start().await;
    let options = Options { tokens: Some(tokens.settings.clone()), ..Options::default() };
    Some((tokens, DockerRegistry::start_with(&options)))
}

fn logins(server: &DockerRegistry) -> Logins {
    Logins::with_password(&server.address, USER, PASSWORD)
}

#[tokio::test]
async fn one_token_serves_a_whole_push() {
    let Some((tokens, server)) = start().await else { return };
    let to = name(&server.address, "team/app:1");
    let pushed = push_as(&Image::of(31, &[100_000, 100, 10]), &to, logins(&server)).await.unwrap();
    assert_eq!(pushed.uploaded, 4);
    assert_eq!(tokens.rules().asked, ["password: repository:team/app:pull,push"]);
}

#[tokio::test]
async fn a_mount_asks_for_the_right_to_read_the_other_repository() {
    let Some((tokens, server)) = start().await else { return };
    let image = Image::of(32, &[1_000]);
    let (first, second) = (name(&server.address, "a:1"), name(&server.address, "b:1"));
    let registry = registry(&first, logins(&server));
    for to in [&first, &second] {
        let pushed =
            super::super::push(&registry, &image.layout, &image.manifest, &[], to, &|_| {}).await.unwrap();
        assert_eq!(pushed.mounted, if to == &second { 2 } else { 0 });
    }
    assert!(tokens.rules().asked.contains(&"password: repository:b:pull,push repository:a:pull".to_owned()));
}

#[tokio::test]
async fn a_token_that_the_registry_no_longer_takes_is_renewed() {
    let Some((tokens, server)) = start().await else { return };
    let to = name(&server.address, "app:1");
    let (image, registry) = (Image::of(33, &[100_000]), registry(&to, logins(&server)));
    tokens.rules().stale = 1;
    // A new token that is rejected counts as one without the permission.
    let first = super::super::push(&registry, &image.layout, &image.manifest, &[], &to, &|_| {}).await;
    assert!(matches!(first, Err(RegistryError::Denied { .. })), "{first:?}");
    super::super::push(&registry, &image.layout, &image.manifest, &[], &to, &|_| {}).await.unwrap();
    assert_eq!(tokens.rules().asked.len(), 2);
}

#[tokio::test]
async fn an_identity_token_is_exchanged() {
    let Some((tokens, server)) = start().await else { return };
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("config.json");
    let auths = json!({ "auths": { server.address.as_str(): { "identitytoken": IDENTITY_TOKEN } } });
    std::fs::write(&path, auths.to_string()).unwrap();
    let to = name(&server.address, "app:1");
    push_as(&Image::of(34, &[100]), &to, Logins::in_files(&[&path])).await.unwrap();
    assert_eq!(tokens.rules().asked, ["identity token: repository:app:pull,push"]);
}

#[tokio::test]
async fn who_may_only_read_is_told_so() {
    let Some((tokens, server)) = start().await else { return };
    tokens.rules().read_only = true;
    let to = name(&server.address, "team/app:1");
    let error = push_as(&Image::of(35, &[100]), &to, logins(&server)).await.unwrap_err();
    assert!(
        matches!(&error, RegistryError::Denied { repository, .. } if repository == "team/app"),
        "{error:?}"
    );
    assert!(!shown(&error).contains(PASSWORD));
}

#[tokio::test]
async fn a_wrong_password_and_none_are_told_apart() {
    let Some((_tokens, server)) = start().await else { return };
    let (image, to) = (Image::of(36, &[100]), name(&server.address, "app:1"));
    let wrong = Logins::with_password(&server.address, USER, "hunter2");
    let error = push_as(&image, &to, wrong).await.unwrap_err();
    assert!(matches!(error, RegistryError::WrongPassword { .. }), "{error:?}");
    assert!(!shown(&error).contains("hunter2"));
    let error = push(&image, &to).await.unwrap_err();
    assert!(matches!(error, RegistryError::NoCredentials { .. }), "{error:?}");
}

#[tokio::test]
async fn what_is_open_to_all_is_pulled_without_a_login() {
    let Some((tokens, server)) = start().await else { return };
    let (image, to) = (Image::of(37, &[1_000]), name(&server.address, "app:1"));
    push_as(&image, &to, logins(&server)).await.unwrap();
    {
        let mut rules = tokens.rules();
        (rules.anonymous, rules.read_only) = (true, true);
    }
    pulls::pull(&to).await.unwrap();
    assert_eq!(tokens.rules().asked.last().unwrap(), "nobody: repository:app:pull");
    let error = push(&Image::of(38, &[100]), &to).await.unwrap_err();
    assert!(matches!(error, RegistryError::NoCredentials { .. }), "{error:?}");
}

#[tokio::test]
async fn a_token_server_that_is_not_there_is_named() {
    let Some((tokens, server)) = start().await else { return };
    let host = tokens.settings.split('/').nth(2).unwrap().to_owned();
    tokens.stop().await;
    let to = name(&server.address, "app:1");
    let error = push_as(&Image::of(39, &[100]), &to, logins(&server)).await.unwrap_err();
    let text = shown(&error);
    assert!(text.contains(&format!("from {host}")) && text.contains("cannot reach"), "{text}");
}

/// Answers all requests like this; returns the address.
async fn stand_in(app: Router) -> (String, tokio::task::JoinSet<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // Stopped when dropped.
    let mut server = tokio::task::JoinSet::new();
    server.spawn(async move { axum::serve(listener, app).await.unwrap() });
    (address, server)
}

#[tokio::test]
async fn what_a_token_is_asked_for_with_is_not_sent_on_to_another_server() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let other = Router::new().fallback(async move || {
        count.fetch_add(1, Ordering::Relaxed);
        axum::Json(json!({ "token": "stolen" }))
    });
    let (other, _other) = stand_in(other).await;
    for status in [StatusCode::TEMPORARY_REDIRECT, StatusCode::PERMANENT_REDIRECT] {
        let location = format!("http://{other}/token");
        let tokens = Router::new().fallback(async move || (status, [(header::LOCATION, location)]));
        let (tokens, _tokens) = stand_in(tokens).await;
        let wanted = format!("Bearer realm=\"http://{tokens}/token\"");
        let answer = async move || (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, wanted)]);
        let (address, _registry) = stand_in(Router::new().fallback(answer)).await;
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("config.json");
        let auths = json!({ "auths": { address.as_str(): { "identitytoken": IDENTITY_TOKEN } } });
        std::fs::write(&path, auths.to_string()).unwrap();
        let (image, to) = (Image::of(40, &[100]), name(&address, "app:1"));
        for logins in [Logins::in_files(&[&path]), Logins::with_password(&address, USER, PASSWORD)] {
            let error = push_as(&image, &to, logins).await.unwrap_err();
            assert!(shown(&error).contains("leads to another server"), "{}", shown(&error));
        }
    }
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}
