//! A picture of 8 MB through three workers: as bytes, against base64 in JSON.
use hyper::Method;
use serde::Serialize;

use super::{
    compare::{Plan, Side, compare},
    load::{self, Measured, Target},
    server::Server,
};
use crate::failure::Failure;

/// Bytes of the picture.
const LENGTH: usize = 8_000_000;

/// Both ways, on one connection.
#[derive(Debug, Serialize)]
pub(super) struct Pictures {
    pub bytes: Measured,
    pub base64: Measured,
}

/// Measures both. Each request passes the picture to three workers in turn, and each of them returns it.
pub(super) async fn measure(app: &Server, plan: &Plan) -> Result<Pictures, Failure> {
    let bytes = target("8 MB as bytes", app, "/pictures/bytes");
    let base64 = target("8 MB as base64", app, "/pictures/base64");
    for target in [&bytes, &base64] {
        let (answer, _) = load::once(target).await?;
        if answer != LENGTH.to_string() {
            return Err(Failure::new(format!("{} answered {answer:?}", target.name)));
        }
    }
    let plan = Plan { connections: vec![1], time: plan.time };
    let side = |target| Side { target, servers: app.processes() };
    let compared = compare(&side(bytes), &side(base64), &plan).await?;
    let one = compared.first().ok_or_else(|| Failure::new("pictures were not measured"))?;
    Ok(Pictures { bytes: one.flash.median, base64: one.handwritten.median })
}

fn target(name: &'static str, app: &Server, path: &str) -> Target {
    Target {
        name,
        address: app.address,
        method: Method::POST,
        path: path.to_owned(),
        // Not all zeros, which a layer in between might treat in its own way.
        body: (0..LENGTH).map(|at| (at % 251) as u8).collect::<Vec<_>>().into(),
        expected: "8000000",
    }
}
