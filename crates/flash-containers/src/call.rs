//! The command lines for an engine. Pure: nothing is started here.
use std::{collections::BTreeMap, fmt};

use flash_protocol::variables;

use super::{EngineError, Kind};

/// A resource that an engine can limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    Cpu,
    Memory,
    Processes,
}

impl Limit {
    pub const ALL: [Self; 3] = [Self::Cpu, Self::Memory, Self::Processes];

    /// For people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::Memory => "memory",
            Self::Processes => "process",
        }
    }
}

/// How an engine is called on this machine for this project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    pub(super) kind: Kind,
    /// Before every subcommand.
    pub(super) global_arguments: Vec<String>,
    /// The project's own arguments for each container.
    pub(super) run_arguments: Vec<String>,
    /// What it can limit here.
    pub(super) limits: Vec<Limit>,
    /// Docker rejects more CPUs than there are.
    pub(super) cores: u32,
    /// Limits of this process that a container's must not exceed: `nofile=1024:1024`.
    pub(super) ulimits: Vec<String>,
}

/// The resources of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resources {
    /// Not limited if unknown.
    pub vcpus: Option<u32>,
    /// In GiB. Not limited if unknown.
    pub memory_gb: Option<u32>,
    /// The maximum number of processes and threads.
    pub processes: u32,
}

/// A container to start.
#[derive(Clone)]
pub struct ContainerSpec {
    /// By which the container is found and removed; unique on this machine.
    pub name: String,
    /// The image's ID in the engine's store.
    pub image: String,
    /// Replaces the image's entry point, unless it is empty.
    pub entrypoint: Vec<String>,
    /// Replaces the image's default arguments, unless both it and `entrypoint` are empty.
    pub arguments: Vec<String>,
    /// In addition to the image's. A later one takes precedence.
    pub environment: Vec<(String, String)>,
    /// Its limits; `None`: not limited.
    pub resources: Option<Resources>,
    /// MiB of `/dev/shm`; the engine's default if not set.
    pub shm_mib: Option<u32>,
    /// The GPUs it sees, by the driver's IDs.
    pub gpus: Vec<String>,
}

/// A command line, and what goes with it. The arguments never contain values of variables, because all users of the
/// machine can read them.
#[derive(Clone, PartialEq, Eq)]
pub struct Call {
    /// After the name of the program.
    pub arguments: Vec<String>,
    /// Set for the engine's client, which passes them on by name.
    pub environment: Vec<(String, String)>,
    /// For its standard input: variables that the client would otherwise apply to itself.
    pub input: String,
}

impl fmt::Debug for Call {
    /// Without values, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("arguments", &self.arguments).finish_non_exhaustive()
    }
}

/// The file from which the client reads variables that it must not have itself.
const INPUT: &str = "/dev/stdin";

