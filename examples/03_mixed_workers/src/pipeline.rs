//! The pipeline: one route that calls the three stages, each on its own worker type.
use flash_sdk::{CpuInstance, Error, ResourceConfig, Result, remote};

use crate::{
    cpu_worker::{Metadata, Postprocessed, RawText, postprocess_results, preprocess_text},
    gpu_worker::{CleanText, Sentiment},
};

const PIPELINE: ResourceConfig =
    ResourceConfig::new("classify_pipeline").cpu(CpuInstance::Cpu3c_1_2).workers(1..=3);

/// Length of a text in characters, from and to.
const LENGTH: std::ops::RangeInclusive<usize> = 3..=10_000;

/// Classifies the sentiment of a text: clean on a CPU worker, infer on a GPU worker, format on a CPU worker.
#[remote(resource = PIPELINE, method = POST, path = "/classify")]
pub async fn classify(text: String) -> Result<Postprocessed> {
    let length = text.chars().count();
    if !LENGTH.contains(&length) {
        return Err(Error::invalid_input(
            "/text",
            format!("3 to 10000 characters are expected, {length} were given"),
        ));
    }
    let clean = preprocess_text(RawText { text }).await?;
    let input = CleanText { cleaned_text: clean.cleaned_text, word_count: clean.word_count };
    let inference = Sentiment::classify(input).await?;
    let metadata = Metadata {
        word_count: clean.word_count,
        sentence_count: clean.sentence_count,
        model: inference.model_info.model_type,
    };
    postprocess_results(inference.predictions, clean.original_text, metadata).await
}

#[cfg(test)]
mod tests {
    use flash_sdk::ErrorKind;

    use super::*;

    #[tokio::test]
    async fn the_whole_pipeline_runs_in_one_process() {
        let result = classify("This product is amazing! I love it!".to_owned()).await.unwrap();
        assert_eq!(result.classification.label, "positive");
        assert_eq!((result.metadata.word_count, result.metadata.sentence_count), (7, 2));
        assert_eq!(result.processing_pipeline.steps.len(), 3);
    }

    #[tokio::test]
    async fn a_text_of_the_wrong_length_is_refused() {
        for text in ["", "ab", "é", &"x".repeat(10_001)] {
            let error = classify(text.to_owned()).await.unwrap_err();
            assert_eq!(
                (error.kind(), &*error.fields()[0].path),
                (ErrorKind::InvalidInput, "/text"),
                "{text:.5}"
            );
        }
        assert!(classify("ééé".to_owned()).await.is_ok());
    }
}
