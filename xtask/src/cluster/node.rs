//! The node: containerd, kubelet and kube-proxy in the node's network, and what their ends leave behind.
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;

use super::{
    CONTAINERD, KUBELET, PROXY, READY,
    daemon::{Network, wait_until},
    kernel, kubectl, network,
    place::{NODE, NODE_NAME, Place, write},
    programs::Programs,
    settings::{self, Client},
    shown,
};
use crate::{
    command::{command, run},
    failure::Failure,
    output,
};

/// How long pods may take to end when the cluster does.
const PODS_END: Duration = Duration::from_secs(60);
/// containerd's name for what the kubelet runs.
const NAMESPACE: &str = "k8s.io";

/// Starts it, and waits until it is ready.
///
/// # Errors
/// When one of its programs ends, or the node is not ready in time.
pub(super) fn start(place: &Place, programs: &Programs) -> Result<(), Failure> {
    let pause = push_pause(place, programs)?;
    write(&Place::path("containerd.toml"), settings::containerd(place, &pause).as_bytes())?;
    write(&Place::path("cni/10-flash-cluster.conflist"), settings::cni().as_bytes())?;
    write(&Place::path("kubelet.yml"), settings::kubelet().as_bytes())?;
    write(&Place::path("kube-proxy.yml"), settings::proxy().as_bytes())?;
    kernel::make_groups()?;
    let path = [("PATH", programs.search_path())];
    let program = programs.debian("containerd").display().to_string();
    CONTAINERD.start(Network::Node, &program, &["--config".to_owned(), shown("containerd.toml")], &path)?;
    let there = || match CONTAINERD.running() {
        Some(_) => Ok(ctr(programs, &["version"]).output().is_ok_and(|out| out.status.success())),
        None => Err(CONTAINERD.ended()),
    };
    if !wait_until(READY, there)? {
        return Err(Failure::new("containerd does not answer"));
    }
    let options = [
        ("config", shown("kubelet.yml")),
        ("kubeconfig", shown(Client::Kubelet.file())),
        ("root-dir", shown("kubelet")),
        ("cert-dir", shown("kubelet-certificates")),
        ("container-runtime", "remote".to_owned()),
        ("container-runtime-endpoint", format!("unix://{}", settings::socket())),
        ("hostname-override", NODE_NAME.to_owned()),
        ("node-ip", NODE.to_string()),
    ];
    let options: Vec<String> = options.iter().map(|(name, value)| format!("--{name}={value}")).collect();
    KUBELET.start(Network::Node, &programs.kubernetes("kubelet").display().to_string(), &options, &path)?;
    let options = [format!("--config={}", shown("kube-proxy.yml"))];
    PROXY.start(Network::Node, &programs.kubernetes("kube-proxy").display().to_string(), &options, &path)?;
    let is_ready = || {
        let ended = [KUBELET, CONTAINERD, PROXY].into_iter().find(|daemon| daemon.running().is_none());
        if let Some(daemon) = ended {
            return Err(daemon.ended());
        }
        let ready = "jsonpath={.status.conditions[?(@.type=='Ready')].status}";
        let seen = kubectl(programs, &["get", "node", NODE_NAME, "-o", ready]).output();
        // A pod without an account is refused: this one is made by a controller a moment later.
        let account = kubectl(programs, &["get", "serviceaccount", "default"]).output();
        Ok(seen.is_ok_and(|seen| seen.stdout == b"True") && account.is_ok_and(|seen| seen.status.success()))
    };
    match wait_until(READY, is_ready)? {
        true => Ok(()),
        false => Err(Failure::new(format!("the node is not ready after {} s", READY.as_secs()))
            .hint(format!("its log: {}", shown("logs/kubelet.log")))),
    }
}

