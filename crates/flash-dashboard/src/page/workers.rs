//! The workers, each with its life.
use std::time::Duration;

use maud::{Markup, html};

use super::{
    frame::{Scripts, page},
    parts::{empty, time, worker_link},
};
use crate::{
    text::{bytes, cores, counted, duration},
    view::{Frame, Page, Worker, WorkerState, WorkersOfType},
};

/// The page of all workers.
pub fn workers(frame: &Frame, view: &[WorkersOfType]) -> String {
    let content = html! {
        h1 { "Workers" }
        div #all data-live {
            @if view.is_empty() {
                (empty("Nothing is deployed here yet.", &html! { p { "Deploy an app: " code { "flash deploy send" } } }))
            }
            @for own in view { (of_type(frame, own)) }
        }
    };
    page(frame, Page::Workers, "Workers", Scripts::Live, &content)
}

fn of_type(frame: &Frame, own: &WorkersOfType) -> Markup {
    let id = format!("type-{}", own.name);
    html! {
        section aria-labelledby=(id) {
            h2 id=(id) { (own.name) " " span.dim { (own.compute) } }
            @if own.workers.is_empty() {
                (empty("No workers.", &html! { p { "One starts as soon as there is work." } }))
            } @else {
                ul.workers { @for worker in &own.workers { (one(frame, worker)) } }
            }
        }
    }
}

fn one(frame: &Frame, worker: &Worker) -> Markup {
    let until = worker.ended.as_ref().map_or(frame.now_ms, |(ended, _)| *ended);
    html! {
        li id={ "worker-" (worker.id) } {
            div.head {
                (mark(worker.state)) " " (worker_link(&worker.id))
                " " span.dim { "release " (worker.release) }
                @if worker.running > 0 { " · " (counted(worker.running, "call", "calls")) " now" }
            }
            (life_line(worker, until))
            p.dim { (life(worker, until)) }
            @if let Some(usage) = &worker.usage {
                p.dim { "CPU " (cores(usage.cores)) ", memory " (bytes(usage.memory_bytes)) }
            }
            @if let Some(loading) = &worker.loading { p { (loading) } }
            @if let Some((_, reason)) = &worker.ended
                && worker.state == WorkerState::Crashed { pre.text.bad tabindex="0" { (reason) } }
            @if !worker.last_lines.is_empty() {
                details id={ "lines-" (worker.id) } {
                    summary { "Last lines of stderr" }
                    pre tabindex="0" { (worker.last_lines.join("\n")) }
                }
            }
        }
    }
}

fn mark(state: WorkerState) -> Markup {
    let word = match state {
        WorkerState::Busy => "busy",
        WorkerState::Idle => "idle",
        WorkerState::Starting => "starting",
        WorkerState::Stopping => "stopping",
        WorkerState::Ended => "ended",
        WorkerState::Crashed => "crashed",
    };
    html! { i class={ "dot " (word) } aria-hidden="true" {} " " span.word { (word) } }
}

/// Its start, and the time since it was ready, as parts of its whole life.
fn life_line(worker: &Worker, until: u64) -> Markup {
    let whole = until.saturating_sub(worker.started_ms).max(1) as f64;
    let start = worker.ready_ms.unwrap_or(until).saturating_sub(worker.started_ms) as f64 / whole * 1000.0;
    html! {
        svg.life viewBox="0 0 1000 8" preserveAspectRatio="none" aria-hidden="true" {
            rect.start x="0" y="0" width=(format!("{start:.1}")) height="8" {}
            rect.run x=(format!("{start:.1}")) y="0" width=(format!("{:.1}", 1000.0 - start)) height="8" {}
        }
    }
}

fn life(worker: &Worker, until: u64) -> Markup {
    let between = |from: u64, to: u64| duration(Duration::from_millis(to.saturating_sub(from)));
    html! {
        "started " (time(worker.started_ms))
        @match worker.ready_ms {
            Some(ready) => { ", ready after " (between(worker.started_ms, ready)) }
            None => { ", starting for " (between(worker.started_ms, until)) }
        }
        @match &worker.ended {
            Some((ended, reason)) => {
                ", ended " (time(*ended)) " after " (between(worker.started_ms, *ended))
                @if worker.state == WorkerState::Ended { ": " (reason) }
            }
            None => { @if let Some(ready) = worker.ready_ms { ", up for " (between(ready, until)) } }
        }
    }
}
