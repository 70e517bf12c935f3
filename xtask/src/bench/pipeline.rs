//! The pipeline: a route of flash that calls three functions, against three services that call each other.
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

/// The hops to which flash adds itself: client to pipeline through the gateway, and three stages.
pub(super) const HOPS: f64 = 4.0;

const BODY: &str = r#"{"text":"This product is amazing! I love it!"}"#;
const EXPECTED: &str = r#""classification":{"label":"positive""#;

/// Measures both.
pub(super) async fn measure(app: &Server, plan: &Plan) -> Result<Vec<Comparison>, Failure> {
    let postprocess = start_handwritten(&["postprocess"]).await?;
    let infer = start_handwritten(&["infer", &postprocess.url("/postprocess")]).await?;
    let preprocess = start_handwritten(&["preprocess", &infer.url("/infer")]).await?;
    let flash = target("pipeline on flash", app);
    let handwritten = target("pipeline by hand", &preprocess);
    same_answers(&flash, &handwritten).await?;
    let of_flash = Side { target: flash, servers: app.processes() };
    let servers = [&preprocess, &infer, &postprocess].into_iter().flat_map(Server::processes).collect();
    compare(&of_flash, &Side { target: handwritten, servers }, plan).await
}

/// The pipeline as a server has it.
pub(super) fn target(name: &'static str, server: &Server) -> Target {
    Target {
        name,
        address: server.address,
        method: Method::POST,
        path: "/classify".to_owned(),
        body: Bytes::from_static(BODY.as_bytes()),
        expected: EXPECTED,
    }
}

/// Both do the same work, otherwise there is nothing to compare.
pub(super) async fn same_answers(flash: &Target, other: &Target) -> Result<(), Failure> {
    let (of_flash, of_other) = (answer(flash).await?, answer(other).await?);
    match of_flash == of_other {
        true => Ok(()),
        false => {
            Err(Failure::new(format!("the answers differ: flash {of_flash}, {} {of_other}", other.name)))
        }
    }
}

/// The answer without its time.
async fn answer(target: &Target) -> Result<Value, Failure> {
    let (body, _) = load::once(target).await?;
    let mut answer: Value = serde_json::from_slice(&body).map_err(Failure::at(target.name))?;
    let time = answer.as_object_mut().and_then(|answer| answer.remove("completed_at"));
    time.ok_or_else(|| Failure::new(format!("{}: the answer has no `completed_at`", target.name)))?;
    Ok(answer)
}
