//! The pages there are: their names, their addresses, and their order.

/// A page of the dashboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// The state of everything, at a glance.
    Overview,
    /// The latest requests.
    Requests,
    /// The workers, with their lives.
    Workers,
    /// The log.
    Logs,
    /// What was spent.
    Costs,
    /// Jobs that failed, and those that killed their workers.
    Failed,
    /// Functions that run at times of the clock.
    Schedules,
    /// Models and batches.
    Models,
    /// The releases of an environment.
    Releases,
}

impl Page {
    /// All, in the order of the navigation.
    pub const ALL: [Self; 9] = [
        Self::Overview,
        Self::Requests,
        Self::Workers,
        Self::Logs,
        Self::Costs,
        Self::Failed,
        Self::Schedules,
        Self::Models,
        Self::Releases,
    ];

    /// Its address.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Overview => "/_flash/",
            Self::Requests => "/_flash/requests",
            Self::Workers => "/_flash/workers",
            Self::Logs => "/_flash/logs",
            Self::Costs => "/_flash/costs",
            Self::Failed => "/_flash/failed",
            Self::Schedules => "/_flash/schedules",
            Self::Models => "/_flash/models",
            Self::Releases => "/_flash/releases",
        }
    }

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Requests => "Requests",
            Self::Workers => "Workers",
            Self::Logs => "Logs",
            Self::Costs => "Costs",
            Self::Failed => "Failed",
            Self::Schedules => "Schedules",
            Self::Models => "Models",
            Self::Releases => "Releases",
        }
    }
}
