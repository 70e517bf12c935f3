//! The router in process: what other workers do is faked, or runs here.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{io::Cursor, sync::Arc};

use flash_sdk::{
    Bytes, Error, Result,
    axum::{
        body::{Body, to_bytes},
        http::{Request, StatusCode, header},
    },
    stream,
    testing::fake,
};
use image::{DynamicImage, ImageFormat};
use tower::ServiceExt as _;
use web_api::{pictures::shrink, stories::tell, web::Site};

/// The status and the body of the answer.
async fn answer(request: Request<Body>) -> (StatusCode, Vec<u8>) {
    let response = Arc::new(Site::open()).routes().oneshot(request).await.unwrap();
    let status = response.status();
    (status, to_bytes(response.into_body(), 1_000_000).await.unwrap().to_vec())
}

/// A form with this file.
fn upload(file: &[u8]) -> Request<Body> {
    let mut body =
        b"--X\r\ncontent-disposition: form-data; name=\"picture\"; filename=\"a.png\"\r\n\r\n".to_vec();
    body.extend_from_slice(file);
    body.extend_from_slice(b"\r\n--X--\r\n");
    let request = Request::post("/pictures").header(header::CONTENT_TYPE, "multipart/form-data; boundary=X");
    request.body(Body::from(body)).unwrap()
}

fn png(width: u32, height: u32) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    DynamicImage::new_rgb8(width, height).write_to(&mut file, ImageFormat::Png).unwrap();
    file.into_inner()
}

#[flash_sdk::test]
async fn an_uploaded_picture_is_shrunk() {
    let (status, small) = answer(upload(&png(1024, 512))).await;
    assert_eq!(status, StatusCode::OK);
    let small = image::load_from_memory(&small).unwrap();
    assert_eq!((small.width(), small.height()), (256, 128));
}

#[flash_sdk::test]
async fn what_is_no_picture_is_refused() {
    let (status, body) = answer(upload(b"words")).await;
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(String::from_utf8(body).unwrap().contains("not a PNG or JPEG"));
}

#[flash_sdk::test]
async fn the_picture_goes_to_the_worker_as_it_came() {
    let shrinker = fake(shrink, |_| async { Ok(Bytes::from_static(b"small")) });
    let (status, body) = answer(upload(b"large")).await;
    assert_eq!((status, &*body), (StatusCode::OK, &b"small"[..]));
    assert_eq!(shrinker.inputs(), [(Bytes::from_static(b"large"), 256)]);
}

#[flash_sdk::test]
async fn a_worker_that_fails_is_an_error_of_the_server() {
    fake(shrink, |_| async { Err(Error::handler("out of memory")) });
    let (status, body) = answer(upload(b"large")).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(String::from_utf8(body).unwrap().contains("out of memory"));
}

#[flash_sdk::test]
async fn a_story_is_told_to_its_end() {
    let words = ["Ada ", "wrote."];
    fake(tell, move |_| stream::iter(words.map(|word| Result::Ok(word.to_owned()))));
    let request = Request::get("/stories/Ada").body(Body::empty()).unwrap();
    assert_eq!(answer(request).await, (StatusCode::OK, b"Ada wrote.".to_vec()));
}
