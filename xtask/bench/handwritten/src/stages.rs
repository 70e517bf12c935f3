//! The three stages: clean a text, judge it by rules, format the answer.
//!
//! Types as in the mixed-workers example. Rules take the place of its model, whose time would hide all
//! that is measured here.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A text as a client sends it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RawText {
    /// The text to classify.
    pub text: String,
}

/// A text ready for the rules.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Preprocessed {
    /// `success`.
    pub status: String,
    /// The text as it came.
    pub original_text: String,
    /// Trimmed, white space collapsed, odd characters dropped.
    pub cleaned_text: String,
    /// Words in the cleaned text.
    pub word_count: usize,
    /// Non-empty pieces between runs of `.`, `!` and `?`.
    pub sentence_count: usize,
    /// Characters in the cleaned text.
    pub char_count: usize,
    /// When, in RFC 3339.
    pub timestamp: String,
}

/// What inference needs of it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CleanText {
    /// What the rules read.
    pub cleaned_text: String,
    /// Its words.
    pub word_count: usize,
}

/// One label and how sure the rules are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Prediction {
    /// `positive`, `neutral` or `negative`.
    pub label: String,
    /// From 0 to 1.
    pub confidence: f64,
}

/// What the rules say.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Inference {
    /// `success`.
    pub status: String,
    /// Positive, neutral and negative; they sum to 1.
    pub predictions: Vec<Prediction>,
    /// What judged.
    pub model: String,
    /// When, in RFC 3339.
    pub timestamp: String,
}

/// What the answer tells about its making.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Metadata {
    /// Words in the cleaned text.
    pub word_count: usize,
    /// Sentences in the cleaned text.
    pub sentence_count: usize,
    /// What judged.
    pub model: String,
}

/// The answer of the pipeline.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Postprocessed {
    /// `success`.
    pub status: String,
    /// The first 100 characters of the text.
    pub text_preview: String,
    /// The best label.
    pub classification: Prediction,
    /// All labels, the best first.
    pub all_predictions: Vec<Prediction>,
    /// What is known of the text and the rules.
    pub metadata: Metadata,
    /// The steps that were taken, in order.
    pub steps: Vec<String>,
    /// When the last one ended, in RFC 3339.
    pub completed_at: String,
}

const PRAISE: [&str; 6] = ["amazing", "love", "great", "good", "excellent", "wonderful"];
const BLAME: [&str; 6] = ["awful", "hate", "bad", "poor", "terrible", "broken"];

/// The first stage.
pub fn preprocess(input: RawText) -> Preprocessed {
    let kept = |char: &char| char.is_alphanumeric() || char.is_whitespace() || "_.,!?-".contains(*char);
    let text: String = input.text.chars().filter(kept).collect();
    let cleaned_text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let pieces = cleaned_text.split(['.', '!', '?']);
    Preprocessed {
        status: "success".to_owned(),
        word_count: cleaned_text.split_whitespace().count(),
        sentence_count: pieces.filter(|piece| !piece.trim().is_empty()).count(),
        char_count: cleaned_text.chars().count(),
        original_text: input.text,
        cleaned_text,
        timestamp: now(),
    }
}

/// The second stage.
pub fn infer(input: &CleanText) -> Inference {
    let text = input.cleaned_text.to_lowercase();
    let hits = |known: [&str; 6]| {
        let words = text.split(|char: char| !char.is_alphanumeric());
        words.filter(|word| known.contains(word)).count() as f64
    };
    let weights = [("positive", 0.1 + hits(PRAISE)), ("neutral", 0.2), ("negative", 0.1 + hits(BLAME))];
    let sum: f64 = weights.iter().map(|(_, weight)| weight).sum();
    let prediction =
        |(label, weight): (&str, f64)| Prediction { label: label.to_owned(), confidence: weight / sum };
    Inference {
        status: "success".to_owned(),
        predictions: weights.map(prediction).to_vec(),
        model: "rules".to_owned(),
        timestamp: now(),
    }
}

/// The third stage.
pub fn postprocess(predictions: Vec<Prediction>, original_text: &str, metadata: Metadata) -> Postprocessed {
    let mut all_predictions = predictions;
    all_predictions.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    let unknown = || Prediction { label: "unknown".to_owned(), confidence: 0.0 };
    Postprocessed {
        status: "success".to_owned(),
        text_preview: original_text.chars().take(100).collect(),
        classification: all_predictions.first().cloned().unwrap_or_else(unknown),
        all_predictions,
        metadata,
        steps: ["preprocess", "inference", "postprocess"].map(str::to_owned).to_vec(),
        completed_at: now(),
    }
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn praise_is_positive_and_blame_is_negative() {
        let best = |text: &str| {
            let clean = preprocess(RawText { text: text.to_owned() });
            let input = CleanText { cleaned_text: clean.cleaned_text, word_count: clean.word_count };
            let metadata = Metadata {
                word_count: clean.word_count,
                sentence_count: clean.sentence_count,
                model: "rules".into(),
            };
            postprocess(infer(&input).predictions, &clean.original_text, metadata)
        };
        let answer = best("This product is amazing! I love it!");
        assert_eq!(answer.classification.label, "positive");
        assert_eq!((answer.metadata.word_count, answer.metadata.sentence_count), (7, 2));
        assert_eq!(best("An awful, broken thing.").classification.label, "negative");
    }
}
