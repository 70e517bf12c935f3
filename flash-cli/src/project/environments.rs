//! `[environments.NAME]` in `flash.toml`: where an app is deployed, and which settings differ there.
//!
//! Checks everything that can be checked without the app; [`EnvironmentSettings::apply`] does the rest once the app
//! has described itself. `crate::deploy` uses the result.
use std::{collections::BTreeMap, net::IpAddr, ops::Range};

use flash_protocol::{
    CommandWorker, DataCenter, GpuType,
    manifest::{EndpointKind, Manifest},
};
use flash_target::{CloudSettings, EnvironmentId, TargetKind};
use flash_target_kubernetes::ClusterSettings;
use flash_text::nearest;
use ipnet::IpNet;
use serde::Deserialize;
use toml::Spanned;

use super::{
    command_worker::{Mistake, mistake},
    overrides::{self, WorkerOverrides},
};

/// The table as written. Unknown keys are errors.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Written {
    target: Option<TargetKind>,
    listen: Option<Spanned<String>>,
    port: Option<Spanned<u16>>,
    registry: Option<Spanned<String>>,
    data_centers: Option<Spanned<Vec<Spanned<String>>>>,
    network_volumes: Option<Spanned<Vec<Spanned<String>>>>,
    registry_credential: Option<Spanned<String>>,
    webhook_networks: Vec<Spanned<String>>,
    kubernetes: Option<Spanned<ClusterSettings>>,
    variables: BTreeMap<Spanned<String>, Spanned<String>>,
    workers: BTreeMap<Spanned<String>, overrides::Written>,
}

/// A project's checked settings for an environment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EnvironmentSettings {
    pub name: String,
    pub target: TargetKind,
    /// The address to listen on; used when the environment is made.
    pub listen: Option<IpAddr>,
    /// Its port; used when the environment is made.
    pub port: Option<u16>,
    /// The registry that images are pushed to, for targets that pull them.
    pub registry: Option<String>,
    /// Where its workers run in a cloud.
    pub cloud: CloudSettings,
    /// How it uses its cluster.
    pub cluster: ClusterSettings,
    /// Networks that webhooks may reach in addition to public addresses.
    pub webhook_networks: Vec<IpNet>,
    /// Variables of its workers. No secrets: this file is usually committed.
    pub variables: BTreeMap<String, String>,
    workers: Vec<Declared>,
}

#[derive(Debug, Clone, PartialEq)]
struct Declared {
    name: String,
    line: usize,
    overrides: WorkerOverrides,
}

impl Written {
    /// Checks every setting. `line_of` returns the line of an offset in the text.
    ///
    /// # Errors
    /// The first invalid setting.
    pub(super) fn check(
        self,
        name: &Spanned<String>,
        line_of: impl Fn(usize) -> usize,
    ) -> Result<EnvironmentSettings, Mistake> {
        if let Err(error) = EnvironmentId::new("", name.get_ref()) {
            return mistake(name.span(), error.to_string());
        }
        let listen = match &self.listen {
            None => None,
            Some(said) => match said.get_ref().as_str() {
                "localhost" => Some(IpAddr::from([127, 0, 0, 1])),
                text => match text.parse() {
                    Ok(address) => Some(address),
                    Err(_) => {
                        let message = format!(
                            "`listen` is `{text}`; expected an IP address, such as \"127.0.0.1\" or \"0.0.0.0\""
                        );
                        return mistake(said.span(), message);
                    }
                },
            },
        };
        let port = match self.port {
            Some(said) if *said.get_ref() == 0 => {
                return mistake(
                    said.span(),
                    "`port` is 0; expected 1 to 65535, or leave it out for a free port",
                );
            }
            said => said.map(Spanned::into_inner),
        };
        if let Some(said) = self.registry.as_ref().filter(|said| said.get_ref().trim().is_empty()) {
            return mistake(said.span(), "`registry` is empty; expected a name such as \"ghcr.io/me\"");
        }
        let target = self.target.unwrap_or(TargetKind::Local);
        let cloud = cloud(target, self.data_centers, self.network_volumes, self.registry_credential)?;
        let webhook_networks = networks(target, self.webhook_networks)?;
        let cluster = cluster(target, self.kubernetes)?;
        let variables = self.variables.into_iter().map(variable).collect::<Result<_, _>>()?;
        let declared = |(name, written): (Spanned<String>, overrides::Written)| {
            let line = line_of(name.span().start);
            Ok(Declared { line, overrides: written.check(&line_of)?, name: name.into_inner() })
        };
        Ok(EnvironmentSettings {
            name: name.get_ref().clone(),
            target,
            listen,
            port,
            registry: self.registry.map(Spanned::into_inner),
            cloud,
            cluster,
            webhook_networks,
            variables,
            workers: self.workers.into_iter().map(declared).collect::<Result<_, Mistake>>()?,
        })
    }
}

