//! Jobs without a result.
use maud::{Markup, html};

use super::{
    frame::{Scripts, page},
    parts::{empty, request_link, time},
};
use crate::{
    text::{counted, encoded},
    view::{Failed, FailedJob, Frame, Page},
};

/// Dead jobs first: nothing runs them again by itself.
pub fn failed(frame: &Frame, view: &Failed) -> String {
    let mut types: Vec<&str> = view.dead.iter().map(|job| job.worker_type.as_str()).collect();
    types.dedup();
    let content = html! {
        h1 { "Failed jobs" }
        div #all data-live {
            @if view.dead.is_empty() && view.failed.is_empty() {
                (empty("No job has failed.", &html! {
                    p { "Jobs that end with an error are listed here for as long as their results are kept." }
                }))
            }
            @if !view.dead.is_empty() {
                section aria-labelledby="dead" {
                    h2 #dead { "Jobs that killed their workers" }
                    p.dim { "Each attempt ended with the end of its worker. They are not tried again until you requeue them." }
                    @for name in types {
                        form method="post" action={ "/_flash/jobs/" (encoded(name)) "/requeue" } {
                            button type="submit" { "Requeue all of " (name) }
                        }
                    }
                    (list(&view.dead, Kind::Dead))
                }
            }
            @if !view.failed.is_empty() {
                section aria-labelledby="failures" {
                    h2 #failures { "Jobs that ended with an error" }
                    (list(&view.failed, Kind::Failed))
                }
            }
        }
    };
    page(frame, Page::Failed, "Failed jobs", Scripts::Live, &content)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Dead,
    Failed,
}

fn list(jobs: &[FailedJob], kind: Kind) -> Markup {
    let (what, word) = match kind {
        Kind::Dead => ("requeue", "Requeue"),
        Kind::Failed => ("retry", "Retry"),
    };
    html! {
        ul.problems {
            @for job in jobs {
                li {
                    div.head {
                        strong { (job.function.as_deref().unwrap_or(&job.worker_type)) }
                        span.dim {
                            " " (job.worker_type) " · " (time(job.submitted_ms)) " · "
                            (counted(job.attempts as usize, "attempt", "attempts"))
                        }
                        @if let Some(id) = &job.request_id { " " (request_link(id)) }
                        form method="post" action={ "/_flash/jobs/" (encoded(&job.worker_type)) "/" (encoded(&job.job)) "/" (what) } {
                            button type="submit" aria-label={ (word) " job " (job.job) } { (word) }
                        }
                    }
                    pre.text tabindex="0" { (job.error) }
                }
            }
        }
    }
}
