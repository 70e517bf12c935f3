//! Texts that wait for the encoder, and the thread that takes them in batches.
use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock},
    thread::Thread,
};

use flash_openai::ModelError;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::batch::{self, Limits};
use crate::{EngineError, EngineErrorKind, gpu_memory};

/// Computes a batch: one vector for each text.
pub(super) type Compute = Box<dyn FnMut(&[&[u32]]) -> Result<Vec<Vec<f32>>, EngineError> + Send>;

/// What became of a text.
type Outcome = Result<Vec<f32>, ModelError>;

type Reply = oneshot::Sender<Outcome>;

/// A text that waits.
struct Waiting {
    tokens: Vec<u32>,
    reply: Reply,
}

/// Shared by the encoder's thread and its handle.
pub(super) struct Queue {
    most: usize,
    state: Mutex<State>,
    thread: OnceLock<Thread>,
}

enum State {
    Open(Vec<Waiting>),
    Closed,
    Broken(String),
}

/// The vector of one text, when it is there.
pub(super) type Answer = oneshot::Receiver<Outcome>;

impl Queue {
    /// At most `most` texts wait.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, state: Mutex::new(State::Open(Vec::new())), thread: OnceLock::new() })
    }

    /// All texts of a request wait, or none.
    pub(super) fn submit(&self, texts: Vec<Vec<u32>>) -> Result<Vec<Answer>, ModelError> {
        let mut replies = Vec::with_capacity(texts.len());
        match &mut *self.state.lock() {
            State::Open(waiting) => {
                waiting.retain(|text| !text.reply.is_closed());
                if waiting.len() + texts.len() > self.most.max(texts.len()) {
                    return Err(ModelError::overloaded(format!(
                        "{} texts wait for the model already: try again later",
                        waiting.len()
                    )));
                }
                for tokens in texts {
                    let (reply, answer) = oneshot::channel();
                    waiting.push(Waiting { tokens, reply });
                    replies.push(answer);
                }
            }
            State::Closed => return Err(unloaded()),
            State::Broken(reason) => return Err(replaced(reason)),
        }
        self.wake();
        Ok(replies)
    }

    pub(super) fn health(&self) -> Result<(), ModelError> {
        match &*self.state.lock() {
            State::Broken(reason) => Err(broken(reason)),
            State::Open(_) | State::Closed => Ok(()),
        }
    }

    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        if matches!(*state, State::Open(_)) {
            *state = State::Closed;
        }
        drop(state);
        self.wake();
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Computes what waits until the queue is closed or a batch panics. For a thread of its own.
    pub(super) fn run(&self, limits: Limits, mut compute: Compute) {
        // Only one thread runs.
        let _ = self.thread.set(std::thread::current());
        loop {
            let batch = match &mut *self.state.lock() {
                State::Open(waiting) => take(waiting, limits),
                State::Closed | State::Broken(_) => return,
            };
            if batch.is_empty() {
                std::thread::park();
                continue;
            }
            let tokens: Vec<&[u32]> = batch.iter().map(|text| &*text.tokens).collect();
            let outcomes = catch_unwind(AssertUnwindSafe(|| outcomes(&mut compute, &tokens)));
            let outcomes = outcomes.unwrap_or_else(|panic| all(&self.break_down(&*panic), batch.len()));
            // A request that is gone takes no answer.
            batch.into_iter().zip(outcomes).for_each(|(text, outcome)| drop(text.reply.send(outcome)));
        }
    }

    fn break_down(&self, panic: &(dyn Any + Send)) -> ModelError {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let reason = text.unwrap_or("no message").to_owned();
        tracing::error!("the model panicked: {reason}");
        let error = broken(&reason);
        let before = std::mem::replace(&mut *self.state.lock(), State::Broken(reason.clone()));
        flash_openai::report_broken(&format!("the model panicked: {reason}"));
        if let State::Open(waiting) = before {
            for text in waiting {
                let _ = text.reply.send(Err(replaced(&reason)));
            }
        }
        error
    }
}

