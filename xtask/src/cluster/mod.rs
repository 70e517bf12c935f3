//! `cargo xtask cluster`: a real Kubernetes cluster of one node on this machine, for tests.
//!
//! etcd, API server, controllers, scheduler, kubelet, kube-proxy, containerd and a registry, as processes. They are reached on
//! loopback and over one link to a network namespace, which the node has for itself. `down` removes what `up` made.
mod daemon;
mod kernel;
mod network;
mod node;
mod place;
mod programs;
mod settings;

use std::{fs, time::Duration};

use self::{
    daemon::{Daemon, Network, wait_until},
    place::{API_PORT, HOST, Place, SERVICES, write},
    programs::{Programs, in_sbin},
    settings::Client,
};
use crate::{
    command::{command, read, run as run_command},
    failure::Failure,
    output,
    steps::Steps,
};
use clap::{Args, Subcommand};

const ETCD: Daemon = Daemon("etcd");
const API_SERVER: Daemon = Daemon("kube-apiserver");
const CONTROLLERS: Daemon = Daemon("kube-controller-manager");
const SCHEDULER: Daemon = Daemon("kube-scheduler");
const REGISTRY: Daemon = Daemon("registry");
const NODE_REGISTRY: Daemon = Daemon("registry-of-node");
const CONTAINERD: Daemon = Daemon("containerd");
const KUBELET: Daemon = Daemon("kubelet");
const PROXY: Daemon = Daemon("kube-proxy");

/// All processes, in the order in which they start.
const ALL: [Daemon; 9] =
    [ETCD, API_SERVER, CONTROLLERS, SCHEDULER, REGISTRY, NODE_REGISTRY, CONTAINERD, KUBELET, PROXY];

/// How long the control plane may take to answer, and the node to be ready: on two busy cores.
const READY: Duration = Duration::from_secs(180);

/// Run a Kubernetes cluster of one node on this machine, for tests.
///
/// Kubernetes 1.20 from Debian's source, which is built once (16 minutes of CPU time) and kept in ~/.cache. Needs root,
/// and Debian. One cluster per machine.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  cargo xtask cluster up\n  eval \"$(cargo xtask cluster env)\" && kubectl get nodes\n  \
                  cargo xtask cluster down\n\nExit codes: 0 done, or all of it runs; 1 failed, or some of it does not run; 2 wrong usage."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Start it, and wait until its node is ready.
    Up,
    /// End it, remove its data, and put back what it changed.
    Down,
    /// Show which of its processes run, and its node.
    Status,
    /// Print the variables of a shell: KUBECONFIG, FLASH_TEST_CLUSTER_REGISTRY, PATH with kubectl.
    Env,
}

/// Does one of the tasks.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    if nix::unistd::geteuid().is_root() {
        match arguments.task {
            Task::Up => up(),
            Task::Down => down(),
            Task::Status => status(),
            Task::Env => env(),
        }
    } else {
        Err(Failure::new("a cluster needs root: it makes a network and mounts")
            .hint("run it as root, or with sudo -E"))
    }
}

fn up() -> Result<(), Failure> {
    if Place::found()?.is_some() {
        return match ALL.iter().find(|daemon| daemon.running().is_none()) {
            None => {
                output::say("Found", "a cluster that runs");
                Ok(())
            }
            Some(daemon) => Err(daemon.ended().hint("remove it and start again: cargo xtask cluster down")),
        };
    }
    let mut steps = Steps::start();
    let mut programs = None;
    steps.take("programs", || {
        programs = Some(Programs::prepare()?);
        Ok(())
    })?;
    let programs = programs.ok_or_else(|| Failure::new("no programs"))?;
    let place = Place::create(programs)
        .map_err(|failure| failure.hint("remove what an earlier start has left: cargo xtask cluster down"))?;
    let started = start(&place, &mut steps);
    if started.is_err() {
        output::say("Left", &format!("what has started, for a look at {}", Place::path("logs").display()));
    }
    started.map_err(|failure| failure.hint("end what has started: cargo xtask cluster down"))?;
    steps.finish("cluster up");
    env()
}

fn start(place: &Place, steps: &mut Steps) -> Result<(), Failure> {
    steps.take("network", network::create)?;
    steps.take("control plane", || control_plane(place, &place.programs))?;
    steps.take("node", || node::start(place, &place.programs))
}

