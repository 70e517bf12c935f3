//! The cheap stages, before and after the model.
//!
//! Both run on the same kind of CPU worker, each scaled by its own load.
use flash_sdk::{Result, remote};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A text as a client sends it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RawText {
    /// The text to classify.
    pub text: String,
}

/// A text ready for the model.
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
    /// Where.
    pub worker_type: String,
}

/// One label and how sure the model is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Prediction {
    /// `positive`, `neutral` or `negative`.
    pub label: String,
    /// From 0 to 1, four decimals.
    pub confidence: f64,
}

/// What the answer tells about its making.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Metadata {
    /// Words in the cleaned text.
    pub word_count: usize,
    /// Sentences in the cleaned text.
    pub sentence_count: usize,
    /// The model that answered.
    pub model: String,
}

/// The best label.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Classification {
    /// `positive`, `neutral` or `negative`; `unknown` without predictions.
    pub label: String,
    /// From 0 to 1.
    pub confidence: f64,
    /// How far to trust it.
    pub confidence_level: ConfidenceLevel,
}

/// How far to trust a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConfidenceLevel {
    /// Over 0.8.
    High,
    /// Over 0.5.
    Medium,
    /// 0.5 or less.
    Low,
    /// There are no predictions.
    None,
}

/// The steps that were taken.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ProcessingPipeline {
    /// In order.
    pub steps: Vec<String>,
    /// When the last one ended, in RFC 3339.
    pub completed_at: String,
}

/// The answer of the pipeline.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Postprocessed {
    /// `success`.
    pub status: String,
    /// The first 100 characters of the text, then `…` if there are more.
    pub text_preview: String,
    /// The best label.
    pub classification: Classification,
    /// All labels, the best first.
    pub all_predictions: Vec<Prediction>,
    /// What is known of the text and the model.
    pub metadata: Metadata,
    /// The steps that were taken.
    pub processing_pipeline: ProcessingPipeline,
    /// Where.
    pub worker_type: String,
}

/// Cleans a text and counts its words, sentences and characters.
#[remote(worker = "preprocess_worker", cpu = Cpu3g_2_8, workers = 0..=10, idle_timeout = 3, execution_timeout = 30)]
pub async fn preprocess_text(input: RawText) -> Result<Preprocessed> {
    let cleaned_text = clean(&input.text);
    let (word_count, sentence_count) = (cleaned_text.split_whitespace().count(), sentences(&cleaned_text));
    tracing::info!("{word_count} words in {sentence_count} sentences");
    Ok(Preprocessed {
        status: "success".to_owned(),
        char_count: cleaned_text.chars().count(),
        original_text: input.text,
        cleaned_text,
        word_count,
        sentence_count,
        timestamp: now(),
        worker_type: "CPU".to_owned(),
    })
}

/// Turns the model's predictions into the answer for the client.
#[remote(worker = "postprocess_worker", cpu = Cpu3g_2_8, workers = 0..=10, idle_timeout = 3, execution_timeout = 30)]
pub async fn postprocess_results(
    predictions: Vec<Prediction>,
    original_text: String,
    metadata: Metadata,
) -> Result<Postprocessed> {
    let mut all_predictions = predictions;
    all_predictions.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    let steps = ["preprocess", "inference", "postprocess"].map(str::to_owned).to_vec();
    Ok(Postprocessed {
        status: "success".to_owned(),
        text_preview: preview(&original_text),
        classification: best(&all_predictions),
        all_predictions,
        metadata,
        processing_pipeline: ProcessingPipeline { steps, completed_at: now() },
        worker_type: "CPU".to_owned(),
    })
}

/// Trims, makes each run of white space one space, and drops what is not a word character, white space or
/// one of `. , ! ? -`.
fn clean(text: &str) -> String {
    let kept = |char: &char| char.is_alphanumeric() || char.is_whitespace() || "_.,!?-".contains(*char);
    let text: String = text.chars().filter(kept).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn sentences(text: &str) -> usize {
    text.split(['.', '!', '?']).filter(|piece| !piece.trim().is_empty()).count()
}

fn preview(text: &str) -> String {
    first_characters(text, 100, "…")
}

/// The first `count` characters, with `more` after them where there are more.
pub fn first_characters(text: &str, count: usize, more: &str) -> String {
    match text.char_indices().nth(count) {
        Some((end, _)) => format!("{}{more}", &text[..end]),
        None => text.to_owned(),
    }
}

fn best(sorted: &[Prediction]) -> Classification {
    match sorted.first() {
        Some(Prediction { label, confidence }) => Classification {
            label: label.clone(),
            confidence: *confidence,
            confidence_level: match *confidence {
                confidence if confidence > 0.8 => ConfidenceLevel::High,
                confidence if confidence > 0.5 => ConfidenceLevel::Medium,
                _ => ConfidenceLevel::Low,
            },
        },
        None => Classification {
            label: "unknown".to_owned(),
            confidence: 0.0,
            confidence_level: ConfidenceLevel::None,
        },
    }
}

/// This moment in RFC 3339.
pub fn now() -> String {
    jiff::Timestamp::now().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaning_follows_the_rules() {
        assert_eq!(clean("  a\t b\n\nc  "), "a b c");
        assert_eq!(clean("50% off* <b>now</b>! really-good_thing?"), "50 off bnowb! really-good_thing?");
        assert_eq!(clean("Größe 好き 😀."), "Größe 好き .");
    }

    #[test]
    fn sentences_are_the_pieces_between_marks() {
        assert_eq!(sentences("This product is amazing! I love it!"), 2);
        assert_eq!(sentences("Wait... what?! No"), 3);
        assert_eq!(sentences("..."), 0);
    }

    #[test]
    fn a_preview_counts_characters_not_bytes() {
        assert_eq!(preview(&"é".repeat(100)), "é".repeat(100));
        assert_eq!(preview(&"é".repeat(101)), format!("{}…", "é".repeat(100)));
    }

    #[test]
    fn the_confidence_level_has_open_bounds() {
        let level =
            |confidence| best(&[Prediction { label: "positive".into(), confidence }]).confidence_level;
        assert_eq!([0.81, 0.8, 0.51, 0.5].map(level), {
            use ConfidenceLevel::{High, Low, Medium};
            [High, Medium, Medium, Low]
        });
        assert_eq!(best(&[]).confidence_level, ConfidenceLevel::None);
    }
}
