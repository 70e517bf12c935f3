//! Models and batches.
use maud::{Markup, html};

use super::{
    frame::{Scripts, page},
    parts::{
        Column::{Number, Text},
        chart, table,
    },
};
use crate::{
    text::{count, duration, rate},
    view::{Batches, Frame, Model, Models, Page},
};

/// What models and batches do, and did since the platform started.
pub fn models(frame: &Frame, view: &Models) -> String {
    let content = html! {
        h1 { "Models" }
        div #all data-live {
            @if !view.models.is_empty() { (model_table(&view.models)) }
            @if !view.batches.is_empty() { (batch_table(&view.batches)) }
        }
        @if !view.curves.is_empty() {
            section aria-labelledby="curves" {
                h2 #curves { "The last 15 minutes" }
                div.charts { @for own in &view.curves { (chart(own)) } }
            }
        }
    };
    page(frame, Page::Models, "Models", Scripts::WithCharts, &content)
}

fn model_table(models: &[Model]) -> Markup {
    let columns = [
        Text("Model"),
        Number("Running"),
        Number("Waiting"),
        Number("Answers"),
        Number("Tokens in"),
        Number("Tokens out"),
        Number("Tokens per second"),
        Number("First token"),
        Number("Each next"),
    ];
    let rows = html! {
        @for own in models {
            tr {
                th scope="row" { (own.name) div.dim { (own.worker_type) } }
                td.number { (own.running) }
                td.number { (own.waiting) }
                td.number { (count(own.answers)) }
                td.number { (count(own.tokens.0)) }
                td.number { (count(own.tokens.1)) }
                td.number { (rate(own.per_second)) }
                @for mean in [own.first_token, own.between_tokens] {
                    td.number { @match mean { Some(mean) => { (duration(mean)) } None => { "–" } } }
                }
            }
        }
    };
    html! {
        (table("Models", &columns, &rows))
        p.dim { "Times are means since the platform started; tokens per second are those of the last minute." }
    }
}

fn batch_table(batches: &[Batches]) -> Markup {
    let columns = [
        Text("Function"),
        Number("Batches"),
        Number("Calls of one"),
        Number("A call waits"),
        Number("A batch runs"),
    ];
    let rows = html! {
        @for own in batches {
            tr {
                th scope="row" { (own.function) div.dim { (own.worker_type) } }
                td.number { (count(own.batches)) }
                td.number { (format!("{:.1}", own.size)) }
                td.number { (duration(own.wait)) }
                td.number { (duration(own.run)) }
            }
        }
    };
    html! {
        h2 { "Batches" }
        (table("Batches", &columns, &rows))
    }
}