/// Takes the next batch out of what waits. Texts whose request is gone are left out.
fn take(waiting: &mut Vec<Waiting>, limits: Limits) -> Vec<Waiting> {
    waiting.retain(|text| !text.reply.is_closed());
    let lengths: Vec<usize> = waiting.iter().map(|text| text.tokens.len()).collect();
    let mut taken = vec![false; lengths.len()];
    batch::next(&lengths, limits).into_iter().for_each(|at| taken[at] = true);
    let mut taken = taken.into_iter();
    waiting.extract_if(.., |_| taken.next().unwrap_or_default()).collect()
}

/// Computes a batch; in halves, if the device has no memory for all of it.
fn outcomes(compute: &mut Compute, texts: &[&[u32]]) -> Vec<Outcome> {
    let error = match compute(texts) {
        Ok(vectors) if vectors.len() == texts.len() => return vectors.into_iter().map(Ok).collect(),
        Ok(vectors) => EngineError::new(format!("{} vectors for {} texts", vectors.len(), texts.len())),
        Err(error) => error,
    };
    if error.kind() != EngineErrorKind::OutOfMemory {
        tracing::error!(error = &error as &dyn std::error::Error, "the model failed");
        return all(&ModelError::internal(format!("the model failed: {error}")), texts.len());
    }
    let longest = texts.iter().map(|text| text.len()).max().unwrap_or(0);
    let left = gpu_memory::left();
    if let [text] = texts {
        tracing::error!("no memory for a text of {longest} tokens: {error}{left}");
        let message = format!(
            "the model has no memory for a text of {} tokens, though it runs alone{left}: shorten the text; whoever runs the \
             model can take a GPU with more memory",
            text.len()
        );
        return vec![Err(ModelError::overloaded(message))];
    }
    tracing::warn!(
        "the device has no memory for a batch of {} texts of up to {longest} tokens ({error}){left}: it is computed in halves",
        texts.len()
    );
    let (first, second) = texts.split_at(texts.len() / 2);
    let mut halves = outcomes(compute, first);
    halves.extend(outcomes(compute, second));
    halves
}

/// The same error for each of so many texts.
fn all(error: &ModelError, count: usize) -> Vec<Outcome> {
    (0..count).map(|_| Err(ModelError::internal(error.message()))).collect()
}

/// Nothing of the request has run: another worker can take it.
fn replaced(reason: &str) -> ModelError {
    ModelError::overloaded(format!(
        "the model panicked ({reason}), and its worker is being replaced: try again later"
    ))
}

fn broken(reason: &str) -> ModelError {
    ModelError::internal(format!("the model panicked ({reason}): this worker takes no more requests"))
}

