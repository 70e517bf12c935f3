//! Pushes over unreliable connections.
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{
    proxy::{Proxy, Verdict, cut_after_each, cut_once_at, pass},
    resuming::Resuming,
    *,
};
use crate::registry::Attachment;

#[tokio::test]
async fn a_break_inside_a_blob_is_overcome() {
    let Some(server) = docker_registry() else { return };
    let image = Image::of(11, &[3_000_000, 100]);
    let proxy = Proxy::start(&server.address, cut_after_each(1_000_000, 3), pass).await;
    let pushed = push(&image, &name(&proxy.address, "app:1")).await.unwrap();
    assert_eq!((pushed.uploaded, proxy.cuts()), (3, 3));
    assert_eq!(server.tags("app"), ["1"]);
    let stored = std::fs::read(server.blob(image.layers[0].digest().digest())).unwrap();
    assert_eq!(stored, image.layout.read(&image.layers[0]).unwrap());
}

#[tokio::test]
async fn a_break_inside_the_manifest_and_its_tag_is_overcome() {
    let Some(server) = docker_registry() else { return };
    let image = Image::of(12, &[100]);
    for (tag, at) in [("1", "PUT /v2/app/manifests/sha256:"), ("2", "PUT /v2/app/manifests/2")] {
        let proxy = Proxy::start(&server.address, cut_once_at(at), pass).await;
        push(&image, &name(&proxy.address, &format!("app:{tag}"))).await.unwrap();
        assert!(server.tags("app").contains(&tag.to_owned()));
        assert_eq!(proxy.cuts(), 1);
    }
}

#[tokio::test]
async fn a_registry_that_dies_and_comes_back_gets_the_image() {
    let Some(server) = docker_registry() else { return };
    let image = Image::of(13, &[3_000_000, 2_000_000]);
    let server = Arc::new(Mutex::new(server));
    let upstream: Arc<Mutex<Option<Arc<Mutex<String>>>>> = Arc::default();
    let (dying, route, mut breaks) = (server.clone(), upstream.clone(), cut_after_each(1_000_000, 2));
    let kill = move |piece: &[u8]| {
        let verdict = breaks(piece);
        if matches!(verdict, Verdict::CutAfter(_)) {
            let mut server = dying.lock();
            server.restart();
            *route.lock().as_ref().unwrap().lock() = server.address.clone();
        }
        verdict
    };
    let address = server.lock().address.clone();
    let proxy = Proxy::start(&address, kill, pass).await;
    *upstream.lock() = Some(proxy.upstream());
    push(&image, &name(&proxy.address, "app:1")).await.unwrap();
    assert_eq!(proxy.cuts(), 2);
    assert_eq!(server.lock().tags("app"), ["1"]);
}

