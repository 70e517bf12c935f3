//! The thread of the model: admits, feeds, samples, sends. What it does without memory is in `shortage.rs`.
use std::{
    any::Any,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use flash_openai::{End, FinishReason, ModelError, Piece, Usage};

use super::{
    line::{Line, Request, broken},
    plan::{Id, Limits, Needs, Scheduler, Work},
    prefixes::Prefixes,
    reply::Reply,
};
use crate::{
    engine::{Engine, EngineError, EngineErrorKind, Part},
    sampling::{Sampler, Strategy},
    text::{AnswerText, Vocabulary},
};

/// Owns the engine and everything that runs on it.
pub(crate) struct Runner<E: Engine> {
    engine: E,
    vocabulary: Arc<Vocabulary>,
    line: Arc<Line>,
    limits: Limits,
    /// Tokens that a sequence may have.
    context: usize,
    pub(super) scheduler: Scheduler,
    pub(super) prefixes: Prefixes<E::Sequence>,
    pub(super) running: Vec<Running<E::Sequence>>,
    /// Those that made way for others, without their sequences: the first that came is the first.
    pub(super) made_way: VecDeque<Running<E::Sequence>>,
    next_id: Id,
}

/// A generation that runs.
pub(super) struct Running<S> {
    pub(super) id: Id,
    /// What is read before the next token: the prompt, and of one that made way the answer until then.
    prompt: Arc<[u32]>,
    /// Tokens of the request's prompt.
    pub(super) asked: usize,
    /// The answer so far.
    pub(super) answer: Vec<u32>,
    /// `None` until its first turn.
    sequence: Option<S>,
    /// Tokens of the prompt that the sequence has.
    read: usize,
    /// Those of them that came from a prefix.
    cached: usize,
    /// The token that was chosen last.
    token: u32,
    most: usize,
    ignores_end: bool,
    sampler: Sampler,
    text: AnswerText,
    pub(super) reply: Reply,
}

/// Whether a generation goes on.
enum Next {
    Continue,
    End(FinishReason),
    Fail(ModelError),
}

impl<E: Engine> Runner<E> {
    /// `context` is at most the tokens of `limits`.
    pub(crate) fn new(
        engine: E,
        vocabulary: Arc<Vocabulary>,
        line: Arc<Line>,
        limits: Limits,
        context: usize,
    ) -> Self {
        Self {
            engine,
            vocabulary,
            line,
            limits,
            context,
            scheduler: Scheduler::new(limits),
            prefixes: Prefixes::new(limits.chunk),
            running: Vec::new(),
            made_way: VecDeque::new(),
            next_id: 0,
        }
    }

    /// Runs until the line is closed or the engine panics.
    pub(crate) fn run(mut self) {
        self.line.attach();
        while !self.line.is_closed() {
            // The engine's state is not used after a panic.
            match catch_unwind(AssertUnwindSafe(|| self.turn())) {
                Ok(true) => {}
                Ok(false) => std::thread::park(),
                Err(panic) => {
                    let reason = words(&*panic);
                    tracing::error!("the model panicked: {reason}");
                    self.line.break_down(&reason);
                    self.fail_all(|| broken(&reason));
                    flash_openai::report_broken(&format!("the model panicked: {reason}"));
                    break;
                }
            }
        }
        self.fail_all(|| ModelError::internal("the model was unloaded"));
    }

    /// One turn of the model. `false` if there was nothing to do.
    fn turn(&mut self) -> bool {
        let scheduler = &mut self.scheduler;
        self.running.retain(|running| {
            let gone = running.reply.is_gone();
            if gone {
                scheduler.remove(running.id);
            }
            !gone
        });
        self.made_way.retain(|running| !running.reply.is_gone());
        self.make_room();
        while self.admit() {}
        let turn = self.plan();
        if turn.is_empty() {
            return false;
        }
        match self.compute(&turn) {
            Ok(rows) => self.answer(&turn, rows),
            Err(error) if error.kind() == EngineErrorKind::OutOfMemory => self.shrink(&turn, &error),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the model failed");
                for running in self.running.extract_if(.., |running| work_of(running.id, &turn).is_some()) {
                    self.scheduler.remove(running.id);
                    running.reply.fail(ModelError::internal(format!("the model failed: {error}")));
                }
            }
        }
        true
    }

    /// Lets the latest make way, if the answers have no room for another token.
    fn make_room(&mut self) {
        let room = self.scheduler.make_room(self.prefixes.tokens());
        self.prefixes.shrink(self.prefixes.tokens() - room.forget);
        for id in room.make_way {
            let Some(at) = self.running.iter().position(|running| running.id == id) else { continue };
            let running = self.running.remove(at).set_aside();
            self.made_way.push_front(running);
        }
    }

    /// Lets the first that made way run again, if there is room. `None` if there is none.
    fn admit_again(&mut self) -> Option<bool> {
        let first = self.made_way.front()?;
        let needs = Needs { prompt: first.prompt.len(), total: first.asked + first.most, after: None };
        let forget = self.scheduler.room_for(&needs, self.prefixes.tokens());
        if let Some((forget, running)) = forget.and_then(|forget| Some((forget, self.made_way.pop_front()?)))
        {
            self.prefixes.shrink(self.prefixes.tokens() - forget);
            self.scheduler.admit(running.id, &needs);
            self.running.push(running);
        }
        Some(forget.is_some())
    }

    /// Lets the first of the line run, if there is room. Those that made way were there before.
    fn admit(&mut self) -> bool {
        if let Some(admitted) = self.admit_again() {
            return admitted;
        }
        let (mut forget, mut needs) = (0, None);
        let request = self.line.next_if(|request| {
            let wanted = self.needs(request);
            let room = self.scheduler.room_for(&wanted, self.prefixes.tokens());
            forget = room.unwrap_or_default();
            needs = Some(wanted);
            room.is_some()
        });
        let (Some(request), Some(needs)) = (request, needs) else { return false };
        let Request { prompt, sampling, reply } = request;
        if prompt.is_empty() || prompt.len() >= self.context {
            reply.fail(ModelError::context_length(prompt.len(), self.context - 1));
            return true;
        }
        self.prefixes.shrink(self.prefixes.tokens() - forget);
        self.next_id += 1;
        self.scheduler.admit(self.next_id, &needs);
        reply.begun();
        self.running.push(Running {
            id: self.next_id,
            sequence: None,
            read: 0,
            cached: 0,
            token: 0,
            asked: prompt.len(),
            answer: Vec::new(),
            most: needs.total - needs.prompt,
            ignores_end: sampling.ignore_eos,
            sampler: Sampler::new(Strategy::from(&sampling), &prompt),
            text: AnswerText::new(Arc::clone(&self.vocabulary), sampling.stop),
            prompt,
            reply,
        });
        true
    }

    fn needs(&self, request: &Request) -> Needs {
        let prompt = request.prompt.len();
        let total = prompt.saturating_add(request.sampling.max_tokens.max(1)).min(self.context);
        // A short prompt is not worth waiting for.
        let same = |running: &&Running<E::Sequence>| {
            prompt > self.limits.chunk
                && running.read < running.prompt.len()
                && running.prompt == request.prompt
        };
        Needs { prompt, total, after: self.running.iter().find(same).map(|running| running.id) }
    }

    /// What is computed next. Sequences that begin have their prefix.
    fn plan(&mut self) -> Vec<(Id, Work)> {
        loop {
            let can_take =
                |id| self.running.iter().any(|running| running.id == id && running.reply.can_take());
            let turn = self.scheduler.next_turn(can_take);
            let begins = |running: &Running<E::Sequence>| {
                running.sequence.is_none() && turn.iter().any(|(id, _)| *id == running.id)
            };
            let Some(at) = self.running.iter().position(begins) else { return turn };
            self.begin(at);
        }
    }

    /// Gives a generation its sequence: the longest prefix that is known, or an empty one.
    fn begin(&mut self, at: usize) {
        let running = &mut self.running[at];
        if let Some((prefix, tokens)) = self.prefixes.longest(&running.prompt) {
            match self.engine.prefix(prefix, tokens) {
                Ok(Some(sequence)) => {
                    running.sequence = Some(sequence);
                    running.read = tokens;
                    if running.answer.is_empty() {
                        running.cached = tokens;
                    }
                    self.scheduler.prompt_read(running.id, tokens);
                }
                Ok(None) => {}
                Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "no prefix is used"),
            }
        }
        if running.sequence.is_none() {
            running.sequence = Some(self.engine.sequence());
        }
    }

    /// Feeds the engine. A row of logits for each entry of the turn, in the order of `running`.
    fn compute(&mut self, turn: &[(Id, Work)]) -> Result<Vec<Vec<f32>>, EngineError> {
        let mut parts = Vec::with_capacity(turn.len());
        for running in &mut self.running {
            let Running { id, prompt, sequence: Some(sequence), read, token, .. } = running else { continue };
            match work_of(*id, turn) {
                Some(Work::Prompt(count)) => {
                    let end = *read + count;
                    parts.push(Part {
                        sequence,
                        tokens: &prompt[*read..end],
                        wants_logits: end == prompt.len(),
                    });
                }
                Some(Work::Token) => {
                    parts.push(Part { sequence, tokens: std::slice::from_ref(token), wants_logits: true });
                }
                None => {}
            }
        }
        let rows = self.engine.forward(&mut parts)?;
        match rows.len() == parts.len() {
            true => Ok(rows),
            false => {
                let message =
                    format!("the engine gave {} rows of logits for {} parts", rows.len(), parts.len());
                Err(EngineError::new(message))
            }
        }
    }

    /// Chooses and sends the tokens of a turn.
    fn answer(&mut self, turn: &[(Id, Work)], rows: Vec<Vec<f32>>) {
        let mut rows = rows.into_iter();
        let mut ended = Vec::new();
        for at in 0..self.running.len() {
            let Some(work) = work_of(self.running[at].id, turn) else { continue };
            let row = rows.next().unwrap_or_default();
            if work == Work::Token {
                self.scheduler.token_taken(self.running[at].id);
            }
            if let Work::Prompt(count) = work {
                let running = &mut self.running[at];
                running.read += count;
                self.scheduler.prompt_read(running.id, count);
                if running.read < running.prompt.len() {
                    continue;
                }
                self.keep_prefix(at);
            }
            let running = &mut self.running[at];
            match running.take(row, &self.vocabulary) {
                Next::Continue => {}
                Next::End(finish_reason) => {
                    self.scheduler.recover();
                    running.reply.end(End { finish_reason, usage: running.usage() });
                    ended.push(running.id);
                }
                Next::Fail(error) => {
                    running.reply.fail(error);
                    ended.push(running.id);
                }
            }
        }
        self.running.retain(|running| !ended.contains(&running.id));
        ended.into_iter().for_each(|id| self.scheduler.remove(id));
    }

    /// Keeps the beginning of a prompt that was read, if there is room beside what runs.
    fn keep_prefix(&mut self, at: usize) {
        let Running { prompt, sequence: Some(sequence), cached, answer, .. } = &self.running[at] else {
            return;
        };
        if !answer.is_empty() {
            return;
        }
        let tokens = self.prefixes.worth_keeping(prompt);
        let Some(left) = self.scheduler.room_for_prefixes().checked_sub(tokens) else { return };
        if tokens == 0 || tokens == *cached {
            return;
        }
        self.prefixes.shrink(left);
        match self.engine.prefix(sequence, tokens) {
            Ok(Some(prefix)) => self.prefixes.keep(Arc::clone(prompt), tokens, prefix),
            Ok(None) => {}
            Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "no prefix is kept"),
        }
    }

    fn fail_all(&mut self, error: impl Fn() -> ModelError) {
        for running in self.running.drain(..).chain(self.made_way.drain(..)) {
            self.scheduler.remove(running.id);
            running.reply.fail(error());
        }
    }
}

