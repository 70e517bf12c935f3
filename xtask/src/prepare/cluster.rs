//! What builds and runs a Kubernetes cluster for tests, besides the programs that `cluster` builds or unpacks.
use std::path::Path;

use super::{apt, containers};
use crate::{command::find, failure::Failure};

/// What is on this machine if a package is installed: a program, or a file.
const NEEDED: [(&str, &str); 12] = [
    ("golang-go", "go"),
    ("golang-github-modern-go-reflect2-dev", "/usr/share/gocode/src/github.com/modern-go/reflect2"),
    ("dpkg-dev", "dpkg-source"),
    ("make", "make"),
    ("gcc", "cc"),
    ("rsync", "rsync"),
    ("curl", "curl"),
    ("openssl", "openssl"),
    ("iproute2", "ip"),
    ("iptables", "iptables"),
    ("util-linux", "nsenter"),
    ("containernetworking-plugins", "/usr/lib/cni/ptp"),
];

/// Installs those that are missing.
pub(super) fn prepare() -> Result<(), Failure> {
    containers::prepare()?;
    let missing: Vec<&str> =
        NEEDED.into_iter().filter(|(_, what)| !is_here(what)).map(|(package, _)| package).collect();
    match missing.is_empty() {
        true => Ok(()),
        false => apt::install(&missing.join(", "), &missing),
    }
}

fn is_here(what: &str) -> bool {
    find(what).is_some() || Path::new("/usr/sbin").join(what).exists()
}
