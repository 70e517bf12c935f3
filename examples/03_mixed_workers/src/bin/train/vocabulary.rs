//! Common words that the lexicon's authors did not list, because they carry no feeling.
//!
//! Without them `cable` and `Tuesday` lean to wherever the few sentences that have them happen to lean.
use std::collections::{BTreeMap, BTreeSet};

use crate::corpus::{Example, Source};

/// A word seen less often is as likely a name or a slip.
const SEEN_AT_LEAST: usize = 5;

/// A neutral one-word example for each common word of the sentences that is not in the lexicon.
pub(crate) fn unlisted(examples: &[Example]) -> Vec<Example> {
    let (lexicon, sentences): (Vec<&Example>, Vec<&Example>) =
        examples.iter().partition(|example| example.source == Source::Lexicon);
    let listed: BTreeSet<String> = lexicon.into_iter().flat_map(|example| words(&example.text)).collect();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for word in sentences.into_iter().flat_map(|example| words(&example.text)) {
        *seen.entry(word).or_default() += 1;
    }
    let common = seen.into_iter().filter(|(word, times)| *times >= SEEN_AT_LEAST && !listed.contains(word));
    common.map(|(word, _)| Example::rated(Source::Unlisted, word, 0.0)).collect()
}

fn words(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|character: char| !character.is_alphanumeric() && character != '\'');
    words.filter(|word| !word.is_empty()).map(str::to_lowercase)
}
