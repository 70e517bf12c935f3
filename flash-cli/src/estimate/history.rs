//! Seconds and requests measured by an environment.
use flash_protocol::manifest::{EndpointKind, Manifest};
use flash_target::Costs;

use super::Given;

const DAY_MS: f64 = 24.0 * 3600.0 * 1000.0;

/// What an environment measured.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Measured {
    /// Seconds per call, summed over the functions of a worker type.
    pub seconds: Vec<Given>,
    /// Calls per day of the function that was called most.
    pub requests_per_day: u64,
}

/// Seconds per call of each function that takes jobs, over this many milliseconds. Routes are not stages: most of
/// their time they wait for others. `None` if nothing was called.
pub(crate) fn measured(manifest: &Manifest, costs: &Costs, milliseconds: u64) -> Option<Measured> {
    let is_stage =
        |name: &str| manifest.worker(name).is_some_and(|worker| worker.kind == EndpointKind::Queue);
    let called = costs.functions.iter().filter(|function| function.calls > 0);
    #[expect(clippy::cast_precision_loss, reason = "calls are far below 2^52")]
    let stages: Vec<Given> = called.clone().filter(|function| is_stage(&function.worker)).fold(
        Vec::new(),
        |mut stages, function| {
            let seconds = function.seconds / function.calls as f64;
            match stages.iter_mut().find(|stage: &&mut Given| stage.name == function.worker) {
                Some(stage) => stage.seconds += seconds,
                None => stages.push(Given { name: function.worker.clone(), seconds }),
            }
            stages
        },
    );
    let most = called.map(|function| function.calls).max()?;
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of calls a day, positive and rounded"
    )]
    let requests_per_day = (most as f64 * DAY_MS / (milliseconds.max(1) as f64)).round() as u64;
    (!stages.is_empty()).then_some(Measured { seconds: stages, requests_per_day })
}
