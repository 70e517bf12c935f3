//! The state of everything, at a glance.
use maud::{Markup, html};

use super::{
    frame::{Scripts, page},
    parts::{
        Column::{Explained, Number, Text},
        amount, chart, command, empty, request_link, table, time, workers,
    },
};
use crate::{
    text::{ago, count, duration, rate},
    view::{Frame, Latency, Overview, Page, WorkerType},
};

/// The overview.
pub fn overview(frame: &Frame, view: &Overview) -> String {
    let content = html! {
        h1.unseen { "Overview" }
        div #figures data-live { (figures(frame, view)) }
        section aria-labelledby="types" {
            h2 #types { "Worker types" }
            div #workers data-live { (worker_types(view)) }
        }
        @if !view.curves.is_empty() {
            section aria-labelledby="curves" {
                h2 #curves { "The last 15 minutes" }
                div.charts { @for own in &view.curves { (chart(own)) } }
            }
        }
        div #problems data-live { (problems(frame, view)) }
    };
    page(frame, Page::Overview, "Overview", Scripts::WithCharts, &content)
}

fn figures(frame: &Frame, view: &Overview) -> Markup {
    let waiting: u64 = view.workers.iter().map(|own| own.waiting).sum();
    let running: u64 = view.workers.iter().map(|own| own.running).sum();
    let failed: u64 = view.workers.iter().map(|own| own.failed).sum();
    let per_second: f64 = view.workers.iter().map(|own| own.per_second).sum();
    html! {
        @if let Some(why) = &view.down {
            p.notice role="status" { "Nothing is served: " (why) }
        }
        dl.figures {
            div { dt { "Running" } dd { (count(running)) } }
            div { dt { "Waiting" } dd { (count(waiting)) } }
            div { dt { "Calls per second" } dd { (rate(per_second)) } }
            div { dt { "Failed" } dd.bad[failed > 0] { (count(failed)) } }
            div { dt { "Cost per hour, now" } dd { (amount(view.cost_per_hour)) } }
            div { dt { "Cost so far" } dd { (amount(view.cost)) } }
        }
        p.dim { "Costs are what a cloud would charge: " a href=(Page::Costs.path()) { "how they are counted" } }
        @if let (Some(release), Some(since)) = (frame.release, view.since_ms) {
            p.dim {
                "Release " (release) ", running for " (ago(frame.now_ms, since).trim_end_matches(" ago"))
                @if !view.draining.is_empty() {
                    "; still finishing work: release "
                    @for (at, number) in view.draining.iter().enumerate() {
                        @if at > 0 { ", " }
                        (number)
                    }
                }
                "."
            }
        }
    }
}

fn worker_types(view: &Overview) -> Markup {
    if view.workers.is_empty() {
        return empty(
            "Nothing is deployed here yet.",
            &html! { p { "Deploy an app: " code { "flash deploy send" } } },
        );
    }
    let is_untouched =
        view.workers.iter().all(|own| own.completed + own.failed + own.waiting + own.running == 0);
    let columns = [
        Text("Worker type"),
        Text("Workers"),
        Number("Waiting"),
        Number("Running"),
        Number("Per second"),
        Explained("p50", "Half of the latest calls took no longer"),
        Explained("p95", "95 of 100 of the latest calls took no longer"),
        Explained("p99", "99 of 100 of the latest calls took no longer"),
        Number("Completed"),
        Number("Failed"),
        Number("Cost"),
    ];
    let rows = html! {
        @for own in &view.workers { (row(own)) }
    };
    html! {
        (table("Worker types", &columns, &rows))
        @if is_untouched && let Some(example) = &view.example {
            p { "No calls yet. Send the first one:" }
            (command(example))
        }
    }
}

fn row(own: &WorkerType) -> Markup {
    let (min, max) = own.limits;
    html! {
        tr {
            th scope="row" {
                a href={ "/_flash/workers#type-" (own.name) } { (own.name) }
                div.dim { (own.compute) ", " (min) " to " (max) }
            }
            td {
                (workers(own.counts))
                @if let Some(loading) = &own.loading { div.dim { (loading) } }
            }
            td.number { (count(own.waiting)) }
            td.number { (count(own.running)) }
            td.number { (rate(own.per_second)) }
            @match own.latency {
                Some(latency) => { (latencies(latency)) }
                None => { td.number.dim { "–" } td.number.dim { "–" } td.number.dim { "–" } }
            }
            td.number { (count(own.completed)) }
            td.number.bad[own.failed > 0] { (count(own.failed)) }
            td.number {
                @match own.cost {
                    Some(cost) => { (amount(cost)) }
                    None => { span.dim title="its price is not known" { "–" } }
                }
            }
        }
    }
}

fn latencies(latency: Latency) -> Markup {
    let of = format!("of the latest {} calls", count(latency.calls as u64));
    html! {
        @for time in [latency.p50, latency.p95, latency.p99] { td.number title=(of) { (duration(time)) } }
    }
}

fn problems(frame: &Frame, view: &Overview) -> Markup {
    html! {
        @if !view.problems.is_empty() {
            section aria-labelledby="latest-problems" {
                h2 #latest-problems { "Latest problems" }
                ul.problems {
                    @for problem in &view.problems {
                        li {
                            span.dim { (time(problem.time_ms)) " · " (ago(frame.now_ms, problem.time_ms)) " · " (problem.worker_type) }
                            @if let Some(id) = &problem.request_id { " · " (request_link(id)) }
                            pre.text { (problem.message) }
                        }
                    }
                }
            }
        }
    }
}
