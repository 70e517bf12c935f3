//! A small language model that chats.
use std::sync::Arc;

use flash_models::LanguageModel;
use flash_sdk::{ModelDir, Result, openai::Models, remote};

/// A loaded model. It serves many chats at once.
struct Chat {
    model: Arc<LanguageModel>,
}

#[remote(worker = "chat", cpu = Cpu3c_2_4, workers = 0..=2, model = "path:../../target/test-models/smollm2")]
impl Chat {
    /// Loads the weights, once per worker.
    #[init]
    fn load(model: ModelDir) -> Result<Self> {
        Ok(Self { model: Arc::new(flash_models::gguf(model)?) })
    }

    /// What clients reach as `"model": "smollm2-135m"`.
    #[openai = "smollm2-135m"]
    fn models(&self) -> Models {
        Models::of_text(self.model.clone())
    }
}
