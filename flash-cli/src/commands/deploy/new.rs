//! `flash deploy new`.
use std::{net::IpAddr, path::Path};

use clap::Args;
use dialoguer::{Input, Select};
use flash_target::{Created, Environment, EnvironmentId, NewEnvironment, Target, TargetKind};
use flash_target_kubernetes::{ClusterSettings, KubernetesTarget};
use serde_json::json;

use super::subcommand::EnvironmentCommand;
use crate::{
    builder::{push_own_image, references},
    commands::{
        confirm::is_terminal,
        prompt::prompt,
        scope::{ScopeArguments, target},
    },
    credentials::CredentialStore,
    exit::{Code, Failure, FailureCode},
    output::Output,
    project::{Config, Declaration, EnvironmentSettings, add_environment},
};

/// The suggested name.
const USUAL_NAME: &str = "production";

/// Make an environment and its first key.
///
/// Adds it to flash.toml, shows the key once, and stores the key in your credential file, where your commands find
/// it.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  flash deploy new production\n  flash deploy new staging --port 9001\n  \
                  flash deploy new cloud --target runpod --registry ghcr.io/me/app\n  \
                  flash deploy new prod --target kubernetes --registry ghcr.io/me/app --namespace ml\n\n\
                  Exit codes: 0 done; 1 failed; 2 wrong usage, or it already exists."
)]
pub(super) struct NewArguments {
    /// Its name: 1 to 40 lower-case letters, digits and `-` [default: prompts for it on a terminal].
    #[arg(value_name = "ENV")]
    name: Option<String>,
    /// Address to listen on [default: 127.0.0.1]. Addresses other than loopback can be reached from other machines.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<IpAddr>,
    /// Port to listen on [default: a free port, kept from then on].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// With --target runpod or kubernetes: the registry to push images to, such as ghcr.io/me/app. Stored in flash.toml.
    #[arg(long, value_name = "REPOSITORY")]
    registry: Option<String>,
    #[command(flatten)]
    cluster: ClusterArguments,
    #[command(flatten)]
    scope: ScopeArguments,
}

/// Where an environment on Kubernetes is. All are stored in flash.toml.
#[derive(Args)]
struct ClusterArguments {
    /// With --target kubernetes: the context of your kubeconfig [default: the current one].
    #[arg(long, value_name = "CONTEXT")]
    context: Option<String>,
    /// With --target kubernetes: the namespace, made if it is missing [default: that of the context].
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// With --target kubernetes: the host name of an Ingress to make [default: none].
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// With --target kubernetes: an existing service account for the platform, where you may not make roles.
    #[arg(long, value_name = "ACCOUNT")]
    service_account: Option<String>,
}

