//! The latest requests.
use maud::{Markup, html};

use super::{
    frame::{Scripts, page},
    parts::{
        Column::{Number, Text},
        amount, called, command, empty, request_link, state, table, time, worker_link,
    },
};
use crate::{
    text::{ago, counted, duration},
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
        p.dim {
            (counted(view.rows.len(), "request", "requests"))
            @if view.has_more { ", the latest that fit; narrow the search to see others" }
            "."
        }
    }
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
            td { (state(first.state)) }
            td { (time(first.began_ms)) " " span.dim { (ago(frame.now_ms, first.began_ms)) } }
            td.number { (duration(first.waited)) }
            td.number { @if first.state == State::Waiting { "–" } @else { (duration(first.ran)) } }
            td.number { (amount(row.cost)) }
            td { @if let Some(worker) = &first.worker { (worker_link(worker)) } @else { span.dim { "–" } } }
        }
    }
}
