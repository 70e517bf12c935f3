//! Marks in the output of a worker in a pod, so that each line is known to be of its job or request: they say which work
//! this process prints for from there on. Elsewhere, and while several works run, there are none.
use std::{
    collections::HashMap,
    os::fd::{AsFd, BorrowedFd},
    sync::OnceLock,
};

use flash_protocol::{
    variables,
    wire::pod::{PodWork, mark},
};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::write,
};
use parking_lot::Mutex;

/// `None` where nobody reads them.
static MARKS: OnceLock<Option<Mutex<Marks>>> = OnceLock::new();

/// A job or request that runs. It ends on drop.
pub(super) struct Begun(Option<u64>);

/// A job or request begins.
pub(super) fn begin(request_id: &str, job_id: Option<&str>) -> Begun {
    let marks = MARKS.get_or_init(|| {
        let nonce = variables::get(variables::OUTPUT_MARKS)?;
        Some(Mutex::new(Marks { nonce, works: Works::default(), written: Default::default() }))
    });
    let Some(marks) = marks else { return Begun(None) };
    let work = PodWork { request_id: request_id.to_owned(), job_id: job_id.map(str::to_owned) };
    let mut marks = marks.lock();
    let number = marks.works.begin(work);
    marks.write();
    Begun(Some(number))
}

impl Drop for Begun {
    fn drop(&mut self) {
        if let (Some(number), Some(Some(marks))) = (self.0, MARKS.get()) {
            let mut marks = marks.lock();
            marks.works.end(number);
            marks.write();
        }
    }
}

struct Marks {
    nonce: String,
    works: Works,
    /// What the last mark says, in stdout and in stderr.
    written: [Option<PodWork>; 2],
}

impl Marks {
    fn write(&mut self) {
        let current = self.works.only();
        let (stdout, stderr) = (std::io::stdout(), std::io::stderr());
        for (stream, written) in [stdout.as_fd(), stderr.as_fd()].into_iter().zip(&mut self.written) {
            // One that does not fit in now is written with the next change: a full pipe must not hold up this worker,
            // and its log is behind anyway.
            if written.as_ref() != current && put(stream, &self.nonce, current) {
                *written = current.cloned();
            }
        }
    }
}

/// Writes a mark, if there is room for it. `false` if not.
fn put(stream: BorrowedFd<'_>, nonce: &str, work: Option<&PodWork>) -> bool {
    // An id that cannot be in a mark: better none than that of the work before.
    let Some(mark) = mark(nonce, work).or_else(|| mark(nonce, None)) else { return false };
    let mut room = [PollFd::new(stream, PollFlags::POLLOUT)];
    let has_room = poll(&mut room, PollTimeout::ZERO).is_ok_and(|ready| ready > 0);
    // A mark is shorter than what a pipe with room takes at once.
    has_room && write(stream, &mark).is_ok()
}

/// The works that run.
#[derive(Default)]
struct Works {
    running: HashMap<u64, PodWork>,
    next: u64,
}

impl Works {
    fn begin(&mut self, work: PodWork) -> u64 {
        self.next += 1;
        self.running.insert(self.next, work);
        self.next
    }

    fn end(&mut self, number: u64) {
        self.running.remove(&number);
    }

    /// The one that runs, if it is one.
    fn only(&self) -> Option<&PodWork> {
        let mut running = self.running.values();
        running.next().filter(|_| running.next().is_none())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn work(id: &str) -> PodWork {
        PodWork { request_id: id.to_owned(), job_id: None }
    }

    #[test]
    fn output_is_for_a_work_while_it_is_the_only_one() {
        let mut works = Works::default();
        assert_eq!(works.only(), None);
        let one = works.begin(work("one"));
        assert_eq!(works.only(), Some(&work("one")));
        let two = works.begin(work("two"));
        assert_eq!(works.only(), None, "nobody knows whose it is");
        works.end(one);
        assert_eq!(works.only(), Some(&work("two")));
        works.end(two);
        assert_eq!(works.only(), None);
    }

    #[test]
    fn a_full_pipe_holds_nobody_up() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        assert!(put(writer.as_fd(), "n", Some(&work("one"))));
        while put(writer.as_fd(), "n", None) {}
        let mut some = vec![0; 1 << 16];
        let read = reader.read(&mut some).unwrap();
        assert!(some[..read].starts_with(&mark("n", Some(&work("one"))).unwrap()));
        assert!(put(writer.as_fd(), "n", None), "there is room again");
    }
}