impl ClusterArguments {
    /// Those that were given, by their names in flash.toml.
    fn given(&self) -> Vec<(&'static str, String)> {
        let all = [
            ("context", &self.context),
            ("namespace", &self.namespace),
            ("host", &self.host),
            ("service_account", &self.service_account),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect()
    }

    /// The declared settings, with those that were given instead of their own.
    fn over(&self, declared: &ClusterSettings) -> ClusterSettings {
        let Self { context, namespace, host, service_account } = self;
        ClusterSettings {
            context: context.clone().or_else(|| declared.context.clone()),
            namespace: namespace.clone().or_else(|| declared.namespace.clone()),
            host: host.clone().or_else(|| declared.host.clone()),
            service_account: service_account.clone().or_else(|| declared.service_account.clone()),
            ..declared.clone()
        }
    }
}

impl EnvironmentCommand for NewArguments {
    async fn run(self, output: &Output) -> Result<Code, Failure> {
        let app = self.scope.app()?;
        let project = self.scope.project();
        // Report an invalid file before anything is made.
        let config = match &project {
            Some(directory) => Config::load(directory)?,
            None => Config::default(),
        };
        let asked = self.name.is_none();
        let name = match &self.name {
            Some(name) => name.clone(),
            None => ask_name()?,
        };
        let id =
            EnvironmentId::new(&app, &name).map_err(|error| Failure::of(FailureCode::Unusable, &error))?;
        let declared = config.environment(&name);
        let kind = match (self.scope.target, declared) {
            (Some(kind), _) => kind,
            (None, Some(declared)) => declared.target,
            (None, None) if asked => ask_target()?,
            (None, None) => TargetKind::Local,
        };
        let usual = EnvironmentSettings::of(&name, kind);
        let declared = declared.unwrap_or(&usual);
        check(&self, &name, kind, declared)?;
        if kind != TargetKind::Local && project.is_none() {
            return Err(Failure::unusable(format!(
                "cannot declare {id}: an environment that is not on this machine needs its app's flash.toml"
            ))
            .hint("give the crate's directory: --dir DIR"));
        }
        let new = NewEnvironment {
            id: id.clone(),
            listen: self.listen.or(declared.listen),
            port: self.port.or(declared.port),
        };
        if let Some(listen) = new.listen.filter(|listen| !listen.is_loopback()) {
            output.warning(&format!(
                "{id} will listen on {listen}: it can be reached over the network, without \
                 encryption, protected only by its keys"
            ));
        }
        let settings = self.cluster.over(&declared.cluster);
        let target: Box<dyn Target> = match kind {
            TargetKind::Local | TargetKind::Runpod => target(kind, project.as_deref(), &settings).await?,
            TargetKind::Kubernetes => {
                let cluster = KubernetesTarget::connect(settings).await?;
                cluster.check(&id).await?;
                let registry = self.registry.as_ref().or(declared.registry.as_ref());
                // Checked above.
                let registry = registry.map_or("", String::as_str);
                Box::new(cluster.with_image(push_own_image(registry, output).await?))
            }
        };
        let store = CredentialStore::of_user()?;
        let created = {
            let _shown = output.activity("Creating", &id.to_string());
            target.create(&new).await?
        };
        let key = created.key.as_ref().map(|new| &new.key);
        // If the target has its own key, this user's calls use it.
        let own = target.caller_key();
        let kept = key.or(own.as_ref()).map_or(Ok(()), |key| store.set_key(&id, key));
        let declared = match &project {
            Some(directory) => {
                let own = Declaration {
                    target: kind,
                    listen: self.listen,
                    port: self.port,
                    kubernetes: self.cluster.given(),
                    registry: self.registry,
                };
                add_environment(directory, &name, &own)
            }
            None => Ok(()),
        };
        // The environment exists from here on: show the key even if a later step fails.
        show(&created, &store.header_file(&id), output);
        kept?;
        declared?;
        Ok(Code::Success)
    }
}

/// Prints the environment, its key if it has one of its own, and the next step.
fn show(created: &Created, header_file: &Path, output: &Output) {
    let Created { environment, key } = created;
    if output.is_json() {
        return output.object(&json!({
            "environment": environment,
            "key": key.as_ref().map(|new| new.key.expose()),
            "key_prefix": key.as_ref().map(|new| &new.entry.prefix),
            "header_file": header_file,
        }));
    }
    let Environment { id, target, url, .. } = environment;
    let url = url.as_deref().map_or(String::new(), |url| format!(" at {url}"));
    output.status("Created", &format!("{id} on target {target}{url}"));
    if let Some(new) = key {
        output.line(new.key.expose());
        // "The line above" is only true if both streams go to one terminal in order.
        output.flush();
        output.status("Key", "the line above; it is not shown again. Stored in your credential file");
    }
    output.status("Next", &format!("flash deploy send {}", id.name));
}

/// Flags must fit the target; checked before anything is made.
fn check(
    arguments: &NewArguments,
    name: &str,
    kind: TargetKind,
    declared: &EnvironmentSettings,
) -> Result<(), Failure> {
    if let Some(registry) = &arguments.registry {
        references(registry, "latest", &["worker".to_owned()])?;
    }
    let cluster = arguments.cluster.given();
    if let Some((flag, _)) = cluster.first().filter(|_| kind != TargetKind::Kubernetes) {
        let flag = flag.replace('_', "-");
        return Err(Failure::unusable(format!("--{flag} is for --target kubernetes")));
    }
    match kind {
        TargetKind::Local if arguments.registry.is_some() => Err(Failure::unusable(
            "--registry is for --target runpod and kubernetes: this machine runs binaries, not images",
        )),
        TargetKind::Local => Ok(()),
        TargetKind::Runpod | TargetKind::Kubernetes
            if arguments.listen.is_some() || arguments.port.is_some() =>
        {
            Err(Failure::unusable(
                "--listen and --port are for --target local: elsewhere, endpoints get their addresses",
            ))
        }
        TargetKind::Runpod | TargetKind::Kubernetes
            if arguments.registry.is_none() && declared.registry.is_none() =>
        {
            Err(Failure::unusable(format!(
                "an environment with target {kind} needs a registry for its images"
            ))
            .hint(format!("flash deploy new {name} --target {kind} --registry ghcr.io/YOU/APP")))
        }
        TargetKind::Runpod | TargetKind::Kubernetes => Ok(()),
    }
}

fn ask_name() -> Result<String, Failure> {
    if !is_terminal() {
        return Err(
            Failure::unusable("no name given for the environment").hint("flash deploy new production")
        );
    }
    let ask = || {
        Input::<String>::new()
            .with_prompt("Name of the environment")
            .default(USUAL_NAME.to_owned())
            .validate_with(|name: &String| EnvironmentId::new("", name).map(drop))
            .interact_text()
    };
    tokio::task::block_in_place(|| prompt(ask))
}

fn ask_target() -> Result<TargetKind, Failure> {
    let kinds = [TargetKind::Local, TargetKind::Runpod, TargetKind::Kubernetes];
    let texts = [
        "local: the background service on this machine",
        "runpod: Runpod's cloud",
        "kubernetes: a cluster of yours",
    ];
    let ask = || Select::new().with_prompt("Target").items(texts).default(0).interact();
    let chosen = tokio::task::block_in_place(|| prompt(ask))?;
    Ok(kinds.get(chosen).copied().unwrap_or(TargetKind::Local))
}
