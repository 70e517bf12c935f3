//! What the kernel's groups can limit, and which of its two interfaces does it.

/// What limits a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Controller {
    Cpu,
    Memory,
    Pids,
}

impl Controller {
    pub(super) const ALL: [Self; 3] = [Self::Cpu, Self::Memory, Self::Pids];

    /// The kernel's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Pids => "pids",
        }
    }

    /// For people.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::Memory => "memory",
            Self::Pids => "process",
        }
    }

    /// Those named in a list of the kernel's.
    pub(super) fn named_in(list: &str, separator: impl Fn(char) -> bool) -> Vec<Self> {
        let named = |controller: &Self| list.split(&separator).any(|name| name == controller.name());
        Self::ALL.into_iter().filter(named).collect()
    }
}

/// The version of control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}
