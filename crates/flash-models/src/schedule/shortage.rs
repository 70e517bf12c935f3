//! What the runner does when the device has no memory for a turn.
//!
//! Half of what runs makes way, with its memory. Sequences that took part in the failed turn are not used again, so those
//! generations are computed anew, from their prompt and what they have answered: their clients notice a pause. Only a
//! generation that does not fit alone fails.
use flash_openai::ModelError;

use super::{
    plan::{Id, Work},
    runner::{Runner, work_of},
};
use crate::{
    engine::{Engine, EngineError},
    gpu_memory,
};

impl<E: Engine> Runner<E> {
    /// Runs less, after a turn for which there was no memory.
    pub(super) fn shrink(&mut self, turn: &[(Id, Work)], error: &EngineError) {
        let (count, used) = (self.running.len(), self.scheduler.used());
        if count == 1 && self.prefixes.tokens() == 0 {
            return self.give_up(turn, error);
        }
        self.prefixes.shrink(0);
        let most = self.scheduler.halve();
        tracing::warn!(
            "the device has no memory for {} in memory ({error}){}: {} at a time until others have ended",
            generations(count, used),
            gpu_memory::left(),
            most
        );
        let beyond: Vec<Id> = self.scheduler.beyond().collect();
        let goes = |id| beyond.contains(&id) || work_of(id, turn).is_some();
        let aside: Vec<_> = self.running.extract_if(.., |running| goes(running.id)).collect();
        // The first that came is the first again.
        for running in aside.into_iter().rev() {
            self.scheduler.remove(running.id);
            self.made_way.push_front(running.set_aside());
        }
    }

    /// The only one that runs does not fit.
    fn give_up(&mut self, turn: &[(Id, Work)], error: &EngineError) {
        let left = gpu_memory::left();
        for running in self.running.drain(..) {
            self.scheduler.remove(running.id);
            let step = match work_of(running.id, turn) {
                Some(Work::Prompt(tokens)) => tokens,
                Some(Work::Token) | None => 1,
            };
            let (prompt, answer) = (running.asked, running.answer.len());
            tracing::error!(
                "no memory for {step} more tokens after {prompt} of a prompt and {answer} of its answer: {error}{left}"
            );
            running.reply.fail(ModelError::overloaded(format!(
                "the model has no memory for {step} more tokens of a request with {prompt} tokens in its prompt and \
                 {answer} in its answer so far, though nothing else runs{left}: shorten the prompt, or allow fewer tokens; \
                 whoever runs the model can lower `prompt_chunk`, or take a GPU with more memory"
            )));
        }
    }
}

fn generations(count: usize, tokens: usize) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} generation{plural} with {tokens} tokens")
}
