//! Models and batches.
use maud::{Markup, html};

use super::{
    frame::{Scripts, page},
    parts::chart,
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
    html! {
        div.scroll tabindex="0" role="region" aria-label="Models" {
            table {
                thead {
                    tr {
                        th scope="col" { "Model" }
                        th.number scope="col" { "Running" }
                        th.number scope="col" { "Waiting" }
                        th.number scope="col" { "Answers" }
                        th.number scope="col" { "Tokens in" }
                        th.number scope="col" { "Tokens out" }
                        th.number scope="col" { "Tokens per second" }
                        th.number scope="col" { "First token" }
                        th.number scope="col" { "Each next" }
                    }
                }
                tbody {
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
                }
            }
        }
        p.dim { "Times are means since the platform started; tokens per second are those of the last minute." }
    }
}

fn batch_table(batches: &[Batches]) -> Markup {
    html! {
        h2 { "Batches" }
        div.scroll tabindex="0" role="region" aria-label="Batches" {
            table {
                thead {
                    tr {
                        th scope="col" { "Function" }
                        th.number scope="col" { "Batches" }
                        th.number scope="col" { "Calls of one" }
                        th.number scope="col" { "A call waits" }
                        th.number scope="col" { "A batch runs" }
                    }
                }
                tbody {
                    @for own in batches {
                        tr {
                            th scope="row" { (own.function) div.dim { (own.worker_type) } }
                            td.number { (count(own.batches)) }
                            td.number { (format!("{:.1}", own.size)) }
                            td.number { (duration(own.wait)) }
                            td.number { (duration(own.run)) }
                        }
                    }
                }
            }
        }
    }
}
