//! The routes over models that do as they are told, in process.
mod chat;
mod completions;
mod embeddings;
mod host;
mod jobs;
mod model;
mod streams;

use axum::{Router, body::Body, http::Request};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

use model::Scripted;

use crate::{Models, ModelsError};

/// An answer, read to its end.
struct Answer {
    status: u16,
    should_retry: Option<String>,
    retry_after: Option<String>,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// `error.message`, after a look at the status and at `error.param`.
    fn message(&self, status: u16, param: Option<&str>) -> String {
        assert_eq!(self.status, status, "{}", self.body);
        let error = &self.json()["error"];
        assert_eq!(error["param"].as_str(), param, "{}", self.body);
        error["message"].as_str().expect("a message").to_owned()
    }

    /// The data of each event.
    fn events(&self) -> Vec<String> {
        self.body
            .split_terminator("\n\n")
            .map(|event| event.strip_prefix("data: ").unwrap().to_owned())
            .collect()
    }

    /// The events that are JSON: all before `[DONE]`.
    fn chunks(&self) -> Vec<Value> {
        let mut events = self.events();
        assert_eq!(events.pop().as_deref(), Some("[DONE]"), "{}", self.body);
        events.iter().map(|event| serde_json::from_str(event).unwrap()).collect()
    }
}

async fn send(router: Router, method: &str, path: &str, body: String) -> Answer {
    let request = Request::builder().method(method).uri(path).header("x-request-id", "req-7");
    let response = router.oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let header = |name| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let (should_retry, retry_after) = (header("x-should-retry"), header("retry-after"));
    let body = response.into_body().collect().await.unwrap().to_bytes();
    Answer { status, should_retry, retry_after, body: String::from_utf8(body.to_vec()).unwrap() }
}

async fn post(router: Router, path: &str, body: Value) -> Answer {
    send(router, "POST", path, body.to_string()).await
}

fn both() -> Router {
    let models =
        Models::new().text("talk", Scripted::says(&["Hel", "lo"])).embedding("vec", model::Lengths::new());
    models.router().unwrap()
}

#[tokio::test]
async fn the_models_are_listed_and_looked_up_by_name() {
    let list = send(both(), "GET", "/v1/models", String::new()).await.json();
    let names: Vec<_> = list["data"].as_array().unwrap().iter().map(|model| model["id"].clone()).collect();
    assert_eq!(names, ["talk", "vec"]);
    let slash = Models::new().text("org/name", Scripted::says(&["x"])).router().unwrap();
    for path in ["/v1/models/org/name", "/v1/models/org%2Fname"] {
        assert_eq!(send(slash.clone(), "GET", path, String::new()).await.json()["id"], "org/name");
    }
    let none = send(both(), "GET", "/v1/models/talkk", String::new()).await;
    assert_eq!(none.json()["error"]["code"], "model_not_found");
    assert_eq!(none.message(404, Some("model")), "the model `talkk` does not exist; there are: talk, vec");
    assert_eq!(send(both(), "GET", "/health", String::new()).await.status, 200);
}

#[tokio::test]
async fn what_is_not_there_is_said_in_the_shape_of_an_error() {
    let path = send(both(), "POST", "/v1/images", String::new()).await;
    assert!(path.message(404, None).contains("/v1/chat/completions"), "{}", path.body);
    assert_eq!(
        send(both(), "GET", "/v1/embeddings", String::new()).await.message(405, None),
        "/v1/embeddings does not take GET"
    );
    let body = send(both(), "POST", "/v1/chat/completions", "{".to_owned()).await;
    assert!(body.message(400, None).starts_with("the body is not valid: "), "{}", body.body);
}

#[test]
fn the_names_of_the_models_are_those_that_the_app_declares() {
    let text = || Scripted::says(&["x"]);
    assert!(Models::of_text(text()).router_for(&["a", "b"]).is_ok(), "one model may have several names");
    let other = Models::new().text("a", text()).router_for(&["b"]).unwrap_err();
    assert_eq!(
        other.to_string(),
        "the app declares the models `b`, but the worker has `a`: use the same names in both places"
    );
    assert_eq!(Models::new().router().unwrap_err(), ModelsError::Empty);
    assert_eq!(Models::of_text(text()).router().unwrap_err(), ModelsError::Unnamed);
    let twice = Models::new().text("a", text()).embedding("a", model::Lengths::new());
    assert_eq!(twice.router().unwrap_err(), ModelsError::Twice("a".into()));
}
