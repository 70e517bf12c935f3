//! Models and batches.
use std::{sync::Arc, time::Duration};

use axum::{extract::State, response::Response};
use flash_dashboard::view::{self, Batches, Model};
use flash_protocol::{Generations, ModelLoad};
use http::{HeaderMap, StatusCode};

use super::{
    super::state::GatewayState,
    frame::frame,
    html,
    overview::{curve, per_second},
};
use crate::{
    history::{Row, growth},
    pool::Pool,
    tally::BatchSums,
};

/// `GET /_flash/models`
pub(super) async fn page(State(state): State<Arc<GatewayState>>, headers: HeaderMap) -> Response {
    html(StatusCode::OK, flash_dashboard::models(&frame(&state, &headers), &models(&state)))
}

fn models(state: &GatewayState) -> view::Models {
    let Some(live) = state.releases.live() else { return view::Models::default() };
    let rows = state.dashboard.history.rows();
    let now = Row::now(&state.releases);
    let mut view = view::Models::default();
    for pool in live.pools() {
        let name = &pool.worker_type.name;
        for (model, load, of) in models_of(pool) {
            let tokens = |row: &Row| row.of(name)?.tokens_of(&model);
            let per_second = per_second(&rows, &now, tokens);
            view.models.push(shown(name, &model, load, &of, per_second));
        }
        view.batches.extend(pool.tally().batches().into_iter().map(|(own, sums)| batches(name, own, sums)));
    }
    let names: Vec<String> =
        view.models.iter().map(|own| format!("{} on {}", own.name, own.worker_type)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    if rows.len() > 1 && !names.is_empty() {
        let tokens = |row: &Row, name: &str| {
            let (model, worker_type) = name.rsplit_once(" on ")?;
            row.of(worker_type)?.tokens_of(model)
        };
        view.curves.push(curve(&rows, &names, "Tokens per second", &|before, row, name| {
            Some(growth((tokens(before, name)?, before.at), (tokens(row, name)?, row.at)))
        }));
    }
    view
}

/// What each model has to do and did. One that did nothing yet is there once a worker has it.
fn models_of(pool: &Pool) -> Vec<(String, ModelLoad, Generations)> {
    let mut loads = pool.model_loads();
    let did = pool.tally().models().into_iter();
    let mut all: Vec<(String, ModelLoad, Generations)> =
        did.map(|(model, of)| (model.clone(), loads.remove(&model).unwrap_or_default(), of)).collect();
    all.extend(loads.into_iter().map(|(model, load)| (model, load, Generations::default())));
    all
}

fn shown(worker_type: &str, name: &str, load: ModelLoad, of: &Generations, per_second: f64) -> Model {
    Model {
        worker_type: worker_type.to_owned(),
        name: name.to_owned(),
        running: load.running,
        waiting: load.waiting,
        answers: of.count(),
        tokens: (of.prompt_tokens, of.completion_tokens),
        per_second,
        first_token: of.first_token.mean(),
        between_tokens: of.between_tokens.mean(),
    }
}

fn batches(worker_type: &str, function: String, sums: BatchSums) -> Batches {
    let mean = |whole: Duration, count: u64| whole / u32::try_from(count.max(1)).unwrap_or(u32::MAX);
    Batches {
        worker_type: worker_type.to_owned(),
        function,
        batches: sums.batches,
        size: sums.calls as f64 / sums.batches.max(1) as f64,
        wait: mean(sums.wait, sums.calls),
        run: mean(sums.run, sums.batches),
    }
}
