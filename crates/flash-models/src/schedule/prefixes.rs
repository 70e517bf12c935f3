//! Beginnings of prompts that were computed, for prompts that begin alike.
//!
//! Only whole chunks of prompts are kept, never answers: then the same prompt is computed in the same pieces with and
//! without a prefix, and gives the same logits to the last bit.
use std::{collections::VecDeque, sync::Arc};

/// Prefixes that are kept at most, however short.
const MOST: usize = 16;

/// Prefixes, the one used last at the end.
#[derive(Debug)]
pub(crate) struct Prefixes<S> {
    chunk: usize,
    kept: VecDeque<Prefix<S>>,
}

#[derive(Debug)]
struct Prefix<S> {
    prompt: Arc<[u32]>,
    /// Of the prompt.
    tokens: usize,
    sequence: S,
}

impl<S> Prefixes<S> {
    pub(crate) fn new(chunk: usize) -> Self {
        Self { chunk, kept: VecDeque::new() }
    }

    /// Tokens of all prefixes.
    pub(crate) fn tokens(&self) -> usize {
        self.kept.iter().map(|prefix| prefix.tokens).sum()
    }

    /// How many tokens of a prompt a prefix of it has: whole chunks, and at least one token less than the prompt, whose
    /// logits are needed.
    pub(crate) fn worth_keeping(&self, prompt: &[u32]) -> usize {
        self.whole(prompt.len().saturating_sub(1))
    }

    /// The prefix that has most tokens in common with the prompt, and how many.
    pub(crate) fn longest(&mut self, prompt: &[u32]) -> Option<(&S, usize)> {
        let common = |prefix: &Prefix<S>| {
            let known = &prefix.prompt[..prefix.tokens];
            let same = known.iter().zip(prompt).take_while(|(a, b)| a == b).count();
            self.whole(same.min(prompt.len().saturating_sub(1)))
        };
        let (at, tokens) = self.kept.iter().map(common).enumerate().max_by_key(|(_, tokens)| *tokens)?;
        if tokens == 0 {
            return None;
        }
        let prefix = self.kept.remove(at)?;
        self.kept.push_back(prefix);
        self.kept.back().map(|prefix| (&prefix.sequence, tokens))
    }

    /// Keeps the first `tokens` of a prompt. Prefixes that it begins with are no longer needed.
    pub(crate) fn keep(&mut self, prompt: Arc<[u32]>, tokens: usize, sequence: S) {
        self.kept.retain(|prefix| !prompt[..tokens].starts_with(&prefix.prompt[..prefix.tokens]));
        self.kept.push_back(Prefix { prompt, tokens, sequence });
        if self.kept.len() > MOST {
            self.kept.pop_front();
        }
    }

    /// Forgets prefixes, those used longest ago first, until they have at most so many tokens.
    pub(crate) fn shrink(&mut self, tokens: usize) {
        while self.tokens() > tokens {
            self.kept.pop_front();
        }
    }

    fn whole(&self, tokens: usize) -> usize {
        tokens - tokens % self.chunk
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(prompts: &[&[u32]]) -> Prefixes<usize> {
        let mut prefixes = Prefixes::new(2);
        for (number, prompt) in prompts.iter().enumerate() {
            let tokens = prefixes.worth_keeping(prompt);
            prefixes.keep(Arc::from(*prompt), tokens, number);
        }
        prefixes
    }

    #[test]
    fn only_whole_chunks_are_reused_and_never_the_last_token() {
        let mut prefixes = with(&[&[1, 2, 3, 4, 5]]);
        assert_eq!(prefixes.longest(&[1, 2, 3, 4, 9]), Some((&0, 4)));
        assert_eq!(prefixes.longest(&[1, 2, 3, 4]), Some((&0, 2)));
        assert_eq!(prefixes.longest(&[1, 2, 3, 9, 9]), Some((&0, 2)));
        assert_eq!(prefixes.longest(&[1, 9, 3, 4]), None);
        assert_eq!(prefixes.longest(&[1]), None);
        assert_eq!(prefixes.longest(&[]), None);
    }

    #[test]
    fn the_longest_prefix_is_taken_and_the_oldest_forgotten_first() {
        let mut prefixes = with(&[&[1, 2, 3, 4, 0], &[5, 6, 7, 8, 0], &[1, 2, 9, 9, 9, 9, 0]]);
        assert_eq!(prefixes.tokens(), 14);
        assert_eq!(prefixes.longest(&[1, 2, 3, 4, 5]), Some((&0, 4)));
        prefixes.shrink(10);
        assert_eq!(prefixes.longest(&[5, 6, 7, 8, 5]), None);
        prefixes.shrink(4);
        assert_eq!(prefixes.longest(&[1, 2, 3, 4, 5]), Some((&0, 4)));
        prefixes.shrink(0);
        assert_eq!(prefixes.tokens(), 0);
    }

    #[test]
    fn a_longer_prefix_replaces_those_it_begins_with() {
        let prefixes = with(&[&[1, 2, 0], &[1, 2, 3, 4, 0], &[1, 2, 3, 4, 9]]);
        assert_eq!(prefixes.tokens(), 4);
        let many: Vec<[u32; 3]> = (0..40).map(|number| [number, number, 0]).collect();
        let many: Vec<&[u32]> = many.iter().map(|prompt| &prompt[..]).collect();
        assert_eq!(with(&many).tokens(), 2 * MOST);
    }
}
