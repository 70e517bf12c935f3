//! What becomes of a child process when this one ends without a word.
use nix::sys::signal::Signal;
use tokio::process::Command;

/// Has the kernel kill the child when the thread that spawned it ends, where the kernel can do that.
///
/// Threads of the async runtime live as long as the process. Elsewhere than on Linux the lifeline alone
/// ends what is left.
pub(crate) fn die_with_parent(command: &mut Command) {
    signal_with_parent(command, Signal::SIGKILL);
}

/// As [`die_with_parent`], for what must be asked to end: killed in the midst of something, it would leave
/// that half done.
pub(crate) fn end_with_parent(command: &mut Command) {
    signal_with_parent(command, Signal::SIGTERM);
}

fn signal_with_parent(command: &mut Command, signal: Signal) {
    #[cfg(target_os = "linux")]
    {
        let parent = std::process::id();
        let set = move || {
            nix::sys::prctl::set_pdeathsig(signal)?;
            // The parent may have died between fork and here: then no signal will come.
            if nix::unistd::getppid().as_raw().cast_unsigned() != parent {
                return Err(std::io::Error::other("the parent is gone"));
            }
            Ok(())
        };
        // SAFETY: between fork and exec only async-signal-safe calls are made: prctl and getppid, and no
        // memory is allocated unless the parent is gone already.
        unsafe {
            command.pre_exec(set);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (command, signal);
}
