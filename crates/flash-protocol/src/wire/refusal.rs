//! The error in an HTTP answer: the error body of Flash's gateway and routes, or any other body.
use serde::{Deserialize, Serialize};

use crate::{ErrorKind, FieldError, WireError};

/// How much of another body is shown.
const SHOWN: usize = 200;

/// The error body of Flash's gateway and routes.
#[derive(Deserialize)]
struct Body {
    error: String,
    kind: Option<ErrorKind>,
    stage: Option<String>,
    worker_id: Option<String>,
    request_id: Option<String>,
    #[serde(default)]
    fields: Vec<FieldError>,
}

/// The text of an error in an HTTP answer: the stage that failed, if it is known, and the chain of causes.
pub fn refusal_text(error: &WireError) -> String {
    match &error.stage {
        Some(stage) => format!("{}{}", stage_failed(stage), error.chain()),
        None => error.chain(),
    }
}

fn stage_failed(stage: &str) -> String {
    format!("stage `{stage}` failed: ")
}

/// The same as a route writes it.
#[derive(Serialize)]
struct Written<'a> {
    error: String,
    kind: ErrorKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    fields: &'a [FieldError],
}

/// The JSON body of an answer with this error. `worker_id` and `request_id` are those of the answer; the error's own
/// worker comes first.
pub fn error_body(error: &WireError, worker_id: Option<&str>, request_id: Option<&str>) -> String {
    let body = Written {
        error: refusal_text(error),
        kind: error.kind,
        stage: error.stage.as_deref(),
        worker_id: error.worker_id.as_deref().or(worker_id),
        request_id,
        fields: &error.fields,
    };
    serde_json::to_string(&body).expect("strings and enums always serialise")
}

/// The error of an unsuccessful answer: complete if it is from Flash, otherwise by its status.
pub fn refusal(status: u16, body: &[u8]) -> WireError {
    let by_status = match status {
        400 | 413 | 422 => ErrorKind::InvalidInput,
        404 => ErrorKind::NotFound,
        408 | 504 => ErrorKind::Timeout,
        503 => ErrorKind::NoWorker,
        401 | 403 | 429 => ErrorKind::Refused,
        _ => ErrorKind::Transport,
    };
    match serde_json::from_slice::<Body>(body) {
        Ok(body) => {
            // The stage is a field of the error, so that it is told once, in its reader's words.
            let said = body.stage.as_deref().and_then(|stage| body.error.strip_prefix(&*stage_failed(stage)));
            let message = said.unwrap_or(&body.error).to_owned();
            let mut error = WireError::new(body.kind.unwrap_or(by_status), message);
            error.stage = body.stage;
            error.worker_id = body.worker_id;
            error.request_id = body.request_id;
            error.fields = body.fields;
            // Without a choice of the function, its failure is a 500.
            error.status = (body.kind == Some(ErrorKind::Handler) && status != 500).then_some(status);
            error
        }
        Err(_) => {
            let text: String = String::from_utf8_lossy(body).chars().take(SHOWN).collect();
            WireError::new(by_status, format!("HTTP {status}: {}", text.trim()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_what_our_gateway_says() {
        let body = br#"{"error":"`text`: missing","kind":"invalid_input","fields":[{"path":"/text","message":"missing"}]}"#;
        let error = refusal(422, body);
        assert_eq!((error.kind, error.fields.len()), (ErrorKind::InvalidInput, 1));
    }

    #[test]
    fn the_stage_of_an_error_is_read_as_it_is_written_and_told_once() {
        let mut error = WireError::new(ErrorKind::Handler, "no such animal".to_owned());
        error.stage = Some("gpu/classify".to_owned());
        let body =
            serde_json::json!({"error": refusal_text(&error), "kind": error.kind, "stage": error.stage});
        assert_eq!(body["error"], "stage `gpu/classify` failed: no such animal");
        let read = refusal(500, body.to_string().as_bytes());
        assert_eq!((&*read.message, read.stage.as_deref()), ("no such animal", Some("gpu/classify")));
        let others = br#"{"error":"stage `a` failed: x","stage":"b"}"#;
        assert_eq!(refusal(500, others).message, "stage `a` failed: x", "what another stage says is kept");
    }

    #[test]
    fn a_status_that_the_function_chose_is_kept() {
        let status = |status, kind: &str| {
            refusal(status, format!(r#"{{"error":"taken","kind":"{kind}"}}"#).as_bytes()).status
        };
        assert_eq!(status(409, "handler"), Some(409));
        assert_eq!([status(500, "handler"), status(404, "not_found")], [None, None]);
    }

    #[test]
    fn a_foreign_refusal_is_judged_by_its_status() {
        assert_eq!(refusal(401, b"no token provided").kind, ErrorKind::Refused);
        assert_eq!(refusal(502, b"<html>").message, "HTTP 502: <html>");
        assert_eq!(refusal(404, br#"{"error":"gone"}"#).kind, ErrorKind::NotFound);
    }
}
