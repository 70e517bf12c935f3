//! The async runtime of a process with a platform: how many threads it has.
use std::{io, num::NonZero, thread::available_parallelism};

use tokio::runtime::{Builder, Runtime};

/// The variable by which tokio takes another number of threads.
const THREADS: &str = "TOKIO_WORKER_THREADS";

/// A runtime for a process with a platform, of half as many threads as there are cores, at least one. Blocking work has
/// threads of its own.
///
/// The workers need the other half, and the fewer threads share the connections, the seldomer one has to wake another
/// to pass a frame on. `TOKIO_WORKER_THREADS` sets another number.
///
/// # Errors
/// If the operating system has no more threads or descriptors.
pub fn runtime() -> io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if std::env::var_os(THREADS).is_none() {
        builder.worker_threads(threads(available_parallelism().map_or(1, NonZero::get)));
    }
    builder.enable_all().build()
}

fn threads(cores: usize) -> usize {
    (cores / 2).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_cores_are_left_to_workers() {
        assert_eq!([1, 2, 3, 4, 64].map(threads), [1, 1, 1, 2, 32]);
    }
}