/// etcd, the API server and what works with it alone.
fn control_plane(place: &Place, programs: &Programs) -> Result<(), Failure> {
    let key = Place::path("service-accounts.key");
    run_command(command("openssl", &["genrsa", "-out"]).arg(&key).arg("2048"))?;
    let (own_key, own_certificate) =
        (Place::path("certificates/to-kubelet.key"), Place::path(settings::TO_KUBELET));
    // Makes the directory, too.
    write(&own_certificate, b"")?;
    // Signed by itself: the kubelet trusts this one alone.
    let subject = "/O=system:masters/CN=kube-apiserver";
    let certificate = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", subject];
    run_command(
        command("openssl", &certificate).arg("-keyout").arg(&own_key).arg("-out").arg(&own_certificate),
    )?;
    let tokens: Vec<(Client, String)> =
        Client::ALL.into_iter().map(|client| Ok((client, token()?))).collect::<Result<_, Failure>>()?;
    write(&Place::path("tokens.csv"), settings::tokens(&tokens).as_bytes())?;
    for (client, token) in &tokens {
        write(&Place::path(client.file()), settings::kubeconfig(token).as_bytes())?;
    }
    let etcd = format!("http://127.0.0.1:{}", place.etcd_port);
    start_daemon(
        &ETCD,
        &programs.debian("etcd"),
        &[
            ("data-dir", shown("etcd")),
            ("listen-client-urls", etcd.clone()),
            ("advertise-client-urls", etcd.clone()),
            // Port 0: it has no peers.
            ("listen-peer-urls", "http://127.0.0.1:0".to_owned()),
            // Data that ends with the cluster needs no disk.
            ("unsafe-no-fsync", "true".to_owned()),
        ],
    )?;
    start_daemon(
        &API_SERVER,
        &programs.kubernetes("kube-apiserver"),
        &[
            ("etcd-servers", etcd),
            ("bind-address", HOST.to_string()),
            ("advertise-address", HOST.to_string()),
            ("secure-port", API_PORT.to_string()),
            ("cert-dir", shown("certificates")),
            ("token-auth-file", shown("tokens.csv")),
            ("authorization-mode", "Node,RBAC".to_owned()),
            ("enable-admission-plugins", "NodeRestriction".to_owned()),
            ("service-account-issuer", "https://kubernetes.default.svc".to_owned()),
            ("service-account-signing-key-file", key.display().to_string()),
            ("service-account-key-file", key.display().to_string()),
            ("service-cluster-ip-range", SERVICES.to_owned()),
            ("kubelet-client-certificate", own_certificate.display().to_string()),
            ("kubelet-client-key", own_key.display().to_string()),
            ("kubelet-preferred-address-types", "InternalIP".to_owned()),
        ],
    )?;
    let is_ready = || match API_SERVER.running().and(ETCD.running()) {
        Some(_) => {
            Ok(kubectl(programs, &["get", "--raw", "/readyz"]).output().is_ok_and(|out| out.status.success()))
        }
        None => Err(if ETCD.running().is_none() { ETCD.ended() } else { API_SERVER.ended() }),
    };
    if !wait_until(READY, is_ready)? {
        return Err(Failure::new(format!("the API server is not ready after {} s", READY.as_secs())));
    }
    start_daemon(
        &CONTROLLERS,
        &programs.kubernetes("kube-controller-manager"),
        &[
            ("kubeconfig", shown(Client::Controllers.file())),
            ("service-account-private-key-file", key.display().to_string()),
            ("use-service-account-credentials", "true".to_owned()),
            ("root-ca-file", shown("certificates/apiserver.crt")),
            ("leader-elect", "false".to_owned()),
            ("port", "0".to_owned()),
            ("secure-port", "0".to_owned()),
        ],
    )?;
    start_daemon(
        &SCHEDULER,
        &programs.kubernetes("kube-scheduler"),
        &[
            ("kubeconfig", shown(Client::Scheduler.file())),
            ("leader-elect", "false".to_owned()),
            ("port", "0".to_owned()),
            ("secure-port", "0".to_owned()),
        ],
    )?;
    for (daemon, address) in [(REGISTRY, std::net::Ipv4Addr::LOCALHOST), (NODE_REGISTRY, HOST)] {
        let file = Place::path(&format!("{}.yml", daemon.0));
        write(&file, settings::registry(address, place.registry_port).as_bytes())?;
        let arguments = ["serve".to_owned(), file.display().to_string()];
        daemon.start(Network::Machine, &in_sbin("docker-registry").display().to_string(), &arguments, &[])?;
    }
    Ok(())
}

