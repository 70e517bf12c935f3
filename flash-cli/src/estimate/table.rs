//! An estimate as lines of text.
use flash_protocol::catalogue::NanoDollars;

use super::{
    DAYS, Estimate, StageCost,
    amount::{dollars, grouped, price},
};

/// The header of the columns.
const HEAD: [&str; 3] = ["", "per day", "per month (30 days)"];

/// The assumptions, the table, and what is not included.
pub(crate) fn lines(estimate: &Estimate, left_out: &[&str]) -> Vec<String> {
    let mut lines = vec![assumed(estimate), String::new()];
    lines.extend(aligned(&rows(estimate)));
    let notes = notes(estimate, left_out);
    if !notes.is_empty() {
        lines.push(String::new());
        lines.extend(notes);
    }
    lines
}

fn assumed(estimate: &Estimate) -> String {
    let stages: Vec<String> = estimate
        .stages
        .iter()
        .map(|StageCost { stage, .. }| format!("{} s {}", seconds(stage.seconds), stage.label))
        .collect();
    format!("{} requests per day; {}:", grouped(estimate.requests_per_day.into()), stages.join(", "))
}

/// Without the rounding errors of binary fractions.
fn seconds(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e6
}

fn rows(estimate: &Estimate) -> Vec<[String; 3]> {
    let nanos = |amount: NanoDollars| i128::from(amount.0);
    let both =
        |label: &str, day: i128| [label.to_owned(), dollars(day), dollars(day.saturating_mul(DAYS.into()))];
    let mut rows: Vec<[String; 3]> = estimate
        .stages
        .iter()
        .map(|StageCost { stage, per_day }| {
            let unit = if stage.gpu { "GPU" } else { "CPU" };
            [format!("{}, {unit}", stage.label), dollars(nanos(*per_day)), String::new()]
        })
        .collect();
    rows.push(both("mixed", nanos(estimate.mixed)));
    if let Some(gpu) = &estimate.gpu_only {
        let at = price(gpu.price_per_second.0);
        rows.push(both(&format!("GPU only ({} s at {at})", seconds(gpu.seconds)), nanos(gpu.per_day)));
        rows.push(both("saved", nanos(gpu.per_day) - nanos(estimate.mixed)));
    }
    rows
}

fn aligned(rows: &[[String; 3]]) -> Vec<String> {
    let head = HEAD.map(str::to_owned);
    let width = |column: usize| {
        let cells = std::iter::once(&head).chain(rows).map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let (label, day, month) = (width(0), width(1), width(2));
    let line = |[name, per_day, per_month]: &[String; 3]| {
        format!("{name:<label$}  {per_day:>day$}  {per_month:>month$}").trim_end().to_owned()
    };
    std::iter::once(&head).chain(rows).map(line).collect()
}

fn notes(estimate: &Estimate, left_out: &[&str]) -> Vec<String> {
    let mut notes = Vec::new();
    if !estimate.always_on.is_empty() {
        let workers: Vec<String> = estimate
            .always_on
            .iter()
            .map(|own| {
                let times = if own.workers == 1 { String::new() } else { format!("{} × ", own.workers) };
                format!("{times}{} {} per day", own.worker, dollars(own.per_day.0.into()))
            })
            .collect();
        notes.push(format!("not in the table, always on: {}", workers.join(", ")));
    }
    if !left_out.is_empty() {
        notes.push(format!("not in the table, no seconds given: {}", left_out.join(", ")));
    }
    notes
}
