//! Decides which generations run, and what the model computes next.
//!
//! One turn of the model takes one token of each answer that runs, and one chunk of one prompt. So no answer waits for
//! more than a chunk between its tokens, however many prompts come, and none gets two tokens while another gets one.
//!
//! Memory is reserved as answers grow, and not for all that they may become: many requests allow the whole context and use
//! little of it. If there is none left, the latest answer makes way and is computed again later.

/// Numbers one generation within a [`Scheduler`].
pub(crate) type Id = u64;

/// What the scheduler may use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Generations at the same time.
    pub(crate) running: usize,
    /// Tokens that the model remembers, of all generations and prefixes together.
    pub(crate) tokens: usize,
    /// Tokens of a prompt that are computed in one turn.
    pub(crate) chunk: usize,
    /// Tokens by which the memory of an answer grows, from 1.
    pub(crate) grant: usize,
}

impl Limits {
    /// A sixth of an equal share is little enough to admit many, and much enough that few have to make way.
    pub(crate) fn grant_of(tokens: usize, running: usize) -> usize {
        (tokens / (6 * running.max(1))).clamp(16, 256)
    }
}

/// What one generation needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needs {
    /// Tokens of the prompt.
    pub(crate) prompt: usize,
    /// Tokens that prompt and answer may have together; all of them fit into the memory.
    pub(crate) total: usize,
    /// A generation that runs, has the same prompt, and is still reading it. This one waits for its prefix.
    pub(crate) after: Option<Id>,
}

/// Work of one generation in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// So many tokens of the prompt.
    Prompt(usize),
    /// The next token of the answer.
    Token,
}

/// The generations that run.
#[derive(Debug)]
pub(crate) struct Scheduler {
    limits: Limits,
    /// Generations that may run at present: fewer than the limit after the device had no memory for them.
    most: usize,
    running: Vec<Running>,
    reserved: usize,
    turn: u64,
}

#[derive(Debug)]
struct Running {
    id: Id,
    /// Tokens that it has in memory.
    used: usize,
    reserved: usize,
    total: usize,
    phase: Phase,
}

/// What has to go, so that all others can take another token.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Room {
    /// Tokens of prefixes.
    pub(crate) forget: usize,
    /// Generations that make way, the latest first. They run no more.
    pub(crate) make_way: Vec<Id>,
}

#[derive(Debug)]
enum Phase {
    Prompt { left: usize, served: u64, after: Option<Id> },
    Answer,
}