/// Starts a program of the control plane with these options.
fn start_daemon(
    daemon: &Daemon,
    program: &std::path::Path,
    options: &[(&str, String)],
) -> Result<(), Failure> {
    let arguments: Vec<String> = options.iter().map(|(name, value)| format!("--{name}={value}")).collect();
    daemon.start(Network::Machine, &program.display().to_string(), &arguments, &[])
}

/// kubectl with all rights.
fn kubectl(programs: &Programs, arguments: &[&str]) -> std::process::Command {
    let mut kubectl = command(&programs.kubernetes("kubectl").display().to_string(), arguments);
    kubectl.env("KUBECONFIG", Place::kubeconfig());
    kubectl
}

fn shown(name: &str) -> String {
    Place::path(name).display().to_string()
}

/// A secret that a client of the API server shows.
fn token() -> Result<String, Failure> {
    Ok(read(&mut command("openssl", &["rand", "-hex", "24"]))?.trim().to_owned())
}

fn down() -> Result<(), Failure> {
    let Some(place) = Place::found()? else {
        // What an interrupted start has left.
        network::remove()?;
        remove_data()?;
        output::say("Found", "no cluster");
        return Ok(());
    };
    node::stop(&place.programs)?;
    for daemon in ALL.iter().rev() {
        daemon.stop()?;
    }
    node::unmount()?;
    network::remove()?;
    kernel::restore(&place.kernel)?;
    kernel::remove_groups()?;
    remove_data()?;
    output::say("Removed", "the cluster, its data and its network; built programs are kept");
    Ok(())
}

fn remove_data() -> Result<(), Failure> {
    let directory = Place::directory();
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::at(directory.display())(error))
        }
        _ => Ok(()),
    }
}

fn status() -> Result<(), Failure> {
    let Some(place) = Place::found()? else {
        return Err(Failure::new("no cluster runs on this machine").hint("start one: cargo xtask cluster up"));
    };
    let mut missing = Vec::new();
    for daemon in &ALL {
        match daemon.running() {
            Some(pid) => output::result(&format!("{:<24}  process {pid}", daemon.0)),
            None => {
                output::result(&format!("{:<24}  not running", daemon.0));
                missing.push(daemon);
            }
        }
    }
    output::result(&format!("{:<24}  https://{HOST}:{API_PORT}", "API server"));
    output::result(&format!("{:<24}  {}", "registry", place.registry()));
    match missing.first() {
        Some(daemon) => Err(daemon.ended()),
        None => run_command(&mut kubectl(&place.programs, &["get", "nodes", "-o", "wide"])),
    }
}

/// A cluster that tests use. It is ended when dropped, unless it ran before.
pub(crate) struct TestCluster {
    variables: Vec<(&'static str, String)>,
    ran_before: bool,
}

impl TestCluster {
    /// Starts one, unless one runs.
    pub(crate) fn start(steps: &mut Steps) -> Result<Self, Failure> {
        let ran_before = Place::found()?.is_some();
        if !nix::unistd::geteuid().is_root() {
            return Err(
                Failure::new("tests on a cluster need root").hint("run them as root, or with sudo -E")
            );
        }
        steps.take("cluster", up)?;
        let place = Place::found()?.ok_or_else(|| Failure::new("the cluster has ended"))?;
        Ok(Self { variables: variables(&place), ran_before })
    }

    /// What tests find it by.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&'static str, String)> + '_ {
        let path = std::env::var("PATH").unwrap_or_default();
        self.variables.iter().cloned().map(move |(name, value)| match name {
            "PATH" => (name, format!("{value}:{path}")),
            _ => (name, value),
        })
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        if !self.ran_before
            && let Err(failure) = down()
        {
            output::say("Left", &format!("the cluster: {failure}"));
        }
    }
}

/// The kubeconfig, the registry and the directory of kubectl.
fn variables(place: &Place) -> Vec<(&'static str, String)> {
    vec![
        ("KUBECONFIG", Place::kubeconfig().display().to_string()),
        ("FLASH_TEST_CLUSTER_REGISTRY", place.registry()),
        ("PATH", place.programs.directory().display().to_string()),
    ]
}

fn env() -> Result<(), Failure> {
    let Some(place) = Place::found()? else {
        return Err(Failure::new("no cluster runs on this machine").hint("start one: cargo xtask cluster up"));
    };
    for (name, value) in variables(&place) {
        let rest = if name == "PATH" { ":$PATH" } else { "" };
        output::result(&format!("export {name}={value}{rest}"));
    }
    Ok(())
}
