//! A small sample of the held-out sentences, so that the tests can measure without the data.
use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use crate::{
    corpus::{Example, Source},
    error::TrainError,
    split,
};

const SENTENCES: usize = 400;

const HEADER: &str = "\
# Held-out sentences that no shipped model learned from: source, mean rating (-4..4), label, sentence.
# From the data set of Hutto & Gilbert, VADER (ICWSM 2014), in the source distribution of vaderSentiment
# 3.3.2. Copyright (c) 2016 C.J. Hutto, MIT License. Written by this example's program `train`.
";

/// Writes the rated sentences whose hashes are smallest: as good as random, and always the same.
pub(crate) fn write(held_out: &[Example], path: &Path) -> Result<(), TrainError> {
    let rated = held_out.iter().filter(|example| Source::RATED.contains(&example.source));
    let by_place: BTreeMap<u64, &Example> =
        rated.map(|example| (split::place(&example.text), example)).collect();
    let mut lines = HEADER.to_owned();
    for example in by_place.into_values().take(SENTENCES) {
        let (source, label) = (example.source.as_str(), example.label.as_str());
        let rating = example.rating.unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{source}\t{rating:.2}\t{label}\t{}", example.text);
    }
    fs::write(path, lines).map_err(|source| TrainError::Write { path: path.to_owned(), source })
}
