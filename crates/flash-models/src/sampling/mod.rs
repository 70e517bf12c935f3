//! From logits to a token.
mod sampler;
#[cfg(test)]
mod tests;

pub(crate) use sampler::{Candidate, Chosen, Sampler, Strategy};