#[tokio::test]
async fn a_push_that_cannot_succeed_ends_and_leaves_no_tag() {
    let Some(server) = docker_registry() else { return };
    let image = Image::of(14, &[1_000_000]);
    let proxy = Proxy::start(&server.address, cut_after_each(200_000, usize::MAX), pass).await;
    let error = push(&image, &name(&proxy.address, "app:1")).await.unwrap_err();
    assert!(matches!(error, RegistryError::GivenUp { tries: 6, .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("again"), "{:?}", error.hint());
    assert_eq!(server.tags("app"), [""; 0]);
    // The existing tag is unchanged.
    let before = Image::of(15, &[100]);
    push(&before, &name(&server.address, "app:1")).await.unwrap();
    assert!(push(&image, &name(&proxy.address, "app:1")).await.is_err());
    let again = push(&before, &name(&server.address, "app:1")).await.unwrap();
    assert_eq!(again.uploaded, 0);
}

#[tokio::test]
async fn a_tag_that_cannot_be_written_stays_what_it_was() {
    let Some(server) = docker_registry() else { return };
    let (before, after) = (Image::of(20, &[100]), Image::of(21, &[100]));
    push(&before, &name(&server.address, "app:1")).await.unwrap();
    let always = |piece: &[u8]| cut_once_at("PUT /v2/app/manifests/1")(piece);
    let proxy = Proxy::start(&server.address, always, pass).await;
    let error = push(&after, &name(&proxy.address, "app:1")).await.unwrap_err();
    assert!(matches!(error, RegistryError::GivenUp { tries: 6, .. }), "{error:?}");
    // The image exists, but only under its digest.
    assert!(server.blob(after.manifest.digest().digest()).is_file());
    let tagged = pulls::pull(&name(&server.address, "app:1")).await.unwrap();
    assert_eq!(tagged.digest, *before.manifest.digest());
}

#[tokio::test]
async fn an_attachment_that_is_refused_leaves_the_tag_as_it_was() {
    let Some(server) = docker_registry() else { return };
    let (before, after) = (Image::of(22, &[100]), Image::of(23, &[100]));
    push(&before, &name(&server.address, "app:1")).await.unwrap();
    let bill = Attachment {
        artifact_type: "application/vnd.cyclonedx+json".to_owned(),
        file_name: "sbom.json".to_owned(),
        content: Bytes::from_static(b"{}"),
    };
    // The list of attachments has a name like this, and nothing else has.
    let always = |piece: &[u8]| cut_once_at("PUT /v2/app/manifests/sha256-")(piece);
    let proxy = Proxy::start(&server.address, always, pass).await;
    let to = name(&proxy.address, "app:1");
    let registry = registry(&to, Logins::default());
    let bills = [bill];
    let push = super::super::push(&registry, &after.layout, &after.manifest, &bills, &to, &|_| {}).await;
    let error = push.unwrap_err();
    assert!(matches!(error, RegistryError::GivenUp { .. }), "{error:?}");
    assert!(server.blob(after.manifest.digest().digest()).is_file());
    let tagged = pulls::pull(&name(&server.address, "app:1")).await.unwrap();
    assert_eq!(tagged.digest, *before.manifest.digest());
}

#[tokio::test]
async fn a_lost_answer_to_the_last_request_does_not_send_the_blob_again() {
    let Some(server) = docker_registry() else { return };
    let image = Image::of(16, &[1_000_000]);
    let proxy = Proxy::start(&server.address, pass, cut_once_at("HTTP/1.1 201")).await;
    push(&image, &name(&proxy.address, "app:1")).await.unwrap();
    assert_eq!(proxy.cuts(), 1);
    assert!(proxy.up() < 1_100_000, "{}", proxy.up());
}

#[tokio::test]
async fn an_upload_goes_on_where_it_broke() {
    let image = Image::of(17, &[4_000_000, 100]);
    let server = Resuming::start().await;
    let proxy = Proxy::start(&server.address, cut_after_each(1_000_000, 3), pass).await;
    let to = name(&proxy.address, "app:1");
    push(&image, &to).await.unwrap();
    assert_eq!(server.blob(image.layers[0].digest().as_ref()), image.layout.read(&image.layers[0]).unwrap());
    assert_eq!(server.breaks(), 3);
    // Only what was in transit when a connection broke is sent twice.
    assert!(proxy.up() < 6_000_000, "{}", proxy.up());
    assert!(server.tag("app/1").is_some());
}

#[tokio::test]
async fn a_try_that_got_further_is_never_the_last() {
    let image = Image::of(24, &[4_000_000]);
    let server = Resuming::start().await;
    // The first try makes no progress, the second one does.
    let (mut first, mut second) = (cut_once_at("PATCH /v2/"), cut_after_each(1_000_000, 1));
    let judge = move |piece: &[u8]| match first(piece) {
        Verdict::Pass => second(piece),
        cut => cut,
    };
    let proxy = Proxy::start(&server.address, judge, pass).await;
    let to = name(&proxy.address, "app:1");
    let policy = RetryPolicy { max_attempts: 2, ..QUICK };
    let registry = Registry::of(&to, Logins::default(), policy).unwrap();
    super::super::push(&registry, &image.layout, &image.manifest, &[], &to, &|_| {}).await.unwrap();
    assert_eq!((proxy.cuts(), server.breaks()), (2, 1));
}

#[tokio::test]
async fn a_registry_that_takes_next_to_nothing_of_each_request_is_given_up() {
    let image = Image::of(25, &[90_000]);
    let server = Resuming::start().await;
    server.take_at_most(10);
    let error = push(&image, &name(&server.address, "app:1")).await.unwrap_err();
    assert!(shown(&error).contains("1000 requests were not enough"), "{error:?}");
    assert!(server.parts() <= 1_001, "{}", server.parts());
    assert_eq!(server.tag("app/1"), None);
}

#[tokio::test]
async fn an_upload_that_the_registry_forgot_begins_anew() {
    let image = Image::of(18, &[1_000_000]);
    let server = Resuming::start().await;
    server.forget_uploads_after_breaks();
    let proxy = Proxy::start(&server.address, cut_after_each(600_000, 1), pass).await;
    push(&image, &name(&proxy.address, "app:1")).await.unwrap();
    assert_eq!(server.blob(image.layers[0].digest().as_ref()), image.layout.read(&image.layers[0]).unwrap());
}

#[tokio::test]
async fn a_busy_registry_is_asked_again() {
    let image = Image::of(19, &[100]);
    let server = Resuming::start().await;
    server.fail_next(2, 503);
    server.fail_later(5, 429);
    push(&image, &name(&server.address, "app:1")).await.unwrap();
    assert!(server.tag("app/1").is_some());
}
