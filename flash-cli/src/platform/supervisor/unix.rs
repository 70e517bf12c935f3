//! What differs by operating system.
use std::{fs::File, sync::Arc};

use tokio::process::Command;

/// Has the kernel kill the child when the thread that spawned it ends, where the kernel can do that.
///
/// Threads of the async runtime live as long as the process. Elsewhere than on Linux the lifeline alone
/// ends what is left.
pub(crate) fn die_with_parent(command: &mut Command) {
    #[cfg(target_os = "linux")]
    {
        let parent = std::process::id();
        let set = move || {
            nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
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
    let _ = command;
}

/// Has the child enter control groups before it runs anything: writes `0` to each of these open files.
///
/// What it starts later is in them from its first moment.
pub(crate) fn enter_groups(command: &mut Command, doors: Arc<Vec<File>>) {
    let enter = move || {
        for door in doors.iter() {
            nix::unistd::write(door, b"0")?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec only `write` is called, on descriptors that are open; nothing is
    // allocated.
    unsafe {
        command.pre_exec(enter);
    }
}
