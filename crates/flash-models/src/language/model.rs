//! The handle to a model's thread.
use std::{sync::Arc, thread::JoinHandle};

use flash_openai::{Generating, Generation, Message, ModelError, TextModel};
use futures_util::stream;

use super::options::Options;
use crate::{
    engine::Engine,
    error::LoadError,
    schedule::{Limits, Line, Runner},
    text::Vocabulary,
};

/// A language model that serves many requests at once. It has one thread of its own, which ends when this is dropped;
/// generations that run then fail.
#[derive(Debug)]
pub struct LanguageModel {
    vocabulary: Arc<Vocabulary>,
    line: Arc<Line>,
    context: usize,
    thread: Option<JoinHandle<()>>,
}

impl LanguageModel {
    /// Serves an engine.
    ///
    /// # Errors
    ///
    /// If the system gives no thread.
    pub fn serve<E: Engine>(engine: E, vocabulary: Vocabulary, options: Options) -> Result<Self, LoadError> {
        let dimensions = engine.dimensions();
        let tokens = options.cache_bytes / dimensions.bytes_per_token.max(1);
        // A prompt and an answer have a token at least.
        let context = dimensions.context.min(tokens).max(2);
        let (running, tokens) = (options.running.max(1), tokens.max(context));
        let chunk = options.prompt_chunk.max(1);
        let limits = Limits { running, tokens, chunk, grant: Limits::grant_of(tokens, running) };
        let (vocabulary, line) = (Arc::new(vocabulary), Line::new(options.waiting));
        let runner = Runner::new(engine, Arc::clone(&vocabulary), Arc::clone(&line), limits, context);
        let thread = std::thread::Builder::new().name("model".to_owned()).spawn(move || runner.run());
        let thread = Some(thread.map_err(|source| LoadError::Thread { source })?);
        Ok(Self { vocabulary, line, context, thread })
    }

    /// Whether the model can still answer. Return this from a `#[health]` method, so that the worker is replaced after a
    /// panic: candle's thread pool may be unusable for the whole process.
    ///
    /// # Errors
    ///
    /// If the model panicked.
    pub fn health(&self) -> Result<(), ModelError> {
        self.line.health()
    }

    /// Requests that wait for others to end.
    pub fn waiting(&self) -> usize {
        self.line.waiting()
    }
}

impl TextModel for LanguageModel {
    fn context_length(&self) -> usize {
        self.context
    }

    fn chat_prompt(&self, messages: &[Message]) -> Result<Vec<u32>, ModelError> {
        self.vocabulary.chat_prompt(messages)
    }

    fn text_prompt(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        self.vocabulary.text_prompt(text)
    }

    fn generate(&self, generation: Generation) -> Generating {
        match self.line.submit(generation) {
            Ok(answer) => Box::pin(answer),
            Err(error) => Box::pin(stream::iter([Err(error)])),
        }
    }
}

impl Drop for LanguageModel {
    fn drop(&mut self) {
        self.line.close();
        if let Some(thread) = self.thread.take() {
            // At most one turn of the model. It has logged its own panic.
            let _ = thread.join();
        }
    }
}
