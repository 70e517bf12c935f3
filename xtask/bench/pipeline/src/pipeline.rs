//! The pipeline of the mixed-workers example, with rules for a model.
use bench_handwritten::stages::{
    self, CleanText, Inference, Metadata, Postprocessed, Prediction, Preprocessed, RawText,
};
use flash_sdk::{CpuInstance, Error, ResourceConfig, Result, remote};

const PIPELINE: ResourceConfig =
    ResourceConfig::new("classify_pipeline").cpu(CpuInstance::Cpu3g_2_8).workers(1..=1);

/// Cleans a text and counts its words, sentences and characters.
#[remote(worker = "preprocess_worker", cpu = Cpu3g_2_8, workers = 1..=1, max_concurrency = 64)]
pub async fn preprocess_text(input: RawText) -> Result<Preprocessed> {
    Ok(stages::preprocess(input))
}

/// Judges whether a text is positive, neutral or negative.
#[remote(worker = "inference_worker", cpu = Cpu3g_2_8, workers = 1..=1, max_concurrency = 64)]
pub async fn infer(input: CleanText) -> Result<Inference> {
    Ok(stages::infer(&input))
}

/// Turns predictions into the answer for the client.
#[remote(worker = "postprocess_worker", cpu = Cpu3g_2_8, workers = 1..=1, max_concurrency = 64)]
pub async fn postprocess_results(
    predictions: Vec<Prediction>,
    original_text: String,
    metadata: Metadata,
) -> Result<Postprocessed> {
    Ok(stages::postprocess(predictions, &original_text, metadata))
}

/// Classifies the sentiment of a text.
#[remote(resource = PIPELINE, method = POST, path = "/classify")]
pub async fn classify(text: String) -> Result<Postprocessed> {
    if !(3..=10_000).contains(&text.chars().count()) {
        return Err(Error::invalid_input("/text", "3 to 10000 characters are expected"));
    }
    let clean = preprocess_text(RawText { text }).await?;
    let inference =
        infer(CleanText { cleaned_text: clean.cleaned_text, word_count: clean.word_count }).await?;
    let metadata = Metadata {
        word_count: clean.word_count,
        sentence_count: clean.sentence_count,
        model: inference.model,
    };
    postprocess_results(inference.predictions, clean.original_text, metadata).await
}
