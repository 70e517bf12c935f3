//! An encoder that turns texts into vectors.
use std::sync::Arc;

use flash_models::Encoder;
use flash_sdk::{ModelDir, Result, openai::Models, remote};

/// A loaded encoder. Texts of many requests share its batches.
struct Embeddings {
    encoder: Arc<Encoder>,
}

#[remote(worker = "embeddings", cpu = Cpu3c_2_4, workers = 0..=2, model = "path:../../target/test-models/minilm")]
impl Embeddings {
    /// Loads the weights, once per worker.
    #[init]
    fn load(model: ModelDir) -> Result<Self> {
        Ok(Self { encoder: Arc::new(flash_models::bert(model)?) })
    }

    /// What clients reach as `"model": "minilm"`.
    #[openai = "minilm"]
    fn models(&self) -> Models {
        Models::of_embedding(self.encoder.clone())
    }
}
