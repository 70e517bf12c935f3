//! Chooses the next token from logits: greedy, or at random within `top_k` and `top_p`, with penalties.
//!
//! Nothing here sorts the vocabulary: the likeliest tokens are selected in part, and more of them only while `top_p` asks
//! for it.
use std::{cmp::Ordering, collections::HashMap};

use flash_openai::Sampling;

/// How many of the likeliest tokens `top_p` looks at first. Most distributions need fewer.
const FIRST_LOOK: usize = 64;

/// How tokens are chosen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Strategy {
    /// 0 is greedy.
    pub(crate) temperature: f32,
    /// Over 0, at most 1.
    pub(crate) top_p: f32,
    /// `None` is all tokens.
    pub(crate) top_k: Option<usize>,
    /// `None` is a new one each time.
    pub(crate) seed: Option<u64>,
    /// Divides positive logits of tokens that prompt or answer have, and multiplies negative ones. 1 is none.
    pub(crate) repetition: f32,
    /// Subtracted for each time that the answer has the token. 0 is none.
    pub(crate) frequency: f32,
    /// Subtracted once if the answer has the token. 0 is none.
    pub(crate) presence: f32,
    /// How many of the likeliest tokens are listed beside the chosen one.
    pub(crate) logprobs: Option<usize>,
}

impl From<&Sampling> for Strategy {
    fn from(sampling: &Sampling) -> Self {
        Self {
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            top_k: sampling.top_k,
            seed: sampling.seed,
            repetition: sampling.repetition_penalty,
            frequency: sampling.frequency_penalty,
            presence: sampling.presence_penalty,
            logprobs: sampling.logprobs,
        }
    }
}

/// A token and the logarithm of its probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) token: u32,
    pub(crate) logprob: f32,
}

/// The next token.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chosen {
    pub(crate) token: u32,
    /// If they are asked for: the chosen token, and the likeliest ones.
    pub(crate) logprobs: Option<(Candidate, Vec<Candidate>)>,
}

/// Chooses the tokens of one answer.
#[derive(Debug)]
pub(crate) struct Sampler {
    strategy: Strategy,
    random: fastrand::Rng,
    /// How often the answer has each token; 0 for those that only the prompt has.
    seen: HashMap<u32, u32>,
}

impl Sampler {
    pub(crate) fn new(strategy: Strategy, prompt: &[u32]) -> Self {
        let random = strategy.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        let seen = match strategy.repetition == 1.0 {
            true => HashMap::new(),
            false => prompt.iter().map(|token| (*token, 0)).collect(),
        };
        Self { strategy, random, seen }
    }

    /// The next token, or `None` if no logit is a number: the model has failed.
    pub(crate) fn choose(&mut self, mut logits: Vec<f32>) -> Option<Chosen> {
        for logit in &mut logits {
            if logit.is_nan() || *logit == f32::INFINITY {
                *logit = f32::NEG_INFINITY;
            }
        }
        let likeliest = likeliest(&logits)?;
        let before = self.strategy.logprobs.map(|count| Before::of(&logits, likeliest, count));
        self.penalise(&mut logits);
        let token = match self.strategy.temperature > 0.0 {
            true => self.draw(&logits),
            false => likeliest_of(&logits),
        };
        if self.counts() {
            *self.seen.entry(token).or_default() += 1;
        }
        Some(Chosen { token, logprobs: before.map(|before| before.with(token)) })
    }

    fn counts(&self) -> bool {
        let Strategy { repetition, frequency, presence, .. } = self.strategy;
        repetition != 1.0 || frequency != 0.0 || presence != 0.0
    }

    fn penalise(&self, logits: &mut [f32]) {
        if !self.counts() {
            return;
        }
        let Strategy { repetition, frequency, presence, .. } = self.strategy;
        for (token, count) in &self.seen {
            let Some(logit) = logits.get_mut(*token as usize) else { continue };
            *logit = if *logit > 0.0 { *logit / repetition } else { *logit * repetition };
            if *count > 0 {
                *logit -= *count as f32 * frequency + presence;
            }
        }
    }

