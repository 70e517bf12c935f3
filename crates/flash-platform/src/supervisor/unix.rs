//! Code that differs by operating system.
use std::{fs::File, sync::Arc};

use tokio::process::Command;

/// Has the child enter control groups before it runs anything: writes `0` to each of these open files.
///
/// Processes that it starts later are in them from the beginning.
pub(super) fn enter_groups(command: &mut Command, procs: Arc<Vec<File>>) {
    let enter = move || {
        for file in procs.iter() {
            nix::unistd::write(file, b"0")?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec only `write` is called, on descriptors that are open; nothing is
    // allocated.
    unsafe {
        command.pre_exec(enter);
    }
}
