//! How much memory the GPU has left, for messages.
//!
//! Asked of the driver's own tool, and only when there was too little: the same in every build, and a tool that hangs holds up
//! a model that stands still anyway, for a second.
use std::{process::Command, sync::mpsc, time::Duration};

/// A driver that does not answer by then has no figures.
const PATIENCE: Duration = Duration::from_secs(1);

/// `; the GPU has 0.3 of 23.6 GiB free`, or nothing where there is no GPU.
pub(crate) fn left() -> String {
    let (said, answer) = mpsc::channel();
    // Not joined: it ends with its tool, and nobody waits for a hanging one.
    let _ = std::thread::Builder::new().name("nvidia-smi".to_owned()).spawn(move || said.send(ask()));
    let room = answer.recv_timeout(PATIENCE).ok().flatten();
    room.map(|(free, total)| format!("; the GPU has {free:.1} of {total:.1} GiB free")).unwrap_or_default()
}

/// Free and total GiB of the first GPU that this process sees, which is the one that models run on.
fn ask() -> Option<(f64, f64)> {
    let mut command = Command::new("nvidia-smi");
    command.args(["--query-gpu=memory.free,memory.total", "--format=csv,noheader,nounits"]);
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").unwrap_or_default();
    if let Some(first) = visible.split(',').map(str::trim).next().filter(|first| !first.is_empty()) {
        command.arg(format!("--id={first}"));
    }
    let output = command.output().ok().filter(|output| output.status.success())?;
    parse(&String::from_utf8_lossy(&output.stdout))
}

/// Reads a line such as `312, 24564`, in MiB.
fn parse(printed: &str) -> Option<(f64, f64)> {
    let (free, total) = printed.lines().next()?.split_once(',')?;
    let gib = |mib: &str| mib.trim().parse::<f64>().ok().map(|mib| mib / 1024.0);
    Some((gib(free)?, gib(total)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drivers_figures_are_read_and_what_it_does_not_know_is_none() {
        assert_eq!(parse("512, 24576\n1024, 81920\n"), Some((0.5, 24.0)));
        assert_eq!(parse("[N/A], [N/A]\n"), None);
        assert_eq!(parse("No devices were found\n"), None);
        assert_eq!(parse(""), None);
    }
}