    fn draw(&mut self, logits: &[f32]) -> u32 {
        let top = logits[likeliest_of(logits) as usize];
        let weight = |logit: f32| ((logit - top) / self.strategy.temperature).exp();
        let all = self.strategy.top_k.unwrap_or(logits.len()).clamp(1, logits.len());
        if all == logits.len() && self.strategy.top_p >= 1.0 {
            let weights: Vec<f32> = logits.iter().map(|logit| weight(*logit)).collect();
            return pick(&weights, self.random.f64()) as u32;
        }
        let mut tokens: Vec<u32> = (0..logits.len() as u32).collect();
        select(&mut tokens, all, logits);
        tokens.truncate(all);
        let total: f64 = tokens.iter().map(|token| f64::from(weight(logits[*token as usize]))).sum();
        let enough = total * f64::from(self.strategy.top_p);
        let mut look = FIRST_LOOK.min(all);
        let kept = loop {
            select(&mut tokens, look, logits);
            tokens[..look].sort_unstable_by(|a, b| likelier(*a, *b, logits));
            let mut sum = 0.0;
            let reached = tokens[..look].iter().position(|token| {
                sum += f64::from(weight(logits[*token as usize]));
                sum >= enough
            });
            match reached {
                Some(last) => break last + 1,
                None if look == all => break all,
                None => look = (look * 8).min(all),
            }
        };
        let weights: Vec<f32> = tokens[..kept].iter().map(|token| weight(logits[*token as usize])).collect();
        tokens[pick(&weights, self.random.f64())]
    }
}

/// Log probabilities as the model gave them.
struct Before {
    logits: Vec<f32>,
    /// Of the sum of all.
    logarithm: f32,
    top: Vec<Candidate>,
}

impl Before {
    fn of(logits: &[f32], likeliest: f32, count: usize) -> Self {
        let sum: f64 = logits.iter().map(|logit| f64::from(logit - likeliest).exp()).sum();
        let logarithm = likeliest + sum.ln() as f32;
        let mut tokens: Vec<u32> = (0..logits.len() as u32).collect();
        let count = count.min(tokens.len());
        select(&mut tokens, count, logits);
        tokens.truncate(count);
        tokens.sort_unstable_by(|a, b| likelier(*a, *b, logits));
        let candidate =
            |token: u32| Candidate { token, logprob: (logits[token as usize] - logarithm).min(0.0) };
        let top = tokens.into_iter().map(candidate).collect();
        Self { logits: logits.to_vec(), logarithm, top }
    }

    fn with(self, token: u32) -> (Candidate, Vec<Candidate>) {
        let logprob = (self.logits[token as usize] - self.logarithm).min(0.0);
        (Candidate { token, logprob }, self.top)
    }
}

/// The largest logit, if there is a number.
fn likeliest(logits: &[f32]) -> Option<f32> {
    logits.iter().copied().filter(|logit| logit.is_finite()).max_by(f32::total_cmp)
}

/// The token with the largest logit: the first of several.
fn likeliest_of(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (token, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = token;
        }
    }
    best as u32
}

/// The likelier token first; of two equal ones the lower, so that the order is always the same.
fn likelier(a: u32, b: u32, logits: &[f32]) -> Ordering {
    logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b))
}

/// Moves the `count` likeliest tokens to the front, in any order.
fn select(tokens: &mut [u32], count: usize, logits: &[f32]) {
    if 0 < count && count < tokens.len() {
        tokens.select_nth_unstable_by(count - 1, |a, b| likelier(*a, *b, logits));
    }
}

/// The index at which the sum of weights passes `at` of all.
fn pick(weights: &[f32], at: f64) -> usize {
    let mut left = at * weights.iter().map(|weight| f64::from(*weight)).sum::<f64>();
    for (index, weight) in weights.iter().enumerate() {
        left -= f64::from(*weight);
        if left < 0.0 {
            return index;
        }
    }
    // Rounding may leave a rest: the last token that has a weight.
    weights.iter().rposition(|weight| *weight > 0.0).unwrap_or(0)
}
