//! One job that does nothing: `runsync` through the gateway, the queue and a worker, against a handler.
use bytes::Bytes;
use hyper::Method;
use serde_json::Value;

use super::{
    compare::{Comparison, Plan, Side, compare},
    load::{self, Target},
    programs::start_handwritten,
    server::Server,
};
use crate::failure::Failure;

/// Measures both.
pub(super) async fn measure(app: &Server, plan: &Plan) -> Result<Vec<Comparison>, Failure> {
    let service = start_handwritten(&["noop"]).await?;
    let flash = target("no-op on flash", app, "/v2/noop_worker/runsync");
    let handwritten = target("no-op by hand", &service, "/noop");
    for target in [&flash, &handwritten] {
        check(target).await?;
    }
    let flash = Side { target: flash, servers: app.processes() };
    compare(&flash, &Side { target: handwritten, servers: service.processes() }, plan).await
}

fn target(name: &'static str, server: &Server, path: &str) -> Target {
    Target {
        name,
        address: server.address,
        method: Method::POST,
        path: path.to_owned(),
        body: Bytes::from_static(br#"{"input":{}}"#),
        expected: r#""status":"COMPLETED""#,
    }
}

/// Both answer that the job is done and has no output.
async fn check(target: &Target) -> Result<(), Failure> {
    let (body, _) = load::once(target).await?;
    let answer: Value = serde_json::from_slice(&body).map_err(Failure::at(target.name))?;
    match (&answer["status"], &answer["output"]) {
        (status, Value::Null) if status == "COMPLETED" => Ok(()),
        _ => Err(Failure::new(format!("{} answered {answer}", target.name))),
    }
}
