//! Byte strings: raw over HTTP and between workers, base64 in JSON.
use flash_protocol::wire::base64;
use serde_json::json;

use crate::support::{Client, Running, fixture};

/// Larger than any buffer on the way, and of every byte.
fn picture() -> Vec<u8> {
    (0..3_000_000_u32).map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect()
}

#[tokio::test]
async fn bytes_are_raw_on_routes_base64_in_json_and_unchanged_by_three_workers() {
    let app = Running::start(&fixture(), &["--no-reload"]);
    let client = Client::new();
    let (picture, reversed) = (picture(), picture().into_iter().rev().collect::<Vec<u8>>());

    let request = client.raw().post(format!("{}/turned", app.url)).header("content-type", "image/png");
    let turned = request.body(picture.clone()).send().await.unwrap();
    assert_eq!(turned.status(), 200);
    assert_eq!(turned.headers()["content-type"], "application/octet-stream");
    assert!(turned.bytes().await.unwrap() == reversed, "other bytes came back");

    let request = client.raw().put(format!("{}/echo/x", app.url)).header("content-type", "image/png");
    let echo = request.body(picture.clone()).send().await.unwrap();
    assert_eq!(echo.status(), 200);
    assert_eq!(echo.headers()["content-type"], "image/png; name=x");
    assert!(echo.bytes().await.unwrap() == picture, "other bytes came back");
    let refused = client.raw().put(format!("{}/echo/nothing", app.url)).body(vec![0xff]);
    let refused = client.send(refused).await;
    assert_eq!((refused.status, refused.json()["fields"][0]["path"].clone()), (422, json!("/name")));

    let turner = format!("{}/v2/turner/runsync", app.url);
    let input = json!({ "name": "it", "file": base64::encode(&picture) });
    let job = client.post(&turner, json!({ "input": input })).await.json();
    let output = &job["output"];
    assert_eq!((&job["status"], &output["name"]), (&json!("COMPLETED"), &json!("it, turned")));
    let file = base64::decode(output["file"].as_str().unwrap()).unwrap();
    assert!(file == reversed, "other bytes came back");
    let refused = client.post(&turner, json!({ "input": { "name": "it", "file": "not base64" } })).await;
    assert_eq!(
        (refused.status, &refused.json()["fields"]),
        (422, &json!([{ "path": "/file", "message": "expected base64" }]))
    );

    let api = client.get(format!("{}/openapi.json", app.url)).await.json();
    let binary = json!({ "schema": { "type": "string", "format": "binary" } });
    let turned = &api["paths"]["/turned"]["post"];
    for place in ["/requestBody/content", "/responses/200/content"] {
        assert_eq!(turned.pointer(place), Some(&json!({ "application/octet-stream": binary })), "{turned}");
    }
    let file = api.pointer("/components/schemas/Picture/properties/file").cloned().unwrap_or_default();
    assert_eq!((&file["type"], &file["contentEncoding"]), (&json!("string"), &json!("base64")), "{file}");
}