impl Scheduler {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, most: limits.running, running: Vec::new(), reserved: 0, turn: 0 }
    }

    /// Tokens of prefixes that must be forgotten before a generation with these needs can run beside the others;
    /// `None` if it has to wait for one of them.
    pub(crate) fn room_for(&self, needs: &Needs, prefixes: usize) -> Option<usize> {
        let left = self.limits.tokens.checked_sub(self.reserved + self.first(needs))?;
        (self.running.len() < self.most).then(|| prefixes.saturating_sub(left))
    }

    /// Lets a generation run. It has room.
    pub(crate) fn admit(&mut self, id: Id, needs: &Needs) {
        let phase = Phase::Prompt { left: needs.prompt, served: self.turn, after: needs.after };
        let reserved = self.first(needs);
        self.running.push(Running { id, used: 0, reserved, total: needs.total, phase });
        self.reserved += reserved;
    }

    /// What is reserved at first: room for the prompt and for the beginning of the answer.
    fn first(&self, needs: &Needs) -> usize {
        needs.total.min(needs.prompt.saturating_add(self.limits.grant))
    }

    /// Makes room for another token of every answer. The first that came always gets it: alone it fits.
    pub(crate) fn make_room(&mut self, prefixes: usize) -> Room {
        let mut make_way = Vec::new();
        let mut at = 0;
        while let Some(running) = self.running.get(at) {
            let is_full = matches!(running.phase, Phase::Answer) && running.used >= running.reserved;
            let more = self.limits.grant.min(running.total.saturating_sub(running.reserved));
            if !is_full || more == 0 {
                at += 1;
            } else if self.reserved + more <= self.limits.tokens {
                self.running[at].reserved += more;
                self.reserved += more;
                at += 1;
            } else if let Some(latest) = self.running.pop() {
                self.reserved -= latest.reserved;
                make_way.push(latest.id);
            }
        }
        Room { forget: prefixes.saturating_sub(self.room_for_prefixes()), make_way }
    }

    /// A token of an answer was computed.
    pub(crate) fn token_taken(&mut self, id: Id) {
        if let Some(running) = self.running.iter_mut().find(|running| running.id == id) {
            running.used += 1;
        }
    }

    /// The device had no memory for what runs: half of it, and one at least, may run from now on. Returns how many.
    pub(crate) fn halve(&mut self) -> usize {
        self.most = (self.running.len() / 2).max(1);
        self.most
    }

    /// A generation came to its end: one more may run, up to the limit.
    pub(crate) fn recover(&mut self) {
        self.most = self.limits.running.min(self.most + 1);
    }

    /// The generations beyond those that may run: the latest.
    pub(crate) fn beyond(&self) -> impl Iterator<Item = Id> {
        self.running.iter().skip(self.most).map(|running| running.id)
    }

    /// Tokens that all that runs has in memory.
    pub(crate) fn used(&self) -> usize {
        self.running.iter().map(|running| running.used).sum()
    }

    /// Tokens that prefixes may have beside what runs.
    pub(crate) fn room_for_prefixes(&self) -> usize {
        self.limits.tokens.saturating_sub(self.reserved)
    }

    /// What the model computes next. `can_take` says whether the reader of an answer takes another token: one that does
    /// not is left out, and the others go on.
    pub(crate) fn next_turn(&self, can_take: impl Fn(Id) -> bool) -> Vec<(Id, Work)> {
        let is_answer = |running: &&Running| matches!(running.phase, Phase::Answer);
        let answers = self.running.iter().filter(is_answer).filter(|running| can_take(running.id));
        let mut turn: Vec<(Id, Work)> = answers.map(|running| (running.id, Work::Token)).collect();
        let prompts = self.running.iter().filter_map(|running| match running.phase {
            Phase::Prompt { left, served, after } if !after.is_some_and(|id| self.reads_prompt(id)) => {
                Some((served, running.id, left))
            }
            _ => None,
        });
        // The one that was served longest ago; of several the first that came.
        if let Some((_, id, left)) = prompts.min_by_key(|(served, id, _)| (*served, *id)) {
            turn.push((id, Work::Prompt(left.min(self.limits.chunk))));
        }
        turn
    }

    /// So many tokens of a prompt are known: computed, or by a prefix. After the last one the answer begins.
    pub(crate) fn prompt_read(&mut self, id: Id, tokens: usize) {
        self.turn += 1;
        let turn = self.turn;
        if let Some(running) = self.running.iter_mut().find(|running| running.id == id)
            && let Phase::Prompt { left, served, .. } = &mut running.phase
        {
            running.used += tokens.min(*left);
            *left -= tokens.min(*left);
            *served = turn;
            if *left == 0 {
                running.phase = Phase::Answer;
            }
        }
    }

    /// A generation ended, for whatever reason.
    pub(crate) fn remove(&mut self, id: Id) {
        if let Some(at) = self.running.iter().position(|running| running.id == id) {
            self.reserved -= self.running.remove(at).reserved;
        }
    }

    /// Whether a generation is still reading its prompt.
    pub(crate) fn reads_prompt(&self, id: Id) -> bool {
        self.running.iter().any(|running| running.id == id && matches!(running.phase, Phase::Prompt { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scheduler(running: usize, tokens: usize) -> Scheduler {
        Scheduler::new(Limits { running, tokens, chunk: 4, grant: 1000 })
    }

    fn needs(prompt: usize, total: usize) -> Needs {
        Needs { prompt, total, after: None }
    }

    /// Runs turns, and returns what each of them computed.
    fn turns(scheduler: &mut Scheduler, count: usize) -> Vec<Vec<(Id, Work)>> {
        let mut all = Vec::new();
        for _ in 0..count {
            let turn = scheduler.next_turn(|_| true);
            for (id, work) in &turn {
                if let Work::Prompt(tokens) = work {
                    scheduler.prompt_read(*id, *tokens);
                }
            }
            all.push(turn);
        }
        all
    }

    #[test]
    fn each_turn_has_a_token_of_every_answer_and_a_chunk_of_one_prompt() {
        use Work::{Prompt, Token};
        let mut scheduler = scheduler(4, 1000);
        scheduler.admit(1, &needs(2, 10));
        scheduler.admit(2, &needs(6, 10));
        scheduler.admit(3, &needs(4, 10));
        assert_eq!(
            turns(&mut scheduler, 5),
            [
                vec![(1, Prompt(2))],
                vec![(1, Token), (2, Prompt(4))],
                vec![(1, Token), (3, Prompt(4))],
                vec![(1, Token), (3, Token), (2, Prompt(2))],
                vec![(1, Token), (2, Token), (3, Token)],
            ]
        );
    }

    #[test]
    fn no_answer_waits_while_prompts_keep_coming() {
        let mut scheduler = scheduler(100, 100_000);
        scheduler.admit(0, &needs(1, 100));
        scheduler.prompt_read(0, 1);
        for id in 1..20 {
            scheduler.admit(id, &needs(50, 100));
            for turn in turns(&mut scheduler, 3) {
                assert!(turn.contains(&(0, Work::Token)), "{turn:?}");
                let prompts = turn.iter().filter(|(_, work)| matches!(work, Work::Prompt(_)));
                assert!(prompts.count() <= 1, "{turn:?}");
            }
        }
    }

    #[test]
    fn without_memory_half_as_many_run_until_others_have_ended() {
        let mut scheduler = scheduler(4, 1000);
        (0..4).for_each(|id| scheduler.admit(id, &needs(1, 2)));
        assert_eq!(scheduler.halve(), 2);
        assert_eq!(scheduler.beyond().collect::<Vec<_>>(), [2, 3]);
        scheduler.remove(2);
        scheduler.remove(3);
        assert_eq!(scheduler.room_for(&needs(1, 2), 0), None);
        scheduler.remove(1);
        assert_eq!((scheduler.halve(), scheduler.beyond().count()), (1, 0), "one always runs");
        scheduler.remove(0);
        let mut admitted = 0;
        (0..9).for_each(|_| scheduler.recover());
        while scheduler.room_for(&needs(1, 2), 0).is_some() {
            scheduler.admit(admitted, &needs(1, 2));
            admitted += 1;
        }
        assert_eq!(admitted, 4, "never more than the limit");
    }

    #[test]
    fn memory_and_number_bound_what_runs() {
        let mut scheduler = scheduler(2, 100);
        assert_eq!(scheduler.room_for(&needs(10, 60), 0), Some(0));
        assert_eq!(scheduler.room_for(&needs(10, 60), 50), Some(10), "prefixes make way");
        scheduler.admit(1, &needs(10, 60));
        assert_eq!(scheduler.room_for(&needs(10, 41), 0), None);
        assert_eq!(scheduler.room_for(&needs(10, 40), 5), Some(5));
        scheduler.admit(2, &needs(10, 30));
        assert_eq!(scheduler.room_for(&needs(1, 1), 0), None, "two run");
        scheduler.remove(1);
        assert_eq!(scheduler.room_for(&needs(10, 70), 0), Some(0));
        assert_eq!(scheduler.room_for_prefixes(), 70);
    }

    #[test]
    fn memory_follows_what_answers_have_and_the_latest_makes_way() {
        let limits = Limits { running: 8, tokens: 100, chunk: 4, grant: 10 };
        let mut scheduler = Scheduler::new(limits);
        // Each may become as long as the memory.
        for id in 1..=5 {
            assert_eq!(scheduler.room_for(&needs(10, 100), 0), Some(0), "{id}");
            scheduler.admit(id, &needs(10, 100));
            scheduler.prompt_read(id, 10);
        }
        assert_eq!(scheduler.room_for(&needs(10, 100), 0), None);
        let mut made_way = Vec::new();
        for tokens in 1..=90 {
            let room = scheduler.make_room(0);
            made_way.extend(room.make_way.into_iter().map(|id| (tokens, id)));
            let turn = scheduler.next_turn(|_| true);
            assert_eq!(turn[0], (1, Work::Token), "the first goes on");
            turn.iter().for_each(|(id, _)| scheduler.token_taken(*id));
            assert!(scheduler.running.iter().map(|running| running.used).sum::<usize>() <= 100);
        }
        // Ten more tokens for each of five do not fit, then for each of three, and at last for two.
        assert_eq!(made_way, [(11, 5), (11, 4), (21, 3), (41, 2)]);
        assert_eq!(scheduler.make_room(0), Room::default(), "it has all that it may have");
    }

    #[test]
    fn an_answer_that_grows_takes_the_place_of_prefixes() {
        let mut scheduler = Scheduler::new(Limits { running: 8, tokens: 100, chunk: 4, grant: 10 });
        scheduler.admit(1, &needs(10, 100));
        scheduler.prompt_read(1, 10);
        (0..10).for_each(|_| scheduler.token_taken(1));
        assert_eq!(scheduler.make_room(75), Room { forget: 5, make_way: Vec::new() });
    }

    #[test]
    fn a_reader_that_takes_nothing_is_left_out_alone() {
        let mut scheduler = scheduler(4, 1000);
        for id in 1..=3 {
            scheduler.admit(id, &needs(1, 10));
            scheduler.prompt_read(id, 1);
        }
        assert_eq!(scheduler.next_turn(|id| id != 2), [(1, Work::Token), (3, Work::Token)]);
        assert_eq!(scheduler.next_turn(|_| false), []);
    }

    #[test]
    fn a_prompt_that_another_one_reads_waits_for_it() {
        let mut scheduler = scheduler(4, 1000);
        scheduler.admit(1, &needs(8, 10));
        scheduler.admit(2, &Needs { after: Some(1), ..needs(8, 10) });
        let ids = |turns: Vec<Vec<(Id, Work)>>| -> Vec<Vec<Id>> {
            turns.iter().map(|turn| turn.iter().map(|(id, _)| *id).collect()).collect()
        };
        assert_eq!(ids(turns(&mut scheduler, 4)), [vec![1], vec![1], vec![1, 2], vec![1, 2]]);
        // If the other one is gone, it reads alone.
        scheduler.admit(3, &needs(8, 10));
        scheduler.admit(4, &Needs { after: Some(3), ..needs(8, 10) });
        scheduler.remove(3);
        assert_eq!(scheduler.next_turn(|id| id > 2), [(4, Work::Prompt(4))]);
    }
}
