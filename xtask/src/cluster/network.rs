//! The node's network: a namespace of its own, with one link to this machine.
//!
//! Containers, services and their rules of iptables exist in it alone, and end with it.
use std::path::{Path, PathBuf};

use super::place::{HOST, NODE};
use crate::{
    command::{command, run, succeeds},
    failure::Failure,
};

/// The namespace.
const NAMESPACE: &str = "flash-cluster";
/// This machine's end of the link.
const LINK: &str = "flash-cluster";

/// Makes it.
///
/// # Errors
/// When one of the commands fails, which needs root.
pub(super) fn create() -> Result<(), Failure> {
    let (host, node, gateway) = (format!("{HOST}/30"), format!("{NODE}/30"), HOST.to_string());
    for words in [
        &["netns", "add", NAMESPACE][..],
        &["link", "add", LINK, "type", "veth", "peer", "name", "eth0", "netns", NAMESPACE],
        &["address", "add", &host, "dev", LINK],
        &["link", "set", LINK, "up"],
        &["-n", NAMESPACE, "address", "add", &node, "dev", "eth0"],
        &["-n", NAMESPACE, "link", "set", "eth0", "up"],
        &["-n", NAMESPACE, "link", "set", "lo", "up"],
        &["-n", NAMESPACE, "route", "add", "default", "via", &gateway],
    ] {
        run(&mut command("ip", words))?;
    }
    // Packets of pods pass through it.
    run(command("nsenter", &[]).arg(within()).args(["sysctl", "-qw", "net.ipv4.ip_forward=1"]))
}

/// Removes it, and with it the link. Nothing may run in it any more.
///
/// # Errors
/// When it is there and cannot be removed.
pub(super) fn remove() -> Result<(), Failure> {
    if file(NAMESPACE).exists() {
        run(&mut command("ip", &["netns", "delete", NAMESPACE]))?;
    }
    if succeeds("ip", &["link", "show", LINK]) {
        run(&mut command("ip", &["link", "delete", LINK]))?;
    }
    Ok(())
}

/// The argument with which `nsenter` starts a program in it, as the same process. `ip netns exec` would give the program
/// mounts of its own, and the kubelet's are for containerd too.
pub(super) fn within() -> String {
    format!("--net={}", file(NAMESPACE).display())
}

/// Removes the namespace of a pod that the node could not remove.
pub(super) fn remove_of_pod(path: &Path) {
    if let Some(name) =
        path.file_name().and_then(|name| name.to_str()).filter(|name| name.starts_with("cni-"))
    {
        // What is in use stays in use, and the rest of `down` says so.
        succeeds("ip", &["netns", "delete", name]);
    }
}

fn file(namespace: &str) -> PathBuf {
    Path::new("/run/netns").join(namespace)
}
