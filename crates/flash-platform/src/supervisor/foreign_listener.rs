//! Finds out who listens on a port that was assigned to a worker.
//!
//! A command gets its port in `PORT`. The port was free a moment before, but another program may have taken it since.
//! No client request goes to the port before it is known that no other program listens on it.
use std::fmt;

/// A process that does not belong to the worker and has its port.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ForeignListener {
    process: i32,
    name: String,
}

impl fmt::Display for ForeignListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} (`{}`)", self.process, self.name)
    }
}

/// The process that listens on this loopback port, unless it is in the process group or was started by it.
///
/// `None` too where it cannot be known: the system has no `/proc`, the process is another user's, or the worker has
/// another program listen for it that was started later, as a container engine's client does. Blocks for some
/// milliseconds.
#[cfg(target_os = "linux")]
pub(crate) fn foreign_listener_on(port: u16, group: i32) -> Option<ForeignListener> {
    linux::foreign_listener_on(port, group)
}

/// As on Linux, where nothing can be known.
#[cfg(not(target_os = "linux"))]
pub fn foreign_listener_on(_port: u16, _group: i32) -> Option<ForeignListener> {
    None
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        collections::HashSet,
        net::{IpAddr, SocketAddr},
    };

    use procfs::{
        net::{TcpState, tcp, tcp6},
        process::{FDTarget, Process, all_processes},
    };

    use super::ForeignListener;

    /// Ancestors that are looked at. A worker that hides deeper counts as foreign.
    const DEPTH: usize = 64;

    pub(super) fn foreign_listener_on(port: u16, group: i32) -> Option<ForeignListener> {
        let sockets = listening(port);
        if sockets.is_empty() {
            return None;
        }
        let began = Process::new(group).ok()?.stat().ok()?.starttime;
        let mut foreign = None;
        for process in all_processes().ok()?.flatten() {
            if !holds(&process, &sockets) {
                continue;
            }
            if is_of(process.pid(), group) {
                return None;
            }
            if let Ok(stat) = process.stat()
                && stat.starttime < began
            {
                foreign = Some(ForeignListener { process: process.pid(), name: stat.comm });
            }
        }
        foreign
    }

    /// Sockets that take connections to this port from this machine.
    fn listening(port: u16) -> HashSet<u64> {
        let is_local = |address: &SocketAddr| match address.ip() {
            IpAddr::V4(ip) => ip.is_loopback() || ip.is_unspecified(),
            IpAddr::V6(ip) => {
                ip.is_unspecified()
                    || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback() || ip.is_unspecified())
            }
        };
        let entries = [tcp(), tcp6()].into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.state == TcpState::Listen && entry.local_address.port() == port)
            .filter(|entry| is_local(&entry.local_address))
            .map(|entry| entry.inode)
            .collect()
    }

    fn holds(process: &Process, sockets: &HashSet<u64>) -> bool {
        let is_one = |target: FDTarget| matches!(target, FDTarget::Socket(inode) if sockets.contains(&inode));
        process.fd().is_ok_and(|mut all| all.any(|fd| fd.is_ok_and(|fd| is_one(fd.target))))
    }

    fn is_of(process: i32, group: i32) -> bool {
        let mut next = process;
        for _ in 0..DEPTH {
            let Ok(stat) = Process::new(next).and_then(|process| process.stat()) else { return false };
            if stat.pgrp == group {
                return true;
            }
            if stat.ppid <= 1 {
                return false;
            }
            next = stat.ppid;
        }
        false
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{
        net::TcpListener,
        os::unix::process::CommandExt as _,
        process::{Child, Command, Stdio},
    };

    use super::*;

    /// A worker that does not listen.
    struct Worker(Child);

    impl Worker {
        fn start() -> Self {
            Self(
                Command::new("cat")
                    .stdin(Stdio::piped())
                    .stdout(Stdio::null())
                    .process_group(0)
                    .spawn()
                    .expect("cat can be started"),
            )
        }

        fn group(&self) -> i32 {
            i32::try_from(self.0.id()).expect("process ids are small")
        }
    }

    impl Drop for Worker {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_program_that_was_there_before_is_found_on_the_port() {
        for address in ["127.0.0.1:0", "0.0.0.0:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let port = listener.local_addr().unwrap().port();
            let worker = Worker::start();
            // Times of processes are counted in ticks of 10 ms.
            let foreign = std::iter::repeat_with(|| foreign_listener_on(port, Worker::start().group()))
                .take(1000)
                .find_map(|found| found);
            let own = i32::try_from(std::process::id()).unwrap();
            assert_eq!(foreign.map(|foreign| foreign.process), Some(own));
            drop(listener);
            assert_eq!(foreign_listener_on(port, worker.group()), None, "nobody listens");
        }
    }

    #[test]
    fn a_listener_of_the_group_is_no_stranger() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let own = nix::unistd::getpgrp().as_raw();
        // The test's own group, as if it were a worker's; and what that group's leader has started.
        assert_eq!(foreign_listener_on(port, own), None);
    }
}
