//! An encoder behind OpenAI's API, and a route that compares texts with it.
use std::sync::Arc;

use flash_models::Encoder;
use flash_sdk::{
    Error, ModelDir, Result,
    openai::{EmbeddingModel as _, Models},
    remote,
};

/// A loaded encoder. Texts of many requests share its batches.
pub struct Embeddings {
    encoder: Arc<Encoder>,
}

#[remote(
    worker = "embeddings",
    {{compute}},
    workers = 0..=2,
    max_concurrency = 64,
    model = "sentence-transformers/all-MiniLM-L6-v2",
    files = ["config.json", "tokenizer.json", "model.safetensors", "1_Pooling/config.json"]
)]
impl Embeddings {
    /// Loads the weights, once per worker.
    #[init]
    fn load(model: ModelDir) -> Result<Self> {
        Ok(Self { encoder: Arc::new(flash_models::bert(model)?) })
    }

    /// Clients reach it as `"model": "minilm"`.
    #[openai = "minilm"]
    fn models(&self) -> Models {
        Models::of_embedding(self.encoder.clone())
    }

    /// How alike two texts are: 1 if they mean the same, about 0 if they have nothing in common.
    #[route(method = POST, path = "/similarity")]
    pub async fn similarity(&self, first: String, second: String) -> Result<f32> {
        let texts = self.encoder.embed(vec![first, second]).await?;
        let [first, second] = texts.as_slice() else { return Err(Error::handler("the encoder lost a text")) };
        Ok(dot(&first.vector, &second.vector))
    }
}

/// The cosine of the angle between two vectors of length 1.
pub fn dot(first: &[f32], second: &[f32]) -> f32 {
    first.iter().zip(second).map(|(one, other)| one * other).sum()
}
