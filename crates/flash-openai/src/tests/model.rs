//! Models for tests.
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::{StreamExt as _, stream};

use crate::{
    BoxFuture, Embedding, EmbeddingModel, End, FinishReason, Generated, Generating, Generation, LogProb,
    Message, ModelError, Piece, TextModel, TokenLogProb, Usage,
};

/// Generates what it is told. A token is a byte; its context is 100 of them.
pub(super) struct Scripted {
    pieces: Vec<Result<String, fn() -> ModelError>>,
    /// What it was asked, in order.
    pub(super) asked: Mutex<Vec<Generation>>,
    /// Generations that were dropped before their end.
    pub(super) cancelled: Arc<AtomicUsize>,
    /// Whether its streams never end.
    is_endless: bool,
}

impl Scripted {
    fn new(pieces: Vec<Result<String, fn() -> ModelError>>, is_endless: bool) -> Arc<Self> {
        Arc::new(Self { pieces, asked: Mutex::default(), cancelled: Arc::default(), is_endless })
    }

    pub(super) fn says(pieces: &[&str]) -> Arc<Self> {
        Self::new(pieces.iter().map(|&piece| Ok(piece.to_owned())).collect(), false)
    }

    /// Says the pieces and waits for ever.
    pub(super) fn hangs_after(pieces: &[&str]) -> Arc<Self> {
        Self::new(pieces.iter().map(|&piece| Ok(piece.to_owned())).collect(), true)
    }

    pub(super) fn fails_after(pieces: &[&str], error: fn() -> ModelError) -> Arc<Self> {
        let said = pieces.iter().map(|&piece| Ok(piece.to_owned()));
        Self::new(said.chain([Err(error)]).collect(), false)
    }

    pub(super) fn asked(&self) -> Vec<Generation> {
        self.asked.lock().unwrap().clone()
    }
}

fn bytes(text: &str) -> Vec<u32> {
    text.bytes().map(u32::from).collect()
}

fn logprob(text: &str, logprob: f32) -> LogProb {
    LogProb { bytes: text.as_bytes().to_vec(), logprob }
}

impl TextModel for Scripted {
    fn context_length(&self) -> usize {
        100
    }

    fn chat_prompt(&self, messages: &[Message]) -> Result<Vec<u32>, ModelError> {
        let lines =
            messages.iter().map(|message| format!("{}: {}\n", message.role.as_str(), message.content));
        Ok(bytes(&lines.collect::<String>()))
    }

    fn text_prompt(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        Ok(bytes(text))
    }

    fn generate(&self, generation: Generation) -> Generating {
        let top = generation.sampling.logprobs;
        let prompt_tokens = generation.prompt.len();
        let mut items: Vec<Result<Generated, ModelError>> = Vec::new();
        for piece in &self.pieces {
            let text = match piece {
                Ok(text) => text.clone(),
                Err(error) => {
                    items.push(Err(error()));
                    break;
                }
            };
            let top = top.map(|count| TokenLogProb {
                chosen: logprob(&text, -0.5),
                top: [logprob(&text, -0.5), logprob("?", f32::NEG_INFINITY)]
                    .into_iter()
                    .take(count)
                    .collect(),
            });
            items.push(Ok(Generated::Piece(Piece {
                tokens: 1,
                at: None,
                logprobs: top.into_iter().collect(),
                text,
            })));
        }
        if items.iter().all(Result::is_ok) && !self.is_endless {
            let usage = Usage { prompt_tokens, cached_tokens: 2, completion_tokens: self.pieces.len() + 1 };
            items.push(Ok(Generated::End(End { finish_reason: FinishReason::Stop, usage })));
        }
        self.asked.lock().unwrap().push(generation);
        let rest = if self.is_endless { stream::pending().boxed() } else { stream::empty().boxed() };
        let watched = Watched { cancelled: self.cancelled.clone(), is_over: false };
        let items = stream::iter(items).chain(rest);
        Box::pin(stream::unfold((items.boxed(), watched), |(mut items, mut watched)| async move {
            match items.next().await {
                Some(item) => {
                    watched.is_over = matches!(item, Ok(Generated::End(_)) | Err(_));
                    Some((item, (items, watched)))
                }
                None => None,
            }
        }))
    }
}

/// Counts a generation that is dropped before its end.
struct Watched {
    cancelled: Arc<AtomicUsize>,
    is_over: bool,
}

impl Drop for Watched {
    fn drop(&mut self) {
        if !self.is_over {
            self.cancelled.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Embeds a text as its length, 3, 4 and 0.
pub(super) struct Lengths {
    can_shorten: bool,
}

impl Lengths {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { can_shorten: false })
    }

    pub(super) fn that_can_shorten() -> Arc<Self> {
        Arc::new(Self { can_shorten: true })
    }
}

impl EmbeddingModel for Lengths {
    fn dimensions(&self) -> usize {
        4
    }

    fn can_shorten(&self) -> bool {
        self.can_shorten
    }

    fn embed(&self, texts: Vec<String>) -> BoxFuture<'_, Result<Vec<Embedding>, ModelError>> {
        Box::pin(async move {
            let embed = |text: &String| match text.len() {
                tokens @ 0..=50 => Ok(Embedding { vector: vec![tokens as f32, 4.0, 0.5, 0.0], tokens }),
                tokens => Err(ModelError::context_length(tokens, 50)),
            };
            texts.iter().map(embed).collect()
        })
    }
}
