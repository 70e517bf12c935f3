//! What the process around the models is told: how answers go, that a model is broken, what a model loads.
//!
//! The program that serves sets a [`Host`] once; without one, nothing is told. So models and routes know no platform.
use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use crate::model::{Generated, ModelError, Usage};

static HOST: OnceLock<Box<dyn Host>> = OnceLock::new();

/// The process around the models.
pub trait Host: Send + Sync + 'static {
    /// An answer of this model, or an embedding of texts, begins. Called in the task of its request.
    fn begins(&self, model: &str) -> Box<dyn Watch>;

    /// A model cannot be used any more in this process, for this reason. Whoever runs the process should start another.
    fn broken(&self, reason: &str);

    /// A model that is being loaded has come so far, in words such as `reading model.gguf: 40 %`.
    fn loading(&self, text: &str);
}

/// Is told how one answer goes. Times are of the model's steps, not of what a client reads.
pub trait Watch: Send {
    /// The model begins with it; until then it waited.
    fn begun(&mut self, waited: Duration);

    /// The first token came so long after the request.
    fn first_token(&mut self, after: Duration);

    /// Another token came so long after the one before.
    fn next_token(&mut self, after: Duration);

    /// It has ended, so long after the request. `usage` is what it took until then.
    fn ended(self: Box<Self>, how: Ended, usage: Usage, after: Duration);
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// By itself.
    Stop,
    /// At its largest number of tokens, or at the end of the context.
    Length,
    /// Nobody reads it any more.
    Abort,
    /// The model failed.
    Error,
}

/// Sets the host of this process, once, before a model is loaded. Returns `false` if there is one already.
pub fn set_host(host: impl Host) -> bool {
    HOST.set(Box::new(host)).is_ok()
}

/// Tells the host, if there is one, that a model panicked or is unusable for another reason. A model of your own calls it
/// when this process can no longer run it: then the worker is replaced.
pub fn report_broken(reason: &str) {
    if let Some(host) = HOST.get() {
        host.broken(reason);
    }
}

/// Tells the host, if there is one, how far the loading of a model has come.
pub fn report_loading(text: &str) {
    if let Some(host) = HOST.get() {
        host.loading(text);
    }
}

/// Watches one answer from its request to its end. An answer that is dropped before its end was aborted.
pub(crate) struct Watched {
    asked: Instant,
    prompt_tokens: usize,
    /// Whether the model has begun with it.
    has_begun: bool,
    /// When the last token came.
    last: Option<Instant>,
    tokens: usize,
    /// `None` without a host, and after the end.
    watch: Option<Box<dyn Watch>>,
}

impl Watched {
    /// A request for an answer to so many tokens.
    pub(crate) fn new(model: &str, prompt_tokens: usize) -> Self {
        let watch = HOST.get().map(|host| host.begins(model));
        Self { asked: Instant::now(), prompt_tokens, has_begun: false, last: None, tokens: 0, watch }
    }

    /// An item came from the model.
    pub(crate) fn saw(&mut self, item: &Result<Generated, ModelError>) {
        match item {
            Ok(Generated::Begun(at)) => self.begins(*at),
            Ok(Generated::Piece(piece)) => self.came(piece.tokens, piece.at),
            Ok(Generated::End(end)) => {
                let how = match end.finish_reason {
                    crate::FinishReason::Stop => Ended::Stop,
                    crate::FinishReason::Length => Ended::Length,
                };
                self.end(how, end.usage);
            }
            Err(_) => self.end(Ended::Error, self.so_far()),
        }
    }

    fn begins(&mut self, at: Instant) {
        if std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        if let Some(watch) = &mut self.watch {
            watch.begun(at.saturating_duration_since(self.asked));
        }
    }

    /// A model that does not say when a token came is asked for it now.
    fn came(&mut self, tokens: usize, at: Option<Instant>) {
        let count = u32::try_from(tokens).unwrap_or(u32::MAX);
        let Some(watch) = self.watch.as_mut().filter(|_| count > 0) else { return };
        let at = at.unwrap_or_else(Instant::now);
        self.tokens += tokens;
        let rest = match self.last.replace(at) {
            // Several tokens that come together share the time.
            Some(last) => (count, at.saturating_duration_since(last) / count),
            None => {
                if !std::mem::replace(&mut self.has_begun, true) {
                    watch.begun(Duration::ZERO);
                }
                watch.first_token(at.saturating_duration_since(self.asked));
                (count - 1, Duration::ZERO)
            }
        };
        for _ in 0..rest.0.min(MAX_AT_ONCE) {
            watch.next_token(rest.1);
        }
    }

    fn so_far(&self) -> Usage {
        Usage {
            prompt_tokens: if self.has_begun { self.prompt_tokens } else { 0 },
            cached_tokens: 0,
            completion_tokens: self.tokens,
        }
    }

    pub(crate) fn end(&mut self, how: Ended, usage: Usage) {
        if let Some(watch) = self.watch.take() {
            watch.ended(how, usage, self.asked.elapsed());
        }
    }
}

/// Tokens of one piece that are timed each: models choose how many they say came.
const MAX_AT_ONCE: u32 = 1024;

impl Drop for Watched {
    fn drop(&mut self) {
        self.end(Ended::Abort, self.so_far());
    }
}