/// Puts the image that holds a pod's place into the registry. Its name.
fn push_pause(place: &Place, programs: &Programs) -> Result<String, Failure> {
    let layout = Place::path("pause");
    let image = format!("{}:1", layout.display());
    run(command("umoci", &["init", "--layout"]).arg(&layout))?;
    run(&mut command("umoci", &["new", "--image", &image]))?;
    run(command("umoci", &["insert", "--image", &image]).arg(programs.kubernetes("pause")).arg("/pause"))?;
    run(&mut command("umoci", &["config", "--image", &image, "--config.entrypoint", "/pause"]))?;
    let name = format!("{}/pause:1", place.registry());
    let to = format!("docker://{name}");
    let copy = || {
        let arguments = ["copy", "--quiet", "--dest-tls-verify=false", &format!("oci:{image}"), &to];
        Ok(run(&mut command("skopeo", &arguments)).is_ok())
    };
    // The registry has only just started.
    match wait_until(READY, copy)? {
        true => Ok(name),
        false => Err(super::REGISTRY.ended()),
    }
}

/// Ends all pods, by the kubelet where it runs, else by containerd.
///
/// # Errors
/// When containers are left.
pub(super) fn stop(programs: &Programs) -> Result<(), Failure> {
    if CONTAINERD.running().is_none() {
        return Ok(());
    }
    if KUBELET.running().is_some() {
        let arguments = ["delete", "pods", "--all", "--all-namespaces", "--wait=false", "--grace-period=1"];
        // What makes pods would make them again.
        for kind in ["deployments,statefulsets,daemonsets,jobs,cronjobs,replicasets", "pods"] {
            let mut words = arguments.to_vec();
            words[1] = kind;
            let _ = kubectl(programs, &words).output();
        }
        if wait_until(PODS_END, || Ok(containers(programs).is_empty()))? {
            return Ok(());
        }
        output::say("Left", "containers that the kubelet did not end");
        KUBELET.stop()?;
    }
    let left = containers(programs);
    let namespaces: BTreeSet<PathBuf> = left.iter().filter_map(|own| network_of(programs, own)).collect();
    for container in &left {
        let _ = ctr(programs, &["tasks", "delete", "--force", container]).output();
        let _ = ctr(programs, &["containers", "delete", container]).output();
    }
    namespaces.iter().for_each(|path| network::remove_of_pod(path));
    match containers(programs).as_slice() {
        [] => Ok(()),
        left => Err(Failure::new(format!("{} containers do not end", left.len()))),
    }
}

/// Unmounts what is left of pods.
///
/// # Errors
/// When something is in use.
pub(super) fn unmount() -> Result<(), Failure> {
    let mounts = fs::read_to_string("/proc/mounts").map_err(Failure::at("/proc/mounts"))?;
    let own = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    let mut own: Vec<&str> = own.filter(|path| Path::new(path).starts_with(Place::directory())).collect();
    // What is inside of another comes later in the list.
    own.reverse();
    for path in own {
        run(&mut command("umount", &[path]))?;
    }
    Ok(())
}

/// The identifiers of all containers, of pods too.
fn containers(programs: &Programs) -> Vec<String> {
    let listed = ctr(programs, &["containers", "list", "--quiet"]).output();
    let text = listed.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// The file of the network namespace of a container.
fn network_of(programs: &Programs, container: &str) -> Option<PathBuf> {
    let out = ctr(programs, &["containers", "info", container]).output().ok()?;
    let info: Value = serde_json::from_slice(&out.stdout).ok()?;
    let namespaces = info["Spec"]["linux"]["namespaces"].as_array()?;
    let own = namespaces.iter().find(|namespace| namespace["type"] == "network")?;
    Some(PathBuf::from(own["path"].as_str()?))
}

/// containerd's own client.
fn ctr(programs: &Programs, arguments: &[&str]) -> Command {
    let mut ctr = command(&programs.debian("ctr").display().to_string(), &["--namespace", NAMESPACE]);
    ctr.args(["--address", &settings::socket()]).args(arguments);
    ctr
}