impl<S> Running<S> {
    /// Without its sequence: it reads its prompt and its answer so far when it runs again.
    pub(super) fn set_aside(mut self) -> Self {
        self.sequence = None;
        self.read = 0;
        self.prompt = self.prompt[..self.asked].iter().chain(&self.answer).copied().collect();
        self
    }

    /// Chooses a token from logits, and sends what it adds.
    fn take(&mut self, logits: Vec<f32>, vocabulary: &Vocabulary) -> Next {
        let Some(chosen) = self.sampler.choose(logits) else {
            return Next::Fail(ModelError::internal("the model failed: its logits are no numbers"));
        };
        self.token = chosen.token;
        self.answer.push(chosen.token);
        let ends = !self.ignores_end && vocabulary.ends_with(chosen.token);
        let mut added = match ends {
            true => self.text.end(),
            false => self.text.push(&chosen),
        };
        let full = self.answer.len() >= self.most;
        if full && !ends && !added.stopped {
            let rest = self.text.end();
            added.text.push_str(&rest.text);
            added.logprobs.extend(rest.logprobs);
            added.stopped = rest.stopped;
        }
        let next = match (ends || added.stopped, full) {
            (true, _) => Next::End(FinishReason::Stop),
            (false, true) => Next::End(FinishReason::Length),
            (false, false) => Next::Continue,
        };
        let at = Some(Instant::now());
        self.reply.piece(Piece { text: added.text, tokens: 1, at, logprobs: added.logprobs });
        next
    }

    fn usage(&self) -> Usage {
        Usage { prompt_tokens: self.asked, cached_tokens: self.cached, completion_tokens: self.answer.len() }
    }
}

pub(super) fn work_of(id: Id, turn: &[(Id, Work)]) -> Option<Work> {
    turn.iter().find(|(other, _)| *other == id).map(|(_, work)| *work)
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message").to_owned()
}
