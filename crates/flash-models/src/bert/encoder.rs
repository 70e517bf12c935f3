//! The handle to an encoder's thread.
use std::{fmt, sync::Arc, thread::JoinHandle};

use flash_openai::{BoxFuture, Embedding, EmbeddingModel, ModelError};
use tokenizers::Tokenizer;

use super::{
    batch::Limits,
    network::{Network, Precision},
    queue::{Queue, unloaded},
};
use crate::{device_error::engine_error, error::LoadError};

/// How much an encoder does at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncoderOptions {
    /// Texts of a batch, from 1. 32 by default.
    pub batch: usize,
    /// Tokens of a batch with padding. A longer text runs alone. 4,096 by default.
    pub batch_tokens: usize,
    /// Texts that wait, of all requests. More are refused with 503. 8,192 by default.
    pub waiting: usize,
    /// How matrices are stored on a CPU. Eight bits by default.
    pub precision: Precision,
}

impl Default for EncoderOptions {
    fn default() -> Self {
        Self { batch: 32, batch_tokens: 4096, waiting: 8192, precision: Precision::default() }
    }
}

/// An encoder that serves many requests at once: while a batch runs the next one gathers, so that nothing waits without
/// need. It has one thread of its own, which ends when this is dropped.
pub struct Encoder {
    tokenizer: Arc<Tokenizer>,
    longest: usize,
    dimensions: usize,
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

impl Encoder {
    pub(super) fn serve(
        network: Network,
        tokenizer: Tokenizer,
        longest: usize,
        dimensions: usize,
        options: EncoderOptions,
    ) -> Result<Self, LoadError> {
        let queue = Queue::new(options.waiting);
        let limits = Limits { texts: options.batch.max(1), tokens: options.batch_tokens };
        let compute = move |texts: &[&[u32]]| network.encode(texts).map_err(engine_error);
        let runs = Arc::clone(&queue);
        let thread = std::thread::Builder::new()
            .name("encoder".to_owned())
            .spawn(move || runs.run(limits, Box::new(compute)))
            .map_err(|source| LoadError::Thread { source })?;
        Ok(Self { tokenizer: Arc::new(tokenizer), longest, dimensions, queue, thread: Some(thread) })
    }

    /// Whether the model can still answer. Return this from a `#[health]` method, so that the worker is replaced after a
    /// panic.
    ///
    /// # Errors
    ///
    /// If the model panicked.
    pub fn health(&self) -> Result<(), ModelError> {
        self.queue.health()
    }

    /// Tokens that a text may have.
    pub fn longest_text(&self) -> usize {
        self.longest
    }

    fn tokenize(&self, texts: Vec<String>) -> Result<Vec<Vec<u32>>, ModelError> {
        let encodings = self
            .tokenizer
            .encode_batch_fast(texts, true)
            .map_err(|source| ModelError::internal("the text could not be tokenized").with_source(source))?;
        let ids = encodings.iter().map(|encoding| match encoding.get_ids() {
            [] => Err(ModelError::invalid_request("a text has no tokens").with_param("input")),
            ids if ids.len() > self.longest => {
                Err(ModelError::context_length(ids.len(), self.longest).with_param("input"))
            }
            ids => Ok(ids.to_vec()),
        });
        ids.collect()
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Encoder").field("dimensions", &self.dimensions).finish_non_exhaustive()
    }
}

impl EmbeddingModel for Encoder {
    fn dimensions(&self) -> usize {
        self.dimensions
    }

    fn embed(&self, texts: Vec<String>) -> BoxFuture<'_, Result<Vec<Embedding>, ModelError>> {
        Box::pin(async move {
            let texts = self.tokenize(texts)?;
            let lengths: Vec<usize> = texts.iter().map(Vec::len).collect();
            let mut embeddings = Vec::with_capacity(lengths.len());
            for (answer, tokens) in self.queue.submit(texts)?.into_iter().zip(lengths) {
                let vector = answer.await.map_err(|_| unloaded())??;
                embeddings.push(Embedding { vector, tokens });
            }
            Ok(embeddings)
        })
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.take() {
            // At most one batch. It has logged its own panic.
            let _ = thread.join();
        }
    }
}
