//! The text of one answer: whole characters, without stop strings, with the log probabilities of what is shown.
use std::{collections::VecDeque, sync::Arc};

use flash_openai::{LogProb, TokenLogProb};

use super::{
    incremental::IncrementalText,
    stops::{Shown, Stops},
    vocabulary::Vocabulary,
};
use crate::sampling::{Candidate, Chosen};

/// Makes text of the tokens of one answer.
#[derive(Debug)]
pub(crate) struct AnswerText {
    vocabulary: Arc<Vocabulary>,
    incremental: IncrementalText,
    stops: Stops,
    /// Bytes of text so far, shown and held back.
    written: usize,
    shown: usize,
    /// Log probabilities of tokens that are not shown in full yet, with the byte at which their text ends. Tokens of an
    /// unfinished character have no end yet.
    waiting: VecDeque<(Option<usize>, TokenLogProb)>,
}

/// What one token adds to what the client sees.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Added {
    pub(crate) text: String,
    pub(crate) logprobs: Vec<TokenLogProb>,
    /// A stop string came: the answer ends.
    pub(crate) stopped: bool,
}

impl AnswerText {
    pub(crate) fn new(vocabulary: Arc<Vocabulary>, stop: Vec<String>) -> Self {
        Self {
            vocabulary,
            incremental: IncrementalText::default(),
            stops: Stops::new(stop),
            written: 0,
            shown: 0,
            waiting: VecDeque::new(),
        }
    }

    /// Adds a token that is no end of text.
    pub(crate) fn push(&mut self, chosen: &Chosen) -> Added {
        if let Some((candidate, top)) = &chosen.logprobs {
            let top = top.iter().map(|candidate| self.log_prob(candidate)).collect();
            self.waiting.push_back((None, TokenLogProb { chosen: self.log_prob(candidate), top }));
        }
        match self.incremental.push(self.vocabulary.tokenizer(), chosen.token) {
            Some(text) => self.write(&text),
            None => Added::default(),
        }
    }

    /// What is held back: the answer has ended.
    pub(crate) fn end(&mut self) -> Added {
        let rest = self.incremental.flush(self.vocabulary.tokenizer());
        let mut added = self.write(&rest);
        if !added.stopped {
            added.text.push_str(&self.stops.flush());
            added.logprobs.extend(self.waiting.drain(..).map(|(_, logprob)| logprob));
        }
        added
    }

    fn write(&mut self, text: &str) -> Added {
        self.written += text.len();
        for (end, _) in &mut self.waiting {
            end.get_or_insert(self.written);
        }
        let (text, stopped) = match self.stops.push(text) {
            Shown::Text(text) => (text, false),
            Shown::Last(text) => (text, true),
        };
        self.shown += text.len();
        let mut logprobs = Vec::new();
        while let Some((Some(end), _)) = self.waiting.front()
            && *end <= self.shown
        {
            logprobs.extend(self.waiting.pop_front().map(|(_, logprob)| logprob));
        }
        Added { text, logprobs, stopped }
    }

    fn log_prob(&self, candidate: &Candidate) -> LogProb {
        LogProb { bytes: self.vocabulary.bytes(candidate.token), logprob: candidate.logprob }
    }
}
