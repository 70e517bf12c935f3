//! How `flash __service` is called, and what its exit codes say: the service, its supervisor, systemd and the commands
//! that start it agree on this.
use flash_target::TargetError;

/// The hidden argument that makes `flash` the service.
pub(super) const ARGUMENT: &str = "__service";
/// Follows it: the supervisor.
pub(super) const SUPERVISE: &str = "supervise";
/// Follows it: started by systemd.
pub(super) const SYSTEMD: &str = "systemd";

/// Exit code: it could not start, and starting it again does not help.
pub(super) const CANNOT_START: i32 = 1;
/// Exit code: another service of this directory is running.
pub(super) const ANOTHER_RUNS: i32 = 3;

/// Whether this process was started to be the service.
pub fn is_service() -> bool {
    std::env::args_os().nth(1).is_some_and(|argument| argument == ARGUMENT)
}

/// Why the service ended.
pub(super) enum End {
    AnotherRuns,
    Failed(TargetError),
}

impl From<TargetError> for End {
    fn from(error: TargetError) -> Self {
        Self::Failed(error)
    }
}