/// Settings that only `target = "runpod"` uses.
fn cloud(
    target: TargetKind,
    data_centers: Option<Spanned<Vec<Spanned<String>>>>,
    network_volumes: Option<Spanned<Vec<Spanned<String>>>>,
    registry_credential: Option<Spanned<String>>,
) -> Result<CloudSettings, Mistake> {
    let said = [
        ("data_centers", data_centers.as_ref().map(Spanned::span)),
        ("network_volumes", network_volumes.as_ref().map(Spanned::span)),
        ("registry_credential", registry_credential.as_ref().map(Spanned::span)),
    ];
    if target != TargetKind::Runpod
        && let Some((key, Some(at))) = said.into_iter().find(|(_, at)| at.is_some())
    {
        return mistake(at, format!("`{key}` requires target = \"runpod\""));
    }
    let named_once = |said: Option<Spanned<Vec<Spanned<String>>>>| {
        let mut once: Vec<String> = Vec::new();
        for name in said.map(Spanned::into_inner).unwrap_or_default() {
            if once.contains(name.get_ref()) {
                return mistake(name.span(), format!("`{}` is listed twice", name.get_ref()));
            }
            once.push(name.into_inner());
        }
        Ok(once)
    };
    for name in data_centers.iter().flat_map(|said| said.get_ref()) {
        let id = name.get_ref();
        if DataCenter::from_id(id).is_none() {
            let near = nearest(id, DataCenter::ALL.iter().map(|center| center.id()));
            return mistake(name.span(), format!("`{id}` is not a data center{near}"));
        }
    }
    for name in network_volumes.iter().flat_map(|said| said.get_ref()).chain(&registry_credential) {
        if !is_id(name.get_ref()) {
            let message = format!(
                "`{}` is not a valid ID; expected letters and digits, as shown in the console",
                name.get_ref()
            );
            return mistake(name.span(), message);
        }
    }
    Ok(CloudSettings {
        data_centers: named_once(data_centers)?,
        network_volumes: named_once(network_volumes)?,
        registry_credential: registry_credential.map(Spanned::into_inner),
    })
}

/// `[environments.NAME.kubernetes]`.
fn cluster(target: TargetKind, said: Option<Spanned<ClusterSettings>>) -> Result<ClusterSettings, Mistake> {
    let Some(said) = said else { return Ok(ClusterSettings::default()) };
    let at = said.span();
    if target != TargetKind::Kubernetes {
        return mistake(at, "`kubernetes` requires target = \"kubernetes\"");
    }
    let cluster = said.into_inner();
    if cluster.cpu_request_percent.is_some_and(|percent| !(1..=100).contains(&percent)) {
        return mistake(at, "`cpu_request_percent` is out of range; expected 1 to 100");
    }
    for id in cluster.gpu_products.keys() {
        if GpuType::from_id(id).is_none() {
            let near = nearest(id, GpuType::ALL.iter().map(|gpu| gpu.id()));
            return mistake(at, format!("`gpu_products`: `{id}` is not a GPU type{near}"));
        }
    }
    Ok(cluster)
}

