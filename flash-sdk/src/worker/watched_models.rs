//! Counts what models behind OpenAI's API do, for the request or job that asked them.
use std::time::Duration;

use flash_openai::{Ended, Host, Usage, Watch};
use flash_protocol::{GenerationEnd, Generations};

use super::reports::{Stage, reports};
use crate::context::Context;

/// This process, as its models know it.
struct ThisWorker;

/// From now on, models are watched. Before they are loaded.
pub(super) fn watch() {
    // Called once per process; a test may have more than one worker in it.
    let _ = flash_openai::set_host(ThisWorker);
}

impl Host for ThisWorker {
    fn begins(&self, model: &str) -> Box<dyn Watch> {
        let context = Context::current();
        if let Some(context) = &context {
            // Its answer says from its head on that something follows.
            context.count_generation(model, |_| {});
        }
        reports().moved(model, None, Some(Stage::Waits));
        Box::new(Answer {
            context,
            model: model.to_owned(),
            stage: Some(Stage::Waits),
            sums: Generations::default(),
        })
    }

    fn broken(&self, reason: &str) {
        reports().broke(reason);
    }

    fn loading(&self, text: &str) {
        reports().loading(text);
    }
}

/// One answer of a model.
struct Answer {
    /// `None` outside a call.
    context: Option<Context>,
    model: String,
    /// `None` once it is over.
    stage: Option<Stage>,
    sums: Generations,
}

impl Answer {
    fn moves(&mut self, to: Option<Stage>) {
        reports().moved(&self.model, std::mem::replace(&mut self.stage, to), to);
    }
}

impl Watch for Answer {
    fn begun(&mut self, waited: Duration) {
        self.moves(Some(Stage::Runs));
        self.sums.queue.record(waited);
    }

    fn first_token(&mut self, after: Duration) {
        self.sums.first_token.record(after);
    }

    fn next_token(&mut self, after: Duration) {
        self.sums.between_tokens.record(after);
    }

    fn ended(mut self: Box<Self>, how: Ended, usage: Usage, after: Duration) {
        let count = |tokens: usize| u64::try_from(tokens).unwrap_or(u64::MAX);
        self.sums.ended(match how {
            Ended::Stop => GenerationEnd::Stop,
            Ended::Length => GenerationEnd::Length,
            Ended::Abort => GenerationEnd::Abort,
            _ => GenerationEnd::Error,
        });
        self.sums.prompt_tokens = count(usage.prompt_tokens);
        self.sums.cached_tokens = count(usage.cached_tokens);
        self.sums.completion_tokens = count(usage.completion_tokens);
        self.sums.total.record(after);
        if let Some(context) = &self.context {
            context.count_generation(&self.model, |sums| sums.add(&self.sums));
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.moves(None);
    }
}
