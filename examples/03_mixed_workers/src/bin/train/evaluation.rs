//! How good a model is on sentences it has not seen.
use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use mixed_workers::model::{Label, Scores};

use crate::corpus::{Example, Source};

/// Right answers out of all.
#[derive(Debug, Clone, Copy, Default)]
struct Hits {
    right: usize,
    all: usize,
}

impl Hits {
    fn add(&mut self, right: bool) {
        self.right += usize::from(right);
        self.all += 1;
    }

    fn percent(self) -> String {
        if self.all == 0 {
            return "-".to_owned();
        }
        format!("{:.1} % of {}", 100.0 * self.right as f64 / self.all as f64, self.all)
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Row {
    three_way: Hits,
    polarity: Hits,
}

/// Results over a set of sentences.
#[derive(Debug, Default)]
pub(crate) struct Evaluation {
    sources: BTreeMap<Source, Row>,
    rated: Row,
    /// Counts by true label (line) and answer (column), of the rated sources.
    confusion: [[usize; 3]; 3],
}

impl Evaluation {
    pub(crate) fn add(&mut self, example: &Example, scores: Scores) {
        let (answer, _) = scores.top();
        let is_rated = Source::RATED.contains(&example.source);
        let row = self.sources.entry(example.source).or_default();
        for row in [Some(row), is_rated.then_some(&mut self.rated)].into_iter().flatten() {
            row.three_way.add(answer == example.label);
            if let Some(side) = example.polarity() {
                row.polarity.add(leaning(scores) == side);
            }
        }
        if is_rated {
            self.confusion[example.label.index()][answer.index()] += 1;
        }
    }

    /// Prints the results as Markdown tables.
    pub(crate) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "\n| source | three classes | polarity, rating beyond ±0.5 |\n|---|---|---|")?;
        for (source, row) in &self.sources {
            writeln!(
                out,
                "| {} | {} | {} |",
                source.as_str(),
                row.three_way.percent(),
                row.polarity.percent()
            )?;
        }
        let rated = self.rated;
        writeln!(
            out,
            "| **the four rated** | **{}** | **{}** |",
            rated.three_way.percent(),
            rated.polarity.percent()
        )?;
        writeln!(out, "\n| the four rated: true label | positive | neutral | negative |\n|---|---|---|---|")?;
        for (label, [positive, neutral, negative]) in Label::ALL.into_iter().zip(self.confusion) {
            writeln!(out, "| {} | {positive} | {neutral} | {negative} |", label.as_str())?;
        }
        Ok(())
    }
}

/// The side a model would take if it had to.
fn leaning(scores: Scores) -> Label {
    if scores.get(Label::Positive) > scores.get(Label::Negative) { Label::Positive } else { Label::Negative }
}