/// Networks in CIDR notation, or single addresses.
fn networks(target: TargetKind, said: Vec<Spanned<String>>) -> Result<Vec<IpNet>, Mistake> {
    said.into_iter()
        .map(|said| {
            let text = said.get_ref().trim();
            if target == TargetKind::Runpod {
                return mistake(
                    said.span(),
                    "`webhook_networks` requires target = \"local\" or \"kubernetes\"",
                );
            }
            let network = text.parse().or_else(|_| text.parse().map(|address: IpAddr| address.into()));
            match network {
                Ok(network) => Ok(network),
                Err(_) => {
                    let message = format!(
                        "`{text}` is not a network; expected an address or CIDR notation, such as \"10.0.0.0/8\""
                    );
                    mistake(said.span(), message)
                }
            }
        })
        .collect()
}

/// Whether this could be an ID of the cloud.
fn is_id(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=128).contains(&text.len()) && text.bytes().all(is_part)
}

/// A variable of workers. Messages never repeat a value: it may be a misplaced secret.
fn variable((name, value): (Spanned<String>, Spanned<String>)) -> Result<(String, String), Mistake> {
    let at: Range<usize> = name.span();
    let name = name.into_inner();
    match check_variable_name(&name) {
        Err(message) => mistake(at, message),
        Ok(()) if value.get_ref().contains('\0') => {
            mistake(value.span(), format!("the value of `{name}` contains a NUL character"))
        }
        Ok(()) => Ok((name, value.into_inner())),
    }
}

/// Whether workers may get a variable or secret of this name.
///
/// # Errors
/// What is wrong with the name.
pub(crate) fn check_variable_name(name: &str) -> Result<(), String> {
    let is_name = (1..=128).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !name.starts_with(|first: char| first.is_ascii_digit());
    if !is_name {
        return Err(format!(
            "`{name}` is not a valid variable name; expected letters, digits and `_`, no digit first, at most \
             128 in all"
        ));
    }
    let upper = name.to_ascii_uppercase();
    let is_reserved = upper.starts_with("FLASH_") || upper.starts_with("RUNPOD_");
    // Workers may set their own log level.
    if (is_reserved && name != "RUNPOD_LOG_LEVEL") || CommandWorker::RESERVED.contains(&name) {
        return Err(format!("`{name}` is set by the platform; choose another name"));
    }
    Ok(())
}

impl EnvironmentSettings {
    /// An environment without settings.
    pub(crate) fn of(name: &str, target: TargetKind) -> Self {
        Self {
            name: name.to_owned(),
            target,
            listen: None,
            port: None,
            registry: None,
            cloud: CloudSettings::default(),
            cluster: ClusterSettings::default(),
            webhook_networks: Vec::new(),
            variables: BTreeMap::new(),
            workers: Vec::new(),
        }
    }

    /// The manifest with this environment's settings for worker types, including those of commands. `app` is the
    /// app's own manifest.
    ///
    /// # Errors
    /// Line and message, for a worker type that does not exist, and for a setting that does not fit the app's.
    pub(crate) fn apply(
        &self,
        app: &Manifest,
        commands: &[CommandWorker],
    ) -> Result<Manifest, (usize, String)> {
        let mut manifest = app.clone();
        manifest.workers.extend(commands.iter().map(|command| command.worker_type.clone()));
        for Declared { name, line, overrides } in &self.workers {
            let names: Vec<String> = manifest.workers.iter().map(|worker| worker.name.clone()).collect();
            let Some(worker) = manifest.workers.iter_mut().find(|worker| worker.name == *name) else {
                let near = nearest(name, names.iter().map(String::as_str));
                return Err((*line, format!("no worker type named `{name}`{near}")));
            };
            let is_command = commands.iter().any(|command| command.worker_type.name == *name);
            if is_command && worker.kind == EndpointKind::Queue && overrides.max_concurrency.is_some() {
                let message = "`max_concurrency` requires kind = \"load_balanced\": a queue worker takes as many \
                               jobs as it asks for";
                return Err((*line, message.to_owned()));
            }
            overrides.apply(worker)?;
        }
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests;
