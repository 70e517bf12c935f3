//! What workers report beside results: what their models did and have to do, and how far their start is.
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use flash_protocol::{GenerationsByModel, ModelLoad, app_metrics::AppSeries};

use super::{
    worker::{Loading, Phase},
    worker_pool::{Pool, WorkSource},
};
use crate::{app_metrics::Gauges, worker_id::WorkerId};

/// How often a worker that starts may say in the log how far it is.
const BETWEEN_LINES: Duration = Duration::from_secs(1);
/// Models of a worker that are counted.
const MAX_MODELS: usize = 64;
/// Characters that are kept of what a worker says about its start.
const MAX_CHARS: usize = 256;

impl Pool {
    /// A worker has said what models did for a request.
    pub(crate) fn generated(&self, id: &WorkerId, slot: u64, models: GenerationsByModel) {
        self.tally().generated(&models);
        if let WorkSource::Balanced(balancer) = &self.source {
            balancer.generated(id, slot, models);
        }
    }

    /// What a worker's models have to do now.
    pub(crate) fn models_have(&self, id: &WorkerId, mut loads: BTreeMap<String, ModelLoad>) {
        while loads.len() > MAX_MODELS {
            loads.pop_last();
        }
        if let Some(worker) = self.lock().all.get_mut(id) {
            worker.model_loads = loads;
        }
    }

    /// A worker has reported what has changed of the app's own metrics.
    pub(crate) fn measured(&self, id: &WorkerId, series: Vec<AppSeries>) {
        let mut workers = self.lock();
        let Some(worker) = workers.all.get_mut(id) else { return };
        let refused = self.tally().app.take(series, &mut worker.gauges);
        drop(workers);
        if let Some(refused) = refused {
            self.say(Some(id), refused);
        }
    }

    /// The app's own gauges, by worker.
    pub(crate) fn gauges(&self) -> Vec<(WorkerId, Gauges)> {
        let workers = self.lock();
        let own = workers.all.iter().filter(|(_, worker)| !worker.gauges.is_empty());
        own.map(|(id, worker)| (id.clone(), worker.gauges.clone())).collect()
    }

    /// What the models of all workers have to do now.
    pub(crate) fn model_loads(&self) -> BTreeMap<String, ModelLoad> {
        let mut sums: BTreeMap<String, ModelLoad> = BTreeMap::new();
        for (model, load) in self.lock().all.values().flat_map(|worker| &worker.model_loads) {
            let sum = sums.entry(model.clone()).or_default();
            sum.running = sum.running.saturating_add(load.running);
            sum.waiting = sum.waiting.saturating_add(load.waiting);
        }
        sums
    }

    /// What the worker that has been starting the longest says that it does.
    pub(crate) fn loading(&self) -> Option<String> {
        let workers = self.lock();
        let starting = workers.all.values().filter(|worker| worker.phase == Phase::Starting);
        let longest = starting.min_by_key(|worker| worker.started_at)?;
        longest.loading.as_ref().map(|loading| loading.text.clone())
    }

    /// How far the start of a worker has come, in its words.
    pub(crate) fn is_loading(&self, id: &WorkerId, text: &str) {
        let text = shown(text);
        let mut workers = self.lock();
        let worker = workers.all.get_mut(id).filter(|worker| worker.phase == Phase::Starting);
        let Some(worker) = worker else { return };
        let (loading, is_said) = next(worker.loading.take(), text.clone(), Instant::now());
        worker.loading = Some(loading);
        drop(workers);
        if is_said {
            self.say(Some(id), format!("starting: {text}"));
        }
    }
}

/// A worker chooses the text.
fn shown(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).take(MAX_CHARS).collect()
}

/// What is known of the start now, and whether the log says it: if it is new, and the last line is old enough.
fn next(before: Option<Loading>, text: String, now: Instant) -> (Loading, bool) {
    match before {
        Some(before) if before.text == text || now < before.said_at + BETWEEN_LINES => {
            (Loading { text, ..before }, false)
        }
        _ => (Loading { text, said_at: now }, true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_has_a_line_a_second_at_most_and_the_state_the_latest_word() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let (mut loading, mut said) = (None, Vec::new());
        for (millis, text) in [(0, "a"), (10, "b"), (1000, "b"), (1100, "c"), (1200, "d"), (2100, "e")] {
            let (next, is_said) = next(loading.take(), text.to_owned(), at(millis));
            assert_eq!(next.text, text);
            loading = Some(next);
            said.extend(is_said.then_some(text));
        }
        assert_eq!(said, ["a", "c", "e"]);
        assert_eq!(shown(&format!("a\n\u{1b}[31m{}", "é".repeat(500))).chars().count(), MAX_CHARS);
        assert!(!shown("a\u{1b}b").contains('\u{1b}'));
    }
}