pub(super) fn unloaded() -> ModelError {
    ModelError::internal("the model was unloaded")
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LIMITS: Limits = Limits { texts: 4, tokens: 100 };

    /// The vector of a text is its length; a text with a 0 panics, one with a 1 fails.
    fn compute(texts: &[&[u32]]) -> Result<Vec<Vec<f32>>, EngineError> {
        assert!(!texts.iter().any(|text| text.contains(&0)), "a zero");
        match texts.iter().any(|text| text.contains(&1)) {
            true => Err(EngineError::new("a one")),
            false => Ok(texts.iter().map(|text| vec![text.len() as f32]).collect()),
        }
    }

    fn start(queue: &Arc<Queue>, compute: Compute) -> std::thread::JoinHandle<()> {
        let queue = Arc::clone(queue);
        std::thread::spawn(move || queue.run(LIMITS, compute))
    }

    #[test]
    fn every_text_gets_its_own_vector_in_batches() {
        let queue = Queue::new(100);
        let texts: Vec<Vec<u32>> = (1..=10).map(|length| vec![7; length]).collect();
        let answers = queue.submit(texts).unwrap();
        let (sizes, seen) = mpsc::channel();
        let counted = move |texts: &[&[u32]]| {
            sizes.send(texts.len()).unwrap();
            compute(texts)
        };
        let thread = start(&queue, Box::new(counted));
        for (at, answer) in answers.into_iter().enumerate() {
            assert_eq!(answer.blocking_recv().unwrap().unwrap(), [at as f32 + 1.0]);
        }
        queue.close();
        thread.join().unwrap();
        let sizes: Vec<usize> = seen.iter().collect();
        assert_eq!((sizes.iter().sum::<usize>(), sizes.len()), (10, 3), "{sizes:?}");
        assert_eq!(queue.submit(vec![vec![7]]).unwrap_err().message(), "the model was unloaded");
    }

    #[test]
    fn a_request_that_is_gone_is_not_computed_and_takes_no_place() {
        let queue = Queue::new(2);
        drop(queue.submit(vec![vec![7], vec![7]]).unwrap());
        let kept = queue.submit(vec![vec![7; 3], vec![7]]).unwrap();
        let full = queue.submit(vec![vec![7]]).unwrap_err();
        assert_eq!(full.kind(), flash_openai::ModelErrorKind::Overloaded);
        let thread = start(&queue, Box::new(compute));
        let vectors: Vec<_> =
            kept.into_iter().map(|answer| answer.blocking_recv().unwrap().unwrap()).collect();
        assert_eq!(vectors.len(), 2);
        queue.close();
        thread.join().unwrap();
    }

    #[test]
    fn a_failure_is_one_batchs_and_a_panic_is_the_end() {
        let queue = Queue::new(100);
        let thread = start(&queue, Box::new(compute));
        let one = |text: Vec<u32>| queue.submit(vec![text]).unwrap().remove(0).blocking_recv().unwrap();
        assert!(one(vec![1]).unwrap_err().message().contains("a one"));
        assert_eq!(one(vec![7]).unwrap(), [1.0]);
        assert!(one(vec![0]).unwrap_err().message().contains("a zero"));
        thread.join().unwrap();
        assert!(queue.health().is_err());
        assert!(queue.submit(vec![vec![7]]).is_err());
    }

    #[test]
    fn a_batch_without_memory_is_computed_in_halves_and_only_what_does_not_fit_alone_fails() {
        let queue = Queue::new(100);
        // Four at once are too much, and so is a long one.
        let answers = queue.submit(vec![vec![7], vec![7; 2], vec![7; 60], vec![7; 4], vec![7; 5]]).unwrap();
        let (sizes, seen) = mpsc::channel();
        let small = move |texts: &[&[u32]]| {
            sizes.send(texts.len()).unwrap();
            match texts.len() > 3 || texts.iter().any(|text| text.len() > 50) {
                true => Err(EngineError::out_of_memory("no paper")),
                false => compute(texts),
            }
        };
        let limits = Limits { texts: 5, tokens: 1000 };
        let runs = Arc::clone(&queue);
        let thread = std::thread::spawn(move || runs.run(limits, Box::new(small)));
        let outcomes: Vec<_> = answers.into_iter().map(|answer| answer.blocking_recv().unwrap()).collect();
        queue.close();
        thread.join().unwrap();
        for (at, length) in [(0, 1.0), (1, 2.0), (3, 4.0), (4, 5.0)] {
            assert_eq!(*outcomes[at].as_ref().unwrap(), [length], "{outcomes:?}");
        }
        let error = outcomes[2].as_ref().unwrap_err();
        assert_eq!(error.kind(), flash_openai::ModelErrorKind::Overloaded);
        assert!(error.message().contains("a text of 60 tokens, though it runs alone"), "{error}");
        assert_eq!(seen.iter().collect::<Vec<_>>(), [5, 2, 3, 1, 2]);
        assert!(queue.health().is_ok());
    }
}
