//! What several pages show.
use maud::{Markup, html};

use crate::{
    text::{clock, dollars, encoded, machine_time, short},
    view::{Chart, Counts, Hop, State, Values},
};

/// Workers of one state that get a dot each; the rest is in the number beside them.
const MOST_DOTS: u32 = 12;

/// A time of day.
pub(super) fn time(ms: u64) -> Markup {
    html! { time datetime=(machine_time(ms)) { (clock(ms)) } }
}

/// An amount, whole on demand.
pub(super) fn amount(nano: u64) -> Markup {
    let exact = format!("${}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000);
    html! { span title=(exact) { (dollars(nano)) } }
}

/// The state of a job or request: a mark, and the word.
pub(super) fn state(state: State) -> Markup {
    let word = match state {
        State::TimedOut => "timed out",
        other => other.name(),
    };
    html! { span class={ "state " (state.name()) } { (word) } }
}

/// How a call has ended, or how far it is. A route that refused its caller has done its work, and the caller has not got
/// what it wanted: then it is the status that says so.
pub(super) fn outcome(hop: &Hop) -> Markup {
    match hop.answered {
        Some(status @ 400..=499) => html! { span.state.failed { "answered " (status) } },
        _ => state(hop.state),
    }
}

/// A link to a request.
pub(super) fn request_link(id: &str) -> Markup {
    html! { a.id href={ "/_flash/requests/" (encoded(id)) } title=(id) { (short(id)) } }
}

/// A link to the lines of a worker.
pub(super) fn worker_link(id: &str) -> Markup {
    html! { a.id href={ "/_flash/logs?worker=" (encoded(id)) } { (id) } }
}

/// Workers by state: a dot each, then the numbers in words.
pub(super) fn workers(counts: Counts) -> Markup {
    let all = [
        (counts.busy, "busy"),
        (counts.idle, "idle"),
        (counts.starting, "starting"),
        (counts.stopping, "stopping"),
        (counts.unhealthy, "unhealthy"),
        (counts.throttled, "throttled"),
    ];
    let some: Vec<(u32, &str)> = all.into_iter().filter(|(count, _)| *count > 0).collect();
    html! {
        @if some.is_empty() {
            span.dim { "none" }
        } @else {
            span.dots aria-hidden="true" {
                @for (count, state) in &some {
                    @for _ in 0..*count.min(&MOST_DOTS) { i class={ "dot " (state) } {} }
                }
            }
            span.states {
                @for (at, (count, state)) in some.iter().enumerate() {
                    @if at > 0 { ", " }
                    (count) " " (state)
                }
            }
        }
    }
}

/// What a hop is called.
pub(super) fn called(hop: &Hop) -> String {
    hop.function.clone().unwrap_or_else(|| hop.worker_type.clone())
}

/// Curves. Without a script it is the latest numbers in words.
pub(super) fn chart(chart: &Chart) -> Markup {
    let seconds: Vec<f64> = chart.times_ms.iter().map(|ms| *ms as f64 / 1000.0).collect();
    let names: Vec<&str> = chart.curves.iter().map(|curve| curve.name.as_str()).collect();
    let values: Vec<&Vec<Option<f64>>> = chart.curves.iter().map(|curve| &curve.values).collect();
    let data = serde_json::json!({
        "times": seconds, "names": names, "values": values, "areCounts": chart.values == Values::Counts,
    });
    let last = |values: &[Option<f64>]| values.last().copied().flatten().unwrap_or_default();
    let now: Vec<String> = chart
        .curves
        .iter()
        .map(|curve| format!("{} {}", curve.name, crate::text::rate(last(&curve.values))))
        .collect();
    html! {
        figure.chart {
            figcaption { (chart.title) }
            div.plot data-chart=(data.to_string()) role="img" aria-label={ (chart.title) ", now: " (now.join(", ")) } {
                noscript { (now.join(", ")) }
            }
        }
    }
}

/// The heading of a column.
#[derive(Clone, Copy)]
pub(super) enum Column {
    Text(&'static str),
    Number(&'static str),
    /// Numbers under a short heading, with what it means.
    Explained(&'static str, &'static str),
}

/// A table that scrolls by itself where it is wider than the page. `rows` are its `tr`.
pub(super) fn table(label: &str, columns: &[Column], rows: &Markup) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(label) {
            table {
                thead {
                    tr {
                        @for column in columns {
                            @match column {
                                Column::Text(name) => { th scope="col" { (name) } }
                                Column::Number(name) => { th.number scope="col" { (name) } }
                                Column::Explained(name, meaning) => { th.number scope="col" { abbr title=(meaning) { (name) } } }
                            }
                        }
                    }
                }
                tbody { (rows) }
            }
        }
    }
}

/// Why there is nothing to see, and what to do.
pub(super) fn empty(title: &str, more: &Markup) -> Markup {
    html! {
        div.empty {
            p { strong { (title) } }
            (more)
        }
    }
}

/// A command to copy.
pub(super) fn command(text: &str) -> Markup {
    html! { pre.command tabindex="0" { (text) } }
}
