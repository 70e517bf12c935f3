//! The second step, on a worker with the model: texts become vectors.
use flash_models::{Encoder, EmbeddingModel as _};
use flash_sdk::{ModelDir, Result, remote};

/// A loaded encoder. Texts of many requests share its batches.
pub struct Embedder {
    encoder: Encoder,
}

#[remote(
    worker = "embedder",
    {{compute}},
    workers = 0..=2,
    model = "sentence-transformers/all-MiniLM-L6-v2",
    files = ["config.json", "tokenizer.json", "model.safetensors", "1_Pooling/config.json"]
)]
impl Embedder {
    /// Loads the weights, once per worker.
    #[init]
    fn load(model: ModelDir) -> Result<Self> {
        Ok(Self { encoder: flash_models::bert(model)? })
    }

    /// The vectors of texts, each of length 1.
    pub async fn embed(&self, texts: Vec<String>) -> Result<Vec<Vec<f32>>> {
        Ok(self.encoder.embed(texts).await?.into_iter().map(|embedding| embedding.vector).collect())
    }

    /// A worker whose model panicked is replaced.
    #[health]
    fn health(&self) -> Result<()> {
        Ok(self.encoder.health()?)
    }
}