impl Engine {
    /// The program.
    pub fn program(&self) -> &'static str {
        self.kind.name()
    }

    /// What it cannot limit here.
    pub fn missing_limits(&self) -> Vec<Limit> {
        Limit::ALL.into_iter().filter(|limit| !self.limits.contains(limit)).collect()
    }

    /// Starts a container and waits until it ends; the exit code is the container's.
    ///
    /// It uses the machine's network, so that it can reach the platform on loopback and be reached there. Its root
    /// file system is writable, like that of a worker in production.
    ///
    /// # Errors
    /// When one of its variables cannot be passed.
    pub fn run(&self, spec: &ContainerSpec) -> Result<Call, EngineError> {
        let ContainerSpec { name, image, entrypoint, arguments: own, environment, resources, shm_mib, gpus } =
            spec;
        let mut arguments = self.words(&["run", "--name", name, "--network=host", "--pull=never"]);
        arguments.push(format!("--label=dev.flash.platform={}", std::process::id()));
        arguments.push(match self.kind {
            // It writes to our pipe directly: its output before an answer arrives before the answer.
            Kind::Podman => "--log-driver=passthrough".to_owned(),
            // Its daemon copies the output to the client; nothing is stored on disk.
            Kind::Docker => "--log-driver=none".to_owned(),
        });
        arguments.extend(self.ulimits.iter().map(|limit| format!("--ulimit={limit}")));
        arguments.extend(resources.iter().flat_map(|resources| self.limit(*resources)));
        arguments.extend(shm_mib.iter().map(|mib| format!("--shm-size={mib}m")));
        arguments.extend(self.devices(gpus));
        self.check_environment(environment)?;
        let environment: BTreeMap<&str, &str> =
            environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let (filed, passed): (Vec<_>, Vec<_>) =
            environment.into_iter().partition(|(name, _)| is_the_clients_own(name));
        for (name, _) in &passed {
            arguments.extend(["--env".to_owned(), (*name).to_owned()]);
        }
        if !filed.is_empty() {
            arguments.push(format!("--env-file={INPUT}"));
        }
        // Last of the options, so that the project's settings take precedence.
        arguments.extend(self.run_arguments.iter().cloned());
        // The engines take one word as the entry point, and its other words as arguments.
        let (program, words) =
            entrypoint.split_first().map_or((None, &[][..]), |(first, rest)| (Some(first), rest));
        arguments.extend(program.map(|program| format!("--entrypoint={program}")));
        arguments.push(image.clone());
        arguments.extend(words.iter().chain(own).cloned());
        Ok(Call {
            arguments,
            environment: passed
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            input: filed.iter().map(|(name, value)| format!("{name}={value}\n")).collect(),
        })
    }

    /// Whether these variables can be passed to a container.
    ///
    /// # Errors
    /// Names one that would have to be in the client's environment, where it would affect the client: a multi-line
    /// value cannot be written to a file of lines.
    pub fn check_environment(&self, environment: &[(String, String)]) -> Result<(), EngineError> {
        let is_stuck =
            |(name, value): &&(String, String)| is_the_clients_own(name) && value.contains(['\n', '\r']);
        match environment.iter().find(is_stuck) {
            Some((name, _)) => Err(EngineError::ManyLines { name: name.clone(), engine: self.program() }),
            None => Ok(()),
        }
    }

    fn limit(&self, resources: Resources) -> Vec<String> {
        let Resources { vcpus, memory_gb, processes } = resources;
        let has = |limit| self.limits.contains(&limit);
        let mut arguments = Vec::new();
        if let Some(vcpus) = vcpus.filter(|_| has(Limit::Cpu)) {
            arguments.push(format!("--cpus={}", vcpus.min(self.cores)));
        }
        if let Some(gb) = memory_gb.filter(|_| has(Limit::Memory)) {
            // The sum of memory and swap is the same: no swap.
            arguments.extend([format!("--memory={gb}g"), format!("--memory-swap={gb}g")]);
        }
        if has(Limit::Processes) {
            arguments.push(format!("--pids-limit={processes}"));
        }
        arguments
    }

    fn devices(&self, gpus: &[String]) -> Vec<String> {
        match self.kind {
            _ if gpus.is_empty() => Vec::new(),
            Kind::Podman => gpus.iter().map(|gpu| format!("--device=nvidia.com/gpu={gpu}")).collect(),
            // The quotes are for docker, which would otherwise split at the comma.
            Kind::Docker => vec![format!("--gpus=\"device={}\"", gpus.join(","))],
        }
    }

    /// Kills and removes containers; the names follow. For podman, a missing one is not an error.
    pub fn remove(&self) -> Vec<String> {
        match self.kind {
            Kind::Podman => self.words(&["rm", "--force", "--ignore", "--volumes", "--time=0"]),
            Kind::Docker => self.words(&["rm", "--force", "--volumes"]),
        }
    }

    /// Lists the IDs of containers with this name, in any state.
    pub(super) fn find_container(&self, name: &str) -> Vec<String> {
        self.words(&["ps", "--all", "--quiet", &format!("--filter=name=^{name}$")])
    }

    /// Prints `true` if an ended container was killed for its memory use.
    pub(super) fn ask_for_memory_kill(&self, name: &str) -> Vec<String> {
        self.words(&["inspect", "--type=container", "--format={{.State.OOMKilled}}", name])
    }

    pub(super) fn ask_for_process(&self, name: &str) -> Vec<String> {
        self.words(&["inspect", "--type=container", "--format={{.State.Pid}}", name])
    }

    /// Prints the id and name of each image.
    pub(super) fn list_images(&self) -> Vec<String> {
        self.words(&["images", "--no-trunc", "--format={{.ID}} {{.Repository}}:{{.Tag}}"])
    }

    /// Prints the ID of an image of the store, and its platform.
    pub(super) fn inspect_image(&self, name: &str) -> Vec<String> {
        self.words(&["image", "inspect", "--format={{.Id}} {{.Os}}/{{.Architecture}}", name])
    }

    /// Fetches an image from its registry into the store.
    pub(super) fn pull(&self, name: &str) -> Vec<String> {
        self.words(&["pull", "--quiet", name])
    }

    /// Gives an image an additional name.
    pub(super) fn tag(&self, id: &str, name: &str) -> Vec<String> {
        self.words(&["tag", id, name])
    }

    /// Removes a name from an image.
    pub(super) fn untag(&self, id: &str, name: &str) -> Vec<String> {
        self.words(&["untag", id, name])
    }

    /// Removes names from their images, and images that have no other name and no container.
    pub(super) fn remove_images(&self) -> Vec<String> {
        self.words(&["rmi"])
    }

    /// `words` as a command line.
    pub(super) fn words(&self, words: &[&str]) -> Vec<String> {
        self.global_arguments.iter().cloned().chain(words.iter().map(|word| (*word).to_owned())).collect()
    }
}

