//! The log, and its lines elsewhere.
use maud::{Markup, html};

use super::{
    frame::{Scripts, page},
    parts::{empty, request_link, time, worker_link},
};
use crate::{
    text::encoded,
    view::{Frame, Level, LogLine, Logs, Page},
};

/// The latest lines; the script follows the log from there.
pub fn logs(frame: &Frame, view: &Logs) -> String {
    let levels = ["debug", "info", "warn", "error"];
    let content = html! {
        h1 { "Logs" }
        form.filters method="get" action="/_flash/logs" role="search" {
            label { "Worker" input name="worker" value=(view.worker) list="worker-types" placeholder="type or ID"; }
            datalist #worker-types { @for name in &view.worker_types { option value=(name) {} } }
            label { "Request" input name="request" value=(view.request) placeholder="ID"; }
            label { "Level"
                select name="level" {
                    option value="" { "all" }
                    @for level in levels {
                        option value=(level) selected[view.level == level] { (level) @if level != "error" { " and above" } }
                    }
                }
            }
            label { "Text" input name="search" value=(view.search) placeholder="regular expression"; }
            button type="submit" { "Filter" }
            @if !is_all(view) { a href="/_flash/logs" { "Show all" } }
        }
        @if let Some(problem) = &view.problem {
            p.notice role="alert" { (problem) }
        } @else {
            div.log-tools {
                label.check { input #follow type="checkbox" checked; "Follow new lines" }
                span #log-state.dim role="status" {}
            }
            ol #log.log tabindex="0" aria-label="Lines of the log" data-follow={ "/_flash/logs/follow?" (query(view)) } {
                @for line in &view.lines { (item(line, Within::Log)) }
            }
            @if view.lines.is_empty() {
                div #log-empty {
                    (empty("No lines yet.", &html! { p { "What workers print to stdout and stderr is shown here." } }))
                }
            }
        }
    };
    page(frame, Page::Logs, "Logs", Scripts::Live, &content)
}

fn is_all(view: &Logs) -> bool {
    [&view.worker, &view.request, &view.level, &view.search].into_iter().all(String::is_empty)
}

fn query(view: &Logs) -> String {
    let given = [
        ("worker", &view.worker),
        ("request", &view.request),
        ("level", &view.level),
        ("search", &view.search),
    ];
    let pairs = given.into_iter().filter(|(_, value)| !value.is_empty());
    pairs.map(|(name, value)| format!("{name}={}", encoded(value))).collect::<Vec<_>>().join("&")
}

/// One line as an item of a list, for a page that follows the log.
pub fn log_item(line: &LogLine) -> String {
    item(line, Within::Log).into_string()
}

/// Where a line is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Within {
    /// Among lines of all requests.
    Log,
    /// On the page of its request.
    Request,
}

pub(super) fn item(line: &LogLine, within: Within) -> Markup {
    html! {
        li class=(line.level.name()) {
            (time(line.time_ms)) " "
            @match &line.worker {
                Some(worker) => { (worker_link(worker)) }
                None => { span.id { (line.worker_type) } }
            }
            " "
            @if within == Within::Log && let Some(id) = &line.request_id { (request_link(id)) " " }
            @match line.level {
                Level::Error => { strong.level { "error" } " " }
                Level::Warn if !line.is_of_platform => { strong.level { "warn" } " " }
                _ => {}
            }
            span.text.platform[line.is_of_platform] { (line.text) }
        }
    }
}
