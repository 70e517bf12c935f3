//! Which engine it is.
use serde::Deserialize;

/// The supported engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Version 4.0 or newer; chosen where both are installed.
    Podman,
    /// With a daemon on this machine; neither Docker Desktop nor rootless.
    Docker,
}

impl Kind {
    /// In order of preference.
    pub const ALL: [Self; 2] = [Self::Podman, Self::Docker];

    /// The program, which is also the name of the package.
    pub fn name(self) -> &'static str {
        match self {
            Self::Podman => "podman",
            Self::Docker => "docker",
        }
    }
}
