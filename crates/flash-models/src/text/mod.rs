//! Text and tokens: the vocabulary of a model, its chat template, text as it comes, stop strings.
mod answer;
mod bytes;
mod incremental;
mod stops;
mod template;
#[cfg(test)]
pub(crate) mod tests;
mod vocabulary;

pub(crate) use answer::AnswerText;
pub use template::ChatTemplate;
pub use vocabulary::Vocabulary;
