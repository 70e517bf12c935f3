//! The releases of an environment, and the way back to one.
use maud::{Markup, html};

use super::{
    frame::{Scripts, page},
    parts::{empty, time},
};
use crate::{
    text::counted,
    view::{Frame, Page, ShownChanges, ShownRelease, ShownState, WayBack},
};

/// The releases, the latest first.
pub fn releases(frame: &Frame, view: &[ShownRelease]) -> String {
    let content = html! {
        h1 { "Releases" }
        div #all data-live {
            @if view.is_empty() {
                (empty("There are no releases yet.", &html! { p { "Send one with " code { "flash deploy send " (frame.place) } "." } }))
            }
            ul.problems {
                @for own in view { (row(own)) }
            }
        }
    };
    page(frame, Page::Releases, "Releases", Scripts::Live, &content)
}

fn row(own: &ShownRelease) -> Markup {
    let digest = own.digest.get(..12).unwrap_or(&own.digest);
    html! {
        li id={ "release-" (own.number) } {
            div.head {
                strong { "Release " (own.number) }
                (state(own.state))
                span.dim.full { (time(own.created_ms)) }
                span.dim {
                    @if let Some(commit) = &own.commit { "commit " code { (commit) } " · " }
                    "code " code { (digest) }
                }
                @if own.can_return {
                    a.button href={ "/_flash/releases/" (own.number) } aria-label={ "Roll back to release " (own.number) } { "Roll back …" }
                }
            }
            @for note in &own.notes { p.note { (note) } }
            @match &own.changes {
                Some((before, plan)) => {
                    details {
                        summary {
                            (counted(plan.items, "change", "changes"))
                            @match before {
                                Some(before) => { " since release " (before) }
                                None => { ": the first release" }
                            }
                            @if !plan.breaking.is_empty() { " · " span.bad { "breaks callers" } }
                        }
                        (changes(plan))
                    }
                }
                None => { p.dim { "What it changed cannot be read." } }
            }
        }
    }
}

fn state(state: ShownState) -> Markup {
    // The marks are those of requests.
    let (class, word) = match state {
        ShownState::Starting => ("running", "starting"),
        ShownState::Live => ("completed", "live"),
        ShownState::Replaced => ("waiting", "replaced"),
        ShownState::NotKept => ("cancelled", "replaced, not kept"),
        ShownState::Failed => ("failed", "failed"),
    };
    html! { span class={ "state " (class) } { (word) } }
}

fn changes(plan: &ShownChanges) -> Markup {
    html! {
        @if plan.lines.is_empty() {
            p { "Nothing changes." }
        } @else {
            pre.plan tabindex="0" {
                @for line in &plan.lines { (line.sign) " " (line.text) "\n" }
                @if plan.left_out > 0 { "… and " (counted(plan.left_out, "line", "lines")) " more" }
            }
        }
        p.dim {
            "Per hour: "
            @if let Some(before) = plan.cost_before.as_ref().filter(|before| **before != plan.cost_after) {
                (before) ", then "
            }
            (plan.cost_after)
        }
    }
}

/// What going back would change, and the button that does it.
pub fn way_back(frame: &Frame, view: &WayBack) -> String {
    let plan = &view.changes;
    let content = html! {
        p { a href="/_flash/releases" { "All releases" } }
        h1 { "Roll back to release " (view.to) }
        p {
            @match view.base {
                Some(base) => { "Release " (base) " is live in " (frame.place) ". Going back to release " (view.to) " changes:" }
                None => { "Nothing is live in " (frame.place) ". Release " (view.to) " has:" }
            }
        }
        (changes(plan))
        @if !view.taken_back.is_empty() {
            ul { @for line in &view.taken_back { li { (line) "; this takes it back" } } }
        }
        @if !plan.breaking.is_empty() {
            section.problem aria-labelledby="breaking" {
                h2 #breaking { "Callers break" }
                ul { @for why in &plan.breaking { li { (why) } } }
            }
        }
        p {
            "Nothing is built. It becomes a new release, starts beside the live one, and gets the traffic when it is ready. "
            "Secrets keep their current values."
        }
        form method="post" action={ "/_flash/rollback/" (view.to) } {
            @if let Some(base) = view.base { input type="hidden" name="base" value=(base); }
            @if !plan.breaking.is_empty() {
                p { label.check { input type="checkbox" name="allow_breaking" value="true" required; "Callers may break" } }
            }
            div.actions { button type="submit" { "Roll back to release " (view.to) } }
        }
    };
    page(frame, Page::Releases, "Roll back", Scripts::Live, &content)
}