/// Whether the engine's client may apply this variable to itself: a worker's `HOME` or proxy must not change its
/// store or its registry.
fn is_the_clients_own(name: &str) -> bool {
    const NAMES: [&str; 13] = [
        "ALL_PROXY",
        "HOME",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "LANG",
        "LOGNAME",
        "NO_PROXY",
        "PATH",
        "SHELL",
        "TERM",
        "TMPDIR",
        "TZ",
        "USER",
    ];
    const PREFIXES: [&str; 14] = [
        "BUILDAH_",
        "BUILDKIT_",
        "CONTAINER",
        "DBUS_",
        "DOCKER_",
        "GO",
        "LC_",
        "LD_",
        "LISTEN_",
        "NOTIFY_",
        "PODMAN_",
        "SSL_CERT_",
        "STORAGE_",
        "XDG_",
    ];
    let upper = name.to_ascii_uppercase();
    NAMES.contains(&upper.as_str()) || PREFIXES.iter().any(|prefix| upper.starts_with(prefix))
}

/// If set, the image describes itself.
pub(super) fn describing() -> (String, String) {
    (variables::ROLE.to_owned(), "describe".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(kind: Kind) -> Engine {
        Engine {
            kind,
            global_arguments: vec!["--log-level=error".to_owned()],
            run_arguments: vec!["--volume=/models:/models:ro".to_owned()],
            limits: Limit::ALL.to_vec(),
            cores: 2,
            ulimits: vec!["nofile=1024:1024".to_owned()],
        }
    }

    fn spec(environment: &[(&str, &str)]) -> ContainerSpec {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        ContainerSpec {
            name: "flash-greeter-1a2b3c".to_owned(),
            image: "sha256:abc".to_owned(),
            entrypoint: Vec::new(),
            arguments: Vec::new(),
            environment: environment.iter().map(owned).collect(),
            resources: Some(Resources { vcpus: Some(4), memory_gb: Some(8), processes: 4096 }),
            shm_mib: Some(256),
            gpus: Vec::new(),
        }
    }

    #[test]
    fn a_container_has_the_machines_network_and_the_share_of_its_worker() {
        let call = engine(Kind::Podman).run(&spec(&[("FLASH_ROLE", "worker")])).unwrap();
        let label = format!("--label=dev.flash.platform={}", std::process::id());
        let expected = [
            "--log-level=error",
            "run",
            "--name",
            "flash-greeter-1a2b3c",
            "--network=host",
            "--pull=never",
            &label,
            "--log-driver=passthrough",
            "--ulimit=nofile=1024:1024",
            // As many as this machine has.
            "--cpus=2",
            "--memory=8g",
            "--memory-swap=8g",
            "--pids-limit=4096",
            "--shm-size=256m",
            "--env",
            "FLASH_ROLE",
            "--volume=/models:/models:ro",
            "sha256:abc",
        ];
        assert_eq!(call.arguments, expected);
        assert_eq!(call.environment, [("FLASH_ROLE".to_owned(), "worker".to_owned())]);
    }

    #[test]
    fn limits_that_the_engine_cannot_set_are_not_asked_of_it() {
        let bare = Engine { limits: vec![Limit::Memory], ..engine(Kind::Docker) };
        let words = bare.run(&spec(&[])).unwrap().arguments;
        assert!(words.iter().any(|word| word == "--memory=8g"), "{words:?}");
        assert!(
            !words.iter().any(|word| word.starts_with("--cpus") || word.starts_with("--pids")),
            "{words:?}"
        );
        assert_eq!(bare.missing_limits(), [Limit::Cpu, Limit::Processes]);
        let free = ContainerSpec { resources: None, ..spec(&[]) };
        let words = engine(Kind::Podman).run(&free).unwrap().arguments;
        assert!(!words.iter().any(|word| word.starts_with("--memory")), "{words:?}");
    }

    #[test]
    fn values_are_in_no_argument_and_what_would_change_the_client_is_not_in_its_environment() {
        let variables = [
            ("API_TOKEN", "hush-1"),
            ("HOME", "hush-2"),
            ("https_proxy", "hush-3"),
            ("CONTAINERS_CONF", "hush-4"),
            ("KEY", "hush-5\nhush-6"),
        ];
        let call = engine(Kind::Podman).run(&spec(&variables)).unwrap();
        assert!(!call.arguments.iter().any(|word| word.contains("hush")), "{:?}", call.arguments);
        assert!(!format!("{call:?}").contains("hush"));
        assert_eq!(call.input, "CONTAINERS_CONF=hush-4\nHOME=hush-2\nhttps_proxy=hush-3\n");
        assert!(call.arguments.contains(&"--env-file=/dev/stdin".to_owned()));
        let passed: Vec<&str> = call.environment.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(passed, ["API_TOKEN", "KEY"]);
    }

    #[test]
    fn a_value_that_only_the_client_itself_could_have_is_refused_by_its_name() {
        for name in ["PATH", "https_proxy", "DOCKER_HOST"] {
            let error = engine(Kind::Podman).run(&spec(&[(name, "hush-1\nhush-2")])).unwrap_err().to_string();
            assert!(error.contains(&format!("`{name}`")) && !error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn a_later_variable_wins() {
        let call = engine(Kind::Podman).run(&spec(&[("PORT", "80"), ("PORT", "0")])).unwrap();
        assert_eq!(call.environment, [("PORT".to_owned(), "0".to_owned())]);
    }

    #[test]
    fn an_entry_point_and_arguments_of_its_own_replace_those_of_the_image() {
        let words = |entrypoint: &[&str], arguments: &[&str]| {
            let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
            let spec =
                ContainerSpec { entrypoint: owned(entrypoint), arguments: owned(arguments), ..spec(&[]) };
            let mut words = engine(Kind::Docker).run(&spec).unwrap().arguments;
            let own = words.iter().position(|word| word.starts_with("--volume")).unwrap() + 1;
            words.split_off(own)
        };
        assert_eq!(words(&[], &["--port", "1"]), ["sha256:abc", "--port", "1"]);
        let both = words(&["python3", "-u"], &["worker.py"]);
        assert_eq!(both, ["--entrypoint=python3", "sha256:abc", "-u", "worker.py"]);
    }

    #[test]
    fn gpus_are_given_as_each_engine_has_it() {
        let gpus = ContainerSpec { gpus: vec!["GPU-a".to_owned(), "GPU-b".to_owned()], ..spec(&[]) };
        let words = |kind| {
            engine(kind).run(&gpus).unwrap().arguments.into_iter().filter(|word| word.contains("GPU-a"))
        };
        let podman: Vec<String> = words(Kind::Podman).collect();
        assert_eq!(podman, ["--device=nvidia.com/gpu=GPU-a"]);
        let docker: Vec<String> = words(Kind::Docker).collect();
        assert_eq!(docker, ["--gpus=\"device=GPU-a,GPU-b\""]);
    }

    #[test]
    fn removal_waits_for_nothing() {
        let words = engine(Kind::Podman).remove();
        assert_eq!(words, ["--log-level=error", "rm", "--force", "--ignore", "--volumes", "--time=0"]);
    }
}
