//! Where the cluster of this machine is: its files, its addresses, and what it changed.
//!
//! There is one per machine, because the names and addresses of its network exist once.
use std::{
    fs, io,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{kernel, programs::Programs};
use crate::failure::Failure;

/// Everything that a running cluster writes; removed with it.
const DIRECTORY: &str = "/var/lib/flash-cluster";
/// The control plane's address, at this end of the link to the node.
pub(super) const HOST: Ipv4Addr = Ipv4Addr::new(10, 203, 0, 1);
/// The node's address, at the other end.
pub(super) const NODE: Ipv4Addr = Ipv4Addr::new(10, 203, 0, 2);
/// The addresses of services, which exist in the node's network only.
pub(super) const SERVICES: &str = "10.204.0.0/20";
/// The addresses of pods.
pub(super) const PODS: &str = "10.205.0.0/20";
/// The node's name.
pub(super) const NODE_NAME: &str = "flash-node";
/// The API server's port, at [`HOST`], where nothing else is.
pub(super) const API_PORT: u16 = 6443;

/// A cluster's files, and what was chosen when it started.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Place {
    pub programs: Programs,
    /// etcd's port for clients, on loopback.
    pub etcd_port: u16,
    /// The registry's, on loopback and at [`HOST`].
    pub registry_port: u16,
    /// Settings of the kernel that the kubelet changes, as they were.
    pub kernel: Vec<(String, String)>,
}

impl Place {
    /// A new one, with ports that are free now.
    ///
    /// # Errors
    /// When there is one already, or its directory cannot be made.
    pub(super) fn create(programs: Programs) -> Result<Self, Failure> {
        fs::create_dir(DIRECTORY).map_err(Failure::at(DIRECTORY))?;
        let free =
            || -> io::Result<u16> { Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port()) };
        let port = || free().map_err(Failure::at("no free port"));
        let place =
            Self { programs, etcd_port: port()?, registry_port: port()?, kernel: kernel::settings()? };
        let text = serde_json::to_vec(&place).map_err(Failure::at(DIRECTORY))?;
        write(&Self::path("cluster.json"), &text)?;
        Ok(place)
    }

    /// The one that is there; `None` if there is none.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub(super) fn found() -> Result<Option<Self>, Failure> {
        let path = Self::path("cluster.json");
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(Failure::at(path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::at(path.display())(error)),
        }
    }

    /// The directory of everything.
    pub(super) fn directory() -> &'static Path {
        Path::new(DIRECTORY)
    }

    /// A file or directory below it.
    pub(super) fn path(name: &str) -> PathBuf {
        Self::directory().join(name)
    }

    /// The file with which kubectl and kube have all rights.
    pub(super) fn kubeconfig() -> PathBuf {
        Self::path("admin.kubeconfig")
    }

    /// What the names of images begin with, here and on the node.
    pub(super) fn registry(&self) -> String {
        format!("localhost:{}", self.registry_port)
    }
}

/// Writes a file that only this user reads, and the directories above it.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write(path: &Path, text: &[u8]) -> Result<(), Failure> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let written = || {
        if let Some(above) = path.parent() {
            fs::create_dir_all(above)?;
        }
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(path)?.write_all(text)
    };
    written().map_err(Failure::at(path.display()))
}
