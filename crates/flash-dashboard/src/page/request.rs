//! One request: its hops on a common line of time, what went in and out, its log.
use maud::{Markup, html};

use super::{
    frame::{Scripts, page},
    logs::{Within, item},
    parts::{amount, called, empty, outcome, time, worker_link},
};
use crate::{
    text::{counted, duration, encoded},
    view::{Frame, Hop, Page, Request, RequestHop, State, Value},
};

/// The width of the line of time, in its own units.
const WIDTH: f64 = 1000.0;
/// Nothing is drawn narrower, so that short parts can be seen.
const LEAST: f64 = 2.0;

/// The page of a request.
pub fn request(frame: &Frame, view: &Request) -> String {
    let cost: u64 = view.hops.iter().map(|own| own.hop.cost).sum();
    let first = view.hops.first().map(|own| &own.hop);
    let content = html! {
        p { a href="/_flash/requests" { "All requests" } }
        h1 { "Request " code.id { (view.id) } }
        div #summary data-live {
            @if let Some(first) = first {
                p {
                    (outcome(first)) " · " (called(first)) " · arrived " (time(first.began_ms)) " · "
                    (counted(view.hops.len(), "call", "calls")) " · " (amount(cost))
                }
            }
            (timeline(view))
        }
        @for own in &view.hops { (hop(own)) }
        section aria-labelledby="lines" {
            h2 #lines { "Log" }
            div #log-lines data-live {
                @if view.lines.is_empty() {
                    (empty("No lines.", &html! { p { "Nothing was printed while this request ran." } }))
                } @else {
                    ol.log tabindex="0" aria-label="Lines of this request" { @for line in &view.lines { (item(line, Within::Request)) } }
                }
            }
        }
    };
    page(frame, Page::Requests, "Request", Scripts::Live, &content)
}

fn timeline(view: &Request) -> Markup {
    let began = view.hops.iter().map(|own| own.hop.began_ms).min().unwrap_or_default();
    let millis = |time: std::time::Duration| time.as_secs_f64() * 1000.0;
    let start = |hop: &Hop| hop.began_ms.saturating_sub(began) as f64;
    let end = |hop: &Hop| start(hop) + millis(hop.waited) + millis(hop.ran);
    let whole = view.hops.iter().map(|own| end(&own.hop)).fold(0.001, f64::max);
    let part = |ms: f64| ms / whole * WIDTH;
    html! {
        table.timeline {
            caption.unseen { "When each call waited and ran" }
            colgroup { col.name; col; col.words; }
            thead.unseen { tr { th scope="col" { "Call" } th scope="col" { "Time" } th scope="col" { "In words" } } }
            tbody {
                @for RequestHop { hop, .. } in &view.hops {
                    @let waited = millis(hop.waited.saturating_sub(hop.starting));
                    @let starting = millis(hop.starting);
                    tr {
                        th scope="row" { (called(hop)) div.dim { (hop.worker_type) } }
                        td.bar {
                            svg viewBox="0 0 1000 16" preserveAspectRatio="none" aria-hidden="true" {
                                (bar("wait", part(start(hop)), part(waited)))
                                (bar("start", part(start(hop) + waited), part(starting)))
                                @if hop.state != State::Waiting {
                                    (bar("run", part(start(hop) + waited + starting), part(millis(hop.ran)).max(LEAST)))
                                }
                            }
                        }
                        td.words {
                            "waited " (duration(hop.waited))
                            @if !hop.starting.is_zero() { ", of which its worker started for " (duration(hop.starting)) }
                            @if hop.state != State::Waiting { "; ran " (duration(hop.ran)) }
                        }
                    }
                }
            }
        }
        p.key aria-hidden="true" {
            i.wait {} " waited " i.start {} " worker started " i.run {} " ran"
        }
    }
}

fn bar(class: &str, x: f64, width: f64) -> Markup {
    html! {
        @if width > 0.0 {
            rect class=(class) x=(format!("{:.2}", x.min(WIDTH - LEAST))) y="2" width=(format!("{width:.2}")) height="12" {}
        }
    }
}

fn hop(own: &RequestHop) -> Markup {
    let hop = &own.hop;
    let key = hop.job.clone().unwrap_or_else(|| format!("{}-{}", hop.worker_type, hop.began_ms));
    html! {
        section.hop aria-label={ "Call of " (called(hop)) } {
            div id={ "hop-" (key) } data-live {
                h2 { (called(hop)) " " (outcome(hop)) }
                p.dim {
                    (hop.worker_type)
                    @if let Some(worker) = &hop.worker { " on " (worker_link(worker)) }
                    @if let Some(job) = &hop.job { " · job " code.id { (job) } }
                    " · " (amount(hop.cost))
                }
                @if let Some(error) = &hop.error { pre.text.bad tabindex="0" { (error) } }
                @if own.hides_values && hop.job.is_some() { p.dim { "Inputs and outputs are hidden here." } }
                @if hop.job.is_some() && hop.state.is_final() && own.keeps_nothing() {
                    p.dim {
                        "Its input and output are not here: they are kept for a time, and those of calls from one function to another are not."
                    }
                }
                @if let Some(input) = &own.input { (value("Input", input)) }
                @if let Some(output) = &own.output { (value("Output", output)) }
                @if let Some(job) = &hop.job { (changes(own, job)) }
            }
            @if let Some(text) = &own.run_again { (run_again(hop, text)) }
        }
    }
}

fn value(title: &str, value: &Value) -> Markup {
    html! {
        h3 { (title) }
        pre tabindex="0" { (value.text) }
        @if value.text.len() < value.bytes {
            p.dim { "The beginning of " (value.bytes) " bytes." }
        }
    }
}

fn changes(own: &RequestHop, job: &str) -> Markup {
    let action =
        |what: &str| format!("/_flash/jobs/{}/{}/{what}", encoded(&own.hop.worker_type), encoded(job));
    html! {
        @if own.can_cancel || own.can_retry {
            div.actions {
                @if own.can_cancel {
                    form method="post" action=(action("cancel")) { button type="submit" { "Cancel" } }
                }
                @if own.can_retry {
                    form method="post" action=(action("retry")) { button type="submit" { "Retry" } }
                }
            }
        }
    }
}

fn run_again(hop: &Hop, text: &str) -> Markup {
    html! {
        details {
            summary { "Run again with another input" }
            form method="post" action={ "/_flash/run/" (encoded(&hop.worker_type)) } {
                @if let Some(function) = &hop.function { input type="hidden" name="function" value=(function); }
                label { "Input, as JSON" textarea name="input" rows="6" spellcheck="false" { (text) } }
                button type="submit" { "Run" }
            }
        }
    }
}
