//! Which sentences train, which only measure.
//!
//! A sentence's part is decided by a hash of its words, so it is the same in every run, and copies of a
//! sentence (reposts, other case or punctuation) are never on both sides.
use mixed_workers::model::stable_hash;

use crate::corpus::{Example, Source};

const HELD_OUT_PERCENT: u64 = 10;
const TUNING_PERCENT: u64 = 5;

/// What a sentence is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Learned from.
    Train,
    /// Chooses settings in a tuning run; learned from in the run that makes the weights.
    Tuning,
    /// Measured on, never learned from and never used to choose.
    HeldOut,
}

/// Examples by what they are for, as places in the corpus.
#[derive(Debug, Default)]
pub(crate) struct Split {
    pub(crate) train: Vec<u32>,
    pub(crate) measured: Vec<u32>,
}

impl Split {
    /// Measures on `measure`: the held-out part for a report, the tuning part to choose settings, when
    /// the held-out part is not even looked at.
    pub(crate) fn new(corpus: &[Example], measure: Part) -> Self {
        let mut split = Self::default();
        for (index, example) in (0..).zip(corpus) {
            let part = part_of(example);
            if part == measure {
                split.measured.push(index);
            } else if part != Part::HeldOut {
                split.train.push(index);
            }
        }
        split
    }
}

/// The examples at these places.
pub(crate) fn pick(corpus: &[Example], places: &[u32]) -> Vec<Example> {
    places.iter().map(|&index| corpus[index as usize].clone()).collect()
}

fn part_of(example: &Example) -> Part {
    // A dictionary has no sentences to measure on.
    if example.source == Source::Lexicon {
        return Part::Train;
    }
    match place(&example.text) % 100 {
        percent if percent < HELD_OUT_PERCENT => Part::HeldOut,
        percent if percent < HELD_OUT_PERCENT + TUNING_PERCENT => Part::Tuning,
        _ => Part::Train,
    }
}

/// A number that depends on a sentence's words alone.
pub(crate) fn place(text: &str) -> u64 {
    stable_hash(normalised(text).bytes())
}

/// Lower-case words without links, mentions and the `RT` of a repost.
fn normalised(text: &str) -> String {
    let said = text
        .split_whitespace()
        .filter(|word| !word.contains("http") && !word.starts_with('@') && !word.eq_ignore_ascii_case("rt"));
    let words =
        said.map(|word| word.chars().filter(|character| character.is_alphanumeric()).collect::<String>());
    words.filter(|word| !word.is_empty()).map(|word| word.to_lowercase()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn reposts_of_a_sentence_have_its_place() {
        assert_eq!(place("Never again!"), place("RT @someone: never  AGAIN http://t.co/x"));
        assert_ne!(place("Never again!"), place("Never, ever again!"));
    }
}
