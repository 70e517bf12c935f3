//! One worker process, from spawn to reaping.
use std::{io, time::Duration};

use flash_process::parent_death::OnParentDeath;
use nix::sys::signal::Signal;

use super::{
    cgroup::MemoryKill,
    child::{Child, SpawnError, Spec},
    exit::Exit,
    isolation::ProcessAllocation,
    lifeline::Lifeline,
    output::{CurrentWork, OnLine, Output},
    unix::enter_groups,
};
use crate::listener::restore_limit;

/// How long killed processes may take before their group is removed; after that, the lifeline removes it.
const REMOVAL: Duration = Duration::from_millis(200);
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// A running worker process, in its own process group.
pub(super) struct Process {
    child: Child,
    allocation: ProcessAllocation,
    memory: Option<MemoryKill>,
    lifeline: Lifeline,
}

impl Process {
    /// Starts it with its allocation, and its output going to `on_line`.
    pub(super) async fn spawn(
        spec: &Spec,
        allocation: ProcessAllocation,
        lifeline: &Lifeline,
        current_work: CurrentWork,
        on_line: OnLine,
    ) -> Result<Self, SpawnError> {
        Self::try_spawn(spec, allocation, lifeline, current_work, on_line)
            .await
            .map_err(|source| SpawnError { program: spec.program.clone(), source })
    }

    async fn try_spawn(
        spec: &Spec,
        mut allocation: ProcessAllocation,
        lifeline: &Lifeline,
        current_work: CurrentWork,
        on_line: OnLine,
    ) -> io::Result<Self> {
        let mut command = Child::command(&spec.program, &spec.arguments);
        command
            .current_dir(&spec.directory)
            // The project's own settings win.
            .envs(allocation.environment.iter().map(|(name, value)| (name, value)))
            .envs(spec.environment.iter().map(|(name, value)| (name, value)));
        restore_limit(&mut command);
        if let Some(group) = &allocation.group {
            enter_groups(&mut command, group.procs());
        }
        if let Some(rules) = allocation.rules.take() {
            rules.hold(&mut command);
        }
        let child = Child::spawn(command, OnParentDeath::Kill, current_work, on_line).await?;
        lifeline.add(child.group());
        Ok(Self { child, allocation, memory: None, lifeline: lifeline.clone() })
    }

    /// Its output.
    pub(super) fn output(&self) -> Output {
        self.child.output()
    }

    /// Its process group.
    pub(super) fn group(&self) -> i32 {
        self.child.group()
    }

    /// Asks it to end.
    pub(super) fn terminate(&self) {
        self.child.signal(Signal::SIGTERM);
    }

    /// Ends it, and whatever it started.
    pub(super) fn kill(&self) {
        self.child.signal(Signal::SIGKILL);
        if let Some(group) = &self.allocation.group {
            group.kill();
        }
    }

    /// Waits for its end, reads its last output, and kills processes that it left behind. Can be called again if the
    /// future was dropped.
    pub(super) async fn wait(&mut self) -> io::Result<Exit> {
        let status = self.child.ended().await?;
        self.kill();
        self.lifeline.remove(self.child.group());
        let last_lines = self.child.last_lines().await;
        // Kept, because it cannot be read once the group is removed.
        self.memory = self.memory.or_else(|| self.allocation.group.as_ref()?.memory_kill());
        self.leave().await;
        Ok(Exit { status, memory: self.memory, reason: None, last_lines })
    }

    /// Removes the control group, as soon as nothing runs in it any more.
    async fn leave(&self) {
        let Some(group) = &self.allocation.group else { return };
        let until = tokio::time::Instant::now() + REMOVAL;
        while !group.remove() && tokio::time::Instant::now() < until {
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }
}
