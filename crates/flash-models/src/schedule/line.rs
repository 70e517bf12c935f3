//! Where requests wait for the model: bounded, first come first served.
use std::{collections::VecDeque, sync::Arc};

use flash_openai::{Generation, ModelError, Sampling};
use parking_lot::Mutex;

use super::{
    reply::{Answer, Reply, reply},
    wake::Wake,
};

/// A request with the way back.
#[derive(Debug)]
pub(crate) struct Request {
    pub(super) prompt: Arc<[u32]>,
    pub(super) sampling: Sampling,
    pub(super) reply: Reply,
}

/// Shared by the model's thread, the handle and the readers of answers.
#[derive(Debug)]
pub(crate) struct Line {
    longest: usize,
    state: Mutex<State>,
    wake: Arc<Wake>,
}

#[derive(Debug)]
enum State {
    Open(VecDeque<Request>),
    /// The handle is gone.
    Closed,
    /// The model panicked with these words. Its state, and that of the libraries below it, cannot be trusted.
    Broken(String),
}

impl Line {
    /// At most `longest` requests wait.
    pub(crate) fn new(longest: usize) -> Arc<Self> {
        let state = Mutex::new(State::Open(VecDeque::new()));
        Arc::new(Self { longest, state, wake: Arc::default() })
    }

    /// The end of the line, or the reason why there is no place in it.
    pub(crate) fn submit(&self, generation: Generation) -> Result<Answer, ModelError> {
        let (reply, answer) = reply(&self.wake);
        match &mut *self.state.lock() {
            State::Open(waiting) => {
                if waiting.len() >= self.longest {
                    waiting.retain(|request| !request.reply.is_gone());
                }
                if waiting.len() >= self.longest {
                    return Err(ModelError::overloaded(format!(
                        "{} requests wait for the model already: try again later",
                        waiting.len()
                    )));
                }
                let Generation { prompt, sampling } = generation;
                waiting.push_back(Request { prompt, sampling, reply });
            }
            State::Closed => return Err(ModelError::internal("the model was unloaded")),
            State::Broken(reason) => return Err(replaced(reason)),
        }
        self.wake.wake();
        Ok(answer)
    }

    /// # Errors
    ///
    /// If the model panicked.
    pub(crate) fn health(&self) -> Result<(), ModelError> {
        match &*self.state.lock() {
            State::Broken(reason) => Err(broken(reason)),
            State::Open(_) | State::Closed => Ok(()),
        }
    }

    /// Requests that wait.
    pub(crate) fn waiting(&self) -> usize {
        match &*self.state.lock() {
            State::Open(waiting) => waiting.len(),
            State::Closed | State::Broken(_) => 0,
        }
    }

    /// No more requests: the model's thread ends.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        if matches!(*state, State::Open(_)) {
            *state = State::Closed;
        }
        drop(state);
        self.wake.wake();
    }

    /// The calling thread is the model's.
    pub(super) fn attach(&self) {
        self.wake.attach();
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(*self.state.lock(), State::Closed)
    }

    /// The first request whose reader still waits, if there is room for it.
    pub(super) fn next_if(&self, has_room: impl FnOnce(&Request) -> bool) -> Option<Request> {
        let mut state = self.state.lock();
        let State::Open(waiting) = &mut *state else { return None };
        while waiting.front().is_some_and(|request| request.reply.is_gone()) {
            waiting.pop_front();
        }
        match waiting.front().is_some_and(has_room) {
            true => waiting.pop_front(),
            false => None,
        }
    }

    /// The model panicked. Those that wait get an error.
    pub(super) fn break_down(&self, reason: &str) {
        let before = std::mem::replace(&mut *self.state.lock(), State::Broken(reason.to_owned()));
        if let State::Open(waiting) = before {
            for request in waiting {
                request.reply.fail(replaced(reason));
            }
        }
    }
}

/// Nothing of the request has run: another worker can take it.
fn replaced(reason: &str) -> ModelError {
    ModelError::overloaded(format!(
        "the model panicked ({reason}), and its worker is being replaced: try again later"
    ))
}

/// It ran when the model panicked.
pub(super) fn broken(reason: &str) -> ModelError {
    ModelError::internal(format!("the model panicked ({reason}): this worker takes no more requests"))
}
