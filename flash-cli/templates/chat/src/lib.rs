//! A language model behind OpenAI's API.
use std::sync::Arc;

use flash_models::LanguageModel;
use flash_sdk::{ModelDir, Result, openai::Models, remote};

/// A loaded model. It serves many chats at once.
pub struct Chat {
    model: Arc<LanguageModel>,
}

#[remote(
    worker = "chat",
    {{compute}},
    workers = 0..=2,
    model = "bartowski/SmolLM2-135M-Instruct-GGUF",
    files = ["SmolLM2-135M-Instruct-Q8_0.gguf"]
)]
impl Chat {
    /// Loads the weights, once per worker.
    #[init]
    fn load(model: ModelDir) -> Result<Self> {
        Ok(Self { model: Arc::new(flash_models::gguf(model)?) })
    }

    /// Clients reach it as `"model": "smollm2"`.
    #[openai = "smollm2"]
    fn models(&self) -> Models {
        Models::of_text(self.model.clone())
    }
}
