//! The latest requests.
use maud::{Markup, html};

use super::{
    frame::{Scripts, page},
    parts::{
        Column::{Number, Text},
        amount, called, command, empty, outcome, request_link, table, time, worker_link,
    },
};
use crate::{
    text::{ago, count, counted, duration, encoded},
    view::{Frame, Page, RequestRow, Requests, State},
};

/// The list, with its search.
pub fn requests(frame: &Frame, view: &Requests) -> String {
    let content = html! {
        h1 { "Requests" }
        form.filters method="get" action="/_flash/requests" role="search" {
            label { "ID" input name="id" value=(view.filter.id) placeholder="request or job"; }
            label { "Function" input name="function" value=(view.filter.function) list="functions"; }
            datalist #functions { @for name in &view.functions { option value=(name) {} } }
            label { "State"
                select name="state" {
                    option value="" { "all" }
                    @for own in State::ALL {
                        option value=(own.name()) selected[view.filter.state == Some(own)] { (own.name().replace('-', " ")) }
                    }
                }
            }
            button type="submit" { "Search" }
            @if is_filtered(view) { a href="/_flash/requests" { "Show all" } }
        }
        div #list data-live { (list(frame, view)) }
    };
    page(frame, Page::Requests, "Requests", Scripts::Live, &content)
}

fn is_filtered(view: &Requests) -> bool {
    !view.filter.id.is_empty() || !view.filter.function.is_empty() || view.filter.state.is_some()
}

fn list(frame: &Frame, view: &Requests) -> Markup {
    if view.rows.is_empty() && is_filtered(view) {
        return empty(
            "No request fits.",
            &html! {
                p { "The latest requests of each worker type are kept. " a href="/_flash/requests" { "Show all" } }
            },
        );
    }
    if view.rows.is_empty() && view.page > 1 {
        return empty(
            "There are no older requests.",
            &html! { p { a href=(address(view, 1)) { "To the latest" } } },
        );
    }
    if view.rows.is_empty() {
        return empty(
            "No requests yet.",
            &html! {
                @if let Some(example) = &view.example {
                    p { "Send the first one:" }
                    (command(example))
                }
            },
        );
    }
    let columns = [
        Text("Request"),
        Text("Function"),
        Text("State"),
        Text("Arrived"),
        Number("Waited"),
        Number("Ran"),
        Number("Cost"),
        Text("Worker"),
    ];
    let rows = html! {
        @for row in &view.rows { (request_row(frame, row)) }
    };
    html! {
        (table("Requests", &columns, &rows))
        (pages(view))
    }
}

/// Which requests these are, and where others are.
fn pages(view: &Requests) -> Markup {
    let only = view.page <= 1 && !view.has_more;
    html! {
        p.pages {
            span.dim {
                @if only { (counted(view.rows.len(), "request", "requests")) }
                @else { "Requests " (count(view.before as u64 + 1)) " to " (count((view.before + view.rows.len()) as u64)) }
                "."
            }
            @if view.page > 1 { " " a href=(address(view, view.page - 1)) { "Newer" } }
            @if view.has_more { " " a href=(address(view, view.page + 1)) { "Older" } }
        }
    }
}

/// The address of a page of the same search.
fn address(view: &Requests, page: usize) -> String {
    let state = view.filter.state.map_or("", State::name);
    let given =
        [("id", view.filter.id.as_str()), ("function", view.filter.function.as_str()), ("state", state)];
    let given = given.into_iter().filter(|(_, value)| !value.is_empty());
    let pairs: Vec<String> = given.map(|(name, value)| format!("{name}={}&", encoded(value))).collect();
    format!("{}?{}page={page}", Page::Requests.path(), pairs.concat())
}

fn request_row(frame: &Frame, row: &RequestRow) -> Markup {
    let first = &row.first;
    html! {
        tr {
            td { (request_link(&row.id)) }
            td {
                (called(first))
                @if row.hops > 1 { span.dim { " + " (counted(row.hops - 1, "call", "calls")) } }
            }
            td { (outcome(first)) }
            td { (time(first.began_ms)) " " span.dim { (ago(frame.now_ms, first.began_ms)) } }
            td.number { (duration(first.waited)) }
            td.number { @if first.state == State::Waiting { "–" } @else { (duration(first.ran)) } }
            td.number { (amount(row.cost)) }
            td { @if let Some(worker) = &first.worker { (worker_link(worker)) } @else { span.dim { "–" } } }
        }
    }
}
