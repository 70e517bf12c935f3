//! The frameworks that flash is compared with: their names, pinned versions and services.
use std::{fs, path::PathBuf, time::Duration};

use clap::ValueEnum;

use super::super::server::Server;
use crate::{command::command, failure::Failure, workspace};

/// How long a service may take until it listens.
const START: Duration = Duration::from_secs(120);

const SOURCES: &str = "xtask/bench/peers";

/// A framework.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Peer {
    Fastapi,
    Ray,
    Bentoml,
    Litserve,
}

impl Peer {
    /// Those that are named, in the order of all; all if none is named.
    pub(super) fn chosen(only: &[Self]) -> Vec<Self> {
        let all = Self::value_variants().iter().copied();
        all.filter(|peer| only.is_empty() || only.contains(peer)).collect()
    }

    /// Its folder, its argument, and its package.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Fastapi => "fastapi",
            Self::Ray => "ray",
            Self::Bentoml => "bentoml",
            Self::Litserve => "litserve",
        }
    }

    /// As it calls itself.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Fastapi => "FastAPI",
            Self::Ray => "Ray Serve",
            Self::Bentoml => "BentoML",
            Self::Litserve => "LitServe",
        }
    }

    /// The version that its requirements pin, which is the one that is installed.
    pub(super) fn version(self) -> Result<String, Failure> {
        let file = workspace::root().join(SOURCES).join(self.name()).join("requirements.txt");
        let requirements = fs::read_to_string(&file).map_err(Failure::at(file.display()))?;
        pinned(&requirements, self.name()).map(str::to_owned).ok_or_else(|| {
            Failure::new(format!("{} pins no version of {}", file.display(), self.name()))
                .hint(format!("add a line {}==VERSION", self.name()))
        })
    }

    /// What its services write.
    pub(super) fn log(self) -> PathBuf {
        self.environment().join("services.log")
    }

    fn environment(self) -> PathBuf {
        workspace::target().join("bench-peers").join(self.name())
    }

    /// Starts its services; the first one has the route, and is the first to be stopped.
    pub(super) async fn start(self) -> Result<Vec<Server>, Failure> {
        // That of an earlier run. If it cannot be removed, it becomes longer.
        let _ = fs::remove_file(self.log());
        match self {
            Self::Fastapi => {
                let postprocess = self.uvicorn("postprocess", "").await?;
                let infer = self.uvicorn("infer", &postprocess.url("/postprocess")).await?;
                let classify = self.uvicorn("classify", &infer.url("/infer")).await?;
                Ok(vec![classify, infer, postprocess])
            }
            Self::Bentoml => {
                let words =
                    ["bentoml", "serve", "service:Classify", "--host", "127.0.0.1", "--port", "{port}"];
                Ok(vec![self.launch(&words, "").await?])
            }
            Self::Ray | Self::Litserve => {
                Ok(vec![self.launch(&["python", "service.py", "{port}"], "").await?])
            }
        }
    }

    async fn uvicorn(self, app: &str, next_url: &str) -> Result<Server, Failure> {
        let app = format!("service:{app}");
        let words = ["uvicorn", &app, "--host", "127.0.0.1", "--port", "{port}", "--no-access-log"];
        self.launch(&words, next_url).await
    }

    /// One service, through a program that fills in `{port}`, and ends the service with all that it has started.
    async fn launch(self, words: &[&str], next_url: &str) -> Result<Server, Failure> {
        let python = self.environment().join("bin").join("python");
        let launch = workspace::root().join(SOURCES).join("launch.py");
        let mut command = command(&python.display().to_string(), &[]);
        command.arg(launch).arg(self.name()).args(words);
        if !next_url.is_empty() {
            command.env("NEXT_URL", next_url);
        }
        Server::start(command, START, |line| line.starts_with("http://").then(|| line.to_owned())).await
    }
}

/// The version in a line `PACKAGE==VERSION` or `PACKAGE[EXTRA]==VERSION`.
fn pinned<'a>(requirements: &'a str, package: &str) -> Option<&'a str> {
    requirements.lines().find_map(|line| {
        let (name, version) = line.split_once('#').map_or(line, |(line, _)| line).split_once("==")?;
        let name = name.split_once('[').map_or(name, |(name, _)| name);
        (name.trim() == package).then(|| version.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_of_the_pin() {
        let requirements = "# web==9\nweb-server==2.0\nweb[all]==1.4.0 # why\nother>=3\n";
        assert_eq!(pinned(requirements, "web"), Some("1.4.0"));
        assert_eq!(pinned(requirements, "web-server"), Some("2.0"));
        assert_eq!(pinned(requirements, "other"), None);
    }

    #[test]
    fn every_peer_has_a_service_and_a_pinned_version() {
        for peer in Peer::chosen(&[]) {
            let service = workspace::root().join(SOURCES).join(peer.name()).join("service.py");
            assert!(service.is_file(), "{}", service.display());
            assert!(peer.version().unwrap().starts_with(|char: char| char.is_ascii_digit()));
        }
    }

    #[test]
    fn peers_are_named_as_their_folders() {
        for peer in Peer::value_variants() {
            assert_eq!(peer.to_possible_value().unwrap().get_name(), peer.name());
        }
    }

    #[test]
    fn named_peers_are_measured_once_in_a_fixed_order() {
        assert_eq!(Peer::chosen(&[]), [Peer::Fastapi, Peer::Ray, Peer::Bentoml, Peer::Litserve]);
        assert_eq!(Peer::chosen(&[Peer::Bentoml, Peer::Ray, Peer::Bentoml]), [Peer::Ray, Peer::Bentoml]);
    }
}
