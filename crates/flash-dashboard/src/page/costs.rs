//! What was spent.
use maud::{Markup, html};

use super::{
    frame::{Scripts, page},
    parts::{
        Column::{Number, Text},
        amount, empty, table, time,
    },
};
use crate::{
    text::{count, day, duration},
    view::{Costs, Frame, Page},
};

/// The costs since the platform started.
pub fn costs(frame: &Frame, view: &Costs) -> String {
    let total = view.types.iter().map(|own| own.bill).sum();
    let content = html! {
        h1 { "Costs" }
        div #all data-live {
            dl.figures {
                div { dt { "So far" } dd { (amount(total)) } }
                div { dt { "Per hour, now" } dd { (amount(view.per_hour)) } }
                div { dt { "A day like now" } dd { (amount(view.per_hour.saturating_mul(24))) } }
            }
            p.dim {
                "Since " (time(view.since_ms)) ", when this platform started. Each worker is charged by the second at the "
                "price of its type, as a cloud would."
                @if let Some(command) = &view.command { " Earlier days: " code { (command) } }
            }
            (types(view))
            (functions(view))
            (days(view))
        }
    };
    page(frame, Page::Costs, "Costs", Scripts::Live, &content)
}

fn types(view: &Costs) -> Markup {
    if view.types.is_empty() {
        return empty("Nothing was spent yet.", &html! { p { "Costs begin with the first worker." } });
    }
    let columns = [
        Text("Worker type"),
        Number("Price per hour"),
        Number("Workers"),
        Number("Starting"),
        Number("Working"),
        Number("Idle"),
        Number("In all"),
    ];
    let rows = html! {
        @for own in &view.types {
            tr {
                th scope="row" { (own.name) }
                td.number { @if let Some(price) = own.per_hour { (amount(price)) } @else { span.dim { "not known" } } }
                td.number { (count(own.workers)) }
                td.number { (amount(own.start)) }
                td.number { (amount(own.run)) }
                td.number { (amount(own.idle)) }
                td.number { strong { (amount(own.bill)) } }
            }
        }
    };
    html! {
        h2 { "By worker type" }
        (table("Costs by worker type", &columns, &rows))
    }
}

fn days(view: &Costs) -> Markup {
    let columns = [Text("Day"), Text("Worker types"), Number("In all")];
    let rows = html! {
        @for own in &view.days {
            tr {
                th scope="row" { (day(own.day_ms)) }
                td.wraps {
                    @for (at, (name, bill)) in own.types.iter().enumerate() {
                        @if at > 0 { ", " }
                        (name) " " (amount(*bill))
                    }
                }
                td.number { strong { (amount(own.types.iter().map(|(_, bill)| *bill).fold(0, u64::saturating_add))) } }
            }
        }
    };
    html! {
        @if !view.days.is_empty() {
            h2 { "By day" }
            p.dim { "Days in UTC on which something was spent, with those before this platform started." }
            (table("Costs by day", &columns, &rows))
        }
    }
}

fn functions(view: &Costs) -> Markup {
    let columns = [
        Text("Function"),
        Text("Worker type"),
        Number("Calls"),
        Number("Ran"),
        Number("A call"),
        Number("In all"),
    ];
    let rows = html! {
        @for own in &view.functions {
            tr {
                th scope="row" { (own.function) }
                td { (own.worker_type) }
                td.number { (count(own.calls)) }
                td.number { (duration(own.ran)) }
                td.number { (amount(own.cost / own.calls.max(1))) }
                td.number { strong { (amount(own.cost)) } }
            }
        }
    };
    html! {
        @if !view.functions.is_empty() {
            h2 { "By function" }
            p.dim { "The share of each function in the time that workers work. Start and idle time belong to none." }
            (table("Costs by function", &columns, &rows))
        }
    }
}
