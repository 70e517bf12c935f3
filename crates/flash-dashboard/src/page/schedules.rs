//! Functions that run at times of the clock.
use maud::{Markup, html};

use super::{
    frame::{Scripts, page},
    parts::{Column::Text, request_link, state, table, time},
};
use crate::{
    text::encoded,
    view::{Frame, Page, Schedule},
};

/// All schedules of the live release.
pub fn schedules(frame: &Frame, view: &[Schedule]) -> String {
    let columns = [Text("Function"), Text("When"), Text("Next"), Text("Last run"), Text("Do")];
    let rows = html! {
        @for own in view { (row(own)) }
    };
    let content = html! {
        h1 { "Schedules" }
        div #all data-live {
            (table("Schedules", &columns, &rows))
        }
    };
    page(frame, Page::Schedules, "Schedules", Scripts::Live, &content)
}

fn row(own: &Schedule) -> Markup {
    let action = |what: &str| format!("/_flash/schedules/{}/{what}", encoded(&own.function));
    let (what, word) = if own.is_paused { ("resume", "Resume") } else { ("pause", "Pause") };
    html! {
        tr {
            th scope="row" {
                (own.function)
                div.dim { (own.worker_type) }
                @if let Some(problem) = &own.problem { div.bad { (problem) } }
            }
            td { code { (own.when) } }
            td {
                @match (own.is_paused, own.next_ms) {
                    (true, _) => { "paused" }
                    (false, Some(next)) => { (full_time(next)) }
                    (false, None) => { span.dim { "never" } }
                }
            }
            td {
                @match &own.last {
                    Some(last) => {
                        (full_time(last.started_ms)) " "
                        @if let Some(own) = last.state { (state(own)) " " }
                        (request_link(&last.job))
                    }
                    None => { span.dim { "not yet" } }
                }
            }
            td {
                div.actions {
                    form method="post" action=(action("run")) {
                        button type="submit" aria-label={ "Run " (own.function) " now" } { "Run now" }
                    }
                    form method="post" action=(action(what)) {
                        button type="submit" aria-label={ (word) " " (own.function) } { (word) }
                    }
                }
            }
        }
    }
}

/// With its day: a schedule may be weeks away.
fn full_time(ms: u64) -> Markup {
    html! { span.full { (time(ms)) } }
}
