//! Environments on a cluster, as commands see them: their objects are applied here, and what happens inside is asked of the
//! service in the platform's pod.
use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use flash_target::{
    CostQuery, Costs, Created, DeployedEndpoint, Environment, EnvironmentId, Finding, KeyEntry, LogQuery,
    LogRecord, ManualScale, NewEnvironment, NewKey, OnStep, Preflight, Problem, ReleaseRecord, ReleaseSpec,
    ScaleChange, ScheduledFunction, SecretEntry, SecretValue, Shipment, Status, Target, TargetError,
    TargetKind,
};
use flash_target_local::LocalTarget;
use futures_util::stream::BoxStream;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, ListParams},
    config::KubeConfigOptions,
};
use tokio::{sync::Mutex, time::Instant};

use super::{
    error::failed,
    forward::{ForwardedPort, ForwardedSocket, PodAddress},
    names::name_of,
    objects::{CONTROL_PORT, PORT},
    preflight::Checked,
    settings::{ClusterSettings, LONGEST_DRAIN_SECONDS},
};

/// The objects of all environments.
const OURS: &str = "app.kubernetes.io/managed-by=flash";
/// How long a connection to the API server may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the objects of an environment may take to be gone.
const GONE: Duration = Duration::from_secs(LONGEST_DRAIN_SECONDS + 120);
/// How often the cluster is asked while something is waited for.
pub(super) const LOOK: Duration = Duration::from_millis(300);

/// Environments of one namespace of a cluster.
pub struct KubernetesTarget {
    pub(super) client: Client,
    pub(super) namespace: String,
    pub(super) settings: ClusterSettings,
    /// `flash` itself as an image, by its digest, for environments that are made.
    image: Option<String>,
    services: Mutex<HashMap<EnvironmentId, Arc<Connected>>>,
}

/// The service of an environment, and the way to it.
pub(super) struct Connected {
    pub(super) service: LocalTarget,
    _socket: ForwardedSocket,
    /// The way to the environment's routes, once it was needed.
    port: Mutex<Option<ForwardedPort>>,
    address: PodAddress,
}

impl KubernetesTarget {
    /// The cluster of the kubeconfig's context that the settings name, or of the current one.
    ///
    /// # Errors
    /// Without a kubeconfig, and for a context that it does not have.
    pub async fn connect(settings: ClusterSettings) -> Result<Self, TargetError> {
        let options = KubeConfigOptions { context: settings.context.clone(), ..KubeConfigOptions::default() };
        let mut config = Config::from_kubeconfig(&options).await.map_err(|error| {
            let of = settings
                .context
                .as_ref()
                .map_or(String::new(), |context| format!(" with context `{context}`"));
            TargetError::new(Problem::Refused, format!("cannot use the kubeconfig{of}"))
                .because(error)
                .hint("set KUBECONFIG, and see which contexts it has: kubectl config get-contexts")
        })?;
        config.connect_timeout = Some(CONNECT);
        let namespace = settings.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| failed("cannot use the cluster", &error))?;
        Ok(Self { client, namespace, settings, image: None, services: Mutex::default() })
    }

    /// The same, able to make environments: their platform runs this image of `flash`, named by its digest.
    #[must_use]
    pub fn with_image(self, image: String) -> Self {
        Self { image: Some(image), ..self }
    }

    /// The objects that own all others of an environment each.
    pub(super) fn roots(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(super) async fn root(&self, name: &str) -> Result<Option<ConfigMap>, TargetError> {
        self.roots().get_opt(name).await.map_err(|error| failed("cannot ask the cluster", &error))
    }

    pub(super) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The URL of an environment's routes within the cluster.
    fn url(&self, id: &EnvironmentId) -> String {
        self.url_with(id, self.settings.host.as_deref())
    }

    fn url_with(&self, id: &EnvironmentId, host: Option<&str>) -> String {
        match host {
            Some(host) => format!("http://{host}"),
            None => format!("http://{}.{}.svc:{PORT}", name_of(id), self.namespace),
        }
    }

    /// The service of an environment.
    pub(super) async fn connected(&self, id: &EnvironmentId) -> Result<Arc<Connected>, TargetError> {
        let mut services = self.services.lock().await;
        if let Some(connected) = services.get(id) {
            return Ok(connected.clone());
        }
        let name = name_of(id);
        if self.root(&name).await?.is_none() {
            return Err(self.missing(id));
        }
        let address = PodAddress { api: self.pods(), name: format!("{name}-0") };
        let connected = Arc::new(connect(address)?);
        services.insert(id.clone(), connected.clone());
        Ok(connected)
    }

    pub(super) fn missing(&self, id: &EnvironmentId) -> TargetError {
        let message =
            format!("`{}` has no environment `{}` in namespace `{}`", id.app, id.name, self.namespace);
        TargetError::new(Problem::NoEnvironment, message)
            .hint(format!("make it: flash deploy new {} --target kubernetes", id.name))
    }

    /// Whether an environment whose objects are there has still to be made: its first attempt was interrupted.
    async fn is_new(&self, id: &EnvironmentId) -> Result<(), TargetError> {
        match self.connected(id).await?.service.environment(id).await {
            Ok(_) => {
                let message = format!("`{}` already has an environment `{}`", id.app, id.name);
                Err(TargetError::new(Problem::Exists, message).hint(format!(
                    "deploy to it: flash deploy send {0}, or upgrade it: flash deploy upgrade {0}",
                    id.name
                )))
            }
            Err(error) if matches!(error.problem, Problem::NoEnvironment | Problem::Unreachable) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Checks what would prevent an environment from being made or upgraded, before anything is changed.
    ///
    /// # Errors
    /// All that was found, each with its fix.
    pub async fn check(&self, id: &EnvironmentId) -> Result<(), TargetError> {
        let found = self.checked().of_environment(&name_of(id)).await;
        let message = format!("namespace `{}` cannot take the environment", self.namespace);
        match found.as_slice() {
            [] => Ok(()),
            [Finding { message: why, fix }] => {
                Err(TargetError::new(Problem::Refused, message).because(why.clone()).hint(fix.clone()))
            }
            several => {
                let lines: Vec<String> = several
                    .iter()
                    .map(|Finding { message, fix }| format!("\n  {message}\n    {fix}"))
                    .collect();
                Err(TargetError::new(Problem::Refused, format!("{message}:{}", lines.concat())))
            }
        }
    }

    /// Brings an environment to the version of this program, and to these settings.
    ///
    /// # Errors
    /// When there is no such environment, the cluster refuses, or the new platform does not run.
    pub async fn upgrade(&self, id: &EnvironmentId) -> Result<(), TargetError> {
        let image = self.image()?;
        let name = name_of(id);
        if self.root(&name).await?.is_none() {
            return Err(self.missing(id));
        }
        self.apply_all(id, image).await?;
        self.until_updated(id).await?;
        self.services.lock().await.remove(id);
        self.until_it_answers(id).await
    }

    fn image(&self) -> Result<&str, TargetError> {
        let lacking = || TargetError::new(Problem::Refused, "no image of flash was built for the platform");
        self.image.as_deref().ok_or_else(lacking)
    }

    fn checked(&self) -> Checked<'_> {
        Checked { client: &self.client, namespace: &self.namespace, settings: &self.settings }
    }
}

/// With this URL, instead of that which its own service sees.
fn placed(environment: Environment, url: &str) -> Environment {
    let old = environment.url.clone().unwrap_or_default();
    let endpoints = environment
        .endpoints
        .into_iter()
        .map(|endpoint| DeployedEndpoint { url: endpoint.url.replacen(&old, url, 1), ..endpoint });
    Environment {
        endpoints: endpoints.collect(),
        target: TargetKind::Kubernetes,
        url: Some(url.to_owned()),
        ..environment
    }
}

fn connect(address: PodAddress) -> Result<Connected, TargetError> {
    let socket = ForwardedSocket::open(address.clone(), CONTROL_PORT).map_err(|error| {
        TargetError::new(Problem::Failed, "cannot make a socket in the temporary directory").because(error)
    })?;
    let service = LocalTarget::forwarded(&socket.path())?;
    Ok(Connected { service, _socket: socket, port: Mutex::default(), address })
}

#[async_trait]
impl Target for KubernetesTarget {
    fn kind(&self) -> TargetKind {
        TargetKind::Kubernetes
    }

    async fn create(&self, new: &NewEnvironment) -> Result<Created, TargetError> {
        let image = self.image()?;
        let name = name_of(&new.id);
        let was_there = self.root(&name).await?.is_some();
        if was_there {
            self.is_new(&new.id).await?;
        }
        self.ensure_namespace().await?;
        let made = async {
            self.apply_all(&new.id, image).await?;
            self.until_it_answers(&new.id).await
        };
        if let Err(error) = made.await {
            // Undone, so that the next attempt begins anew; one of them may be what is wrong.
            if !was_there && self.roots().delete(&name, &DeleteParams::background()).await.is_ok() {
                return Err(error.leaving("what was made is being removed"));
            }
            return Err(error);
        }
        let services: Api<Service> = Api::namespaced(self.client.clone(), &self.namespace);
        let service = services.get(&name).await.map_err(|error| failed("cannot ask the cluster", &error))?;
        let address = service.spec.and_then(|spec| spec.cluster_ip).unwrap_or_default();
        let any: IpAddr = match address.contains(':') {
            true => Ipv6Addr::UNSPECIFIED.into(),
            false => Ipv4Addr::UNSPECIFIED.into(),
        };
        let listening = NewEnvironment { listen: Some(any), port: Some(PORT), ..new.clone() };
        let created = self.connected(&new.id).await?.service.create(&listening).await?;
        Ok(Created { environment: placed(created.environment, &self.url(&new.id)), ..created })
    }

    async fn environments(&self) -> Result<Vec<Environment>, TargetError> {
        let ours = ListParams::default().labels(OURS);
        let roots =
            self.roots().list(&ours).await.map_err(|error| failed("cannot list environments", &error))?;
        let mut environments = Vec::new();
        for data in roots.into_iter().filter_map(|root| root.data) {
            let (Some(app), Some(name)) = (data.get("app"), data.get("environment")) else { continue };
            let Ok(id) = EnvironmentId::new(app, name) else { continue };
            let host = data.get("host").filter(|host| !host.is_empty());
            let found = match self.connected(&id).await {
                Ok(connected) => connected.service.environment(&id).await,
                Err(error) => Err(error),
            };
            // One that does not answer hides no other.
            let environment = found.unwrap_or_else(|_| Environment {
                id: id.clone(),
                target: TargetKind::Kubernetes,
                created_ms: 0,
                url: None,
                live: None,
                endpoints: Vec::new(),
                secrets: BTreeMap::new(),
            });
            environments.push(placed(environment, &self.url_with(&id, host.map(String::as_str))));
        }
        environments.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(environments)
    }

    async fn environment(&self, id: &EnvironmentId) -> Result<Environment, TargetError> {
        Ok(placed(self.connected(id).await?.service.environment(id).await?, &self.url(id)))
    }

    async fn spec(&self, id: &EnvironmentId, release: Option<u64>) -> Result<ReleaseSpec, TargetError> {
        self.connected(id).await?.service.spec(id, release).await
    }

    async fn history(&self, id: &EnvironmentId) -> Result<Vec<ReleaseRecord>, TargetError> {
        self.connected(id).await?.service.history(id).await
    }

    async fn reach(&self, id: &EnvironmentId) -> Result<Option<String>, TargetError> {
        let connected = self.connected(id).await?;
        let mut port = connected.port.lock().await;
        if port.is_none() {
            let opened = ForwardedPort::open(connected.address.clone(), PORT).await;
            *port = Some(opened.map_err(|error| {
                TargetError::new(Problem::Failed, "cannot listen on the loopback address").because(error)
            })?);
        }
        Ok(port.as_ref().map(ForwardedPort::url))
    }

    async fn preflight(&self, id: &EnvironmentId, spec: &ReleaseSpec) -> Result<Preflight, TargetError> {
        let mut found = self.connected(id).await?.service.preflight(id, spec).await?;
        let Preflight { problems, warnings, .. } = self.checked().of_release(spec).await;
        found.problems.extend(problems);
        found.warnings.extend(warnings);
        Ok(found)
    }

    async fn send(
        &self,
        id: &EnvironmentId,
        base: Option<u64>,
        shipment: Shipment,
        on_step: OnStep<'_>,
    ) -> Result<ReleaseRecord, TargetError> {
        self.connected(id).await?.service.send(id, base, shipment, on_step).await
    }

    async fn rollback(
        &self,
        id: &EnvironmentId,
        base: Option<u64>,
        to: Option<u64>,
        on_step: OnStep<'_>,
    ) -> Result<ReleaseRecord, TargetError> {
        self.connected(id).await?.service.rollback(id, base, to, on_step).await
    }

    async fn undeploy(
        &self,
        id: &EnvironmentId,
        worker: Option<&str>,
        on_step: OnStep<'_>,
    ) -> Result<Option<ReleaseRecord>, TargetError> {
        self.connected(id).await?.service.undeploy(id, worker, on_step).await
    }

    async fn remove(&self, id: &EnvironmentId) -> Result<(), TargetError> {
        let name = name_of(id);
        match self.roots().delete(&name, &DeleteParams::background()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => return Err(self.missing(id)),
            Err(error) => return Err(failed(&format!("cannot delete config map `{name}`"), &error)),
        }
        self.services.lock().await.remove(id);
        let until = Instant::now() + GONE;
        while self.pods_left(&name).await? > 0 {
            if Instant::now() >= until {
                let message = format!(
                    "objects of {id} are still there {} s after their owner was deleted",
                    GONE.as_secs()
                );
                return Err(TargetError::new(Problem::Failed, message).hint(format!(
                    "see what holds them: kubectl -n {} get all -l app.kubernetes.io/instance={name}",
                    self.namespace
                )));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    async fn status(&self, id: &EnvironmentId) -> Result<Status, TargetError> {
        let status = self.connected(id).await?.service.status(id).await?;
        Ok(Status { url: Some(self.url(id)), ..status })
    }

    async fn scale(
        &self,
        id: &EnvironmentId,
        worker: &str,
        change: ScaleChange,
    ) -> Result<ManualScale, TargetError> {
        self.connected(id).await?.service.scale(id, worker, change).await
    }

    async fn scales(&self, id: &EnvironmentId) -> Result<Vec<ManualScale>, TargetError> {
        self.connected(id).await?.service.scales(id).await
    }

    async fn schedules(&self, id: &EnvironmentId) -> Result<Vec<ScheduledFunction>, TargetError> {
        self.connected(id).await?.service.schedules(id).await
    }

    async fn run_schedule(&self, id: &EnvironmentId, function: &str) -> Result<String, TargetError> {
        self.connected(id).await?.service.run_schedule(id, function).await
    }

    async fn pause_schedule(
        &self,
        id: &EnvironmentId,
        function: &str,
        paused: bool,
    ) -> Result<(), TargetError> {
        self.connected(id).await?.service.pause_schedule(id, function, paused).await
    }

    async fn logs(
        &self,
        id: &EnvironmentId,
        query: &LogQuery,
    ) -> Result<BoxStream<'static, Result<LogRecord, TargetError>>, TargetError> {
        self.connected(id).await?.service.logs(id, query).await
    }

    async fn costs(&self, id: &EnvironmentId, query: &CostQuery) -> Result<Costs, TargetError> {
        self.connected(id).await?.service.costs(id, query).await
    }

    async fn keys(&self, id: &EnvironmentId) -> Result<Vec<KeyEntry>, TargetError> {
        self.connected(id).await?.service.keys(id).await
    }

    async fn new_key(&self, id: &EnvironmentId, label: &str) -> Result<NewKey, TargetError> {
        self.connected(id).await?.service.new_key(id, label).await
    }

    async fn revoke_key(&self, id: &EnvironmentId, prefix: &str) -> Result<KeyEntry, TargetError> {
        self.connected(id).await?.service.revoke_key(id, prefix).await
    }

    async fn secrets(&self, id: &EnvironmentId) -> Result<Vec<SecretEntry>, TargetError> {
        self.connected(id).await?.service.secrets(id).await
    }

    async fn set_secret(
        &self,
        id: &EnvironmentId,
        name: &str,
        value: &SecretValue,
    ) -> Result<SecretEntry, TargetError> {
        self.connected(id).await?.service.set_secret(id, name, value).await
    }

    async fn remove_secret(&self, id: &EnvironmentId, name: &str) -> Result<(), TargetError> {
        self.connected(id).await?.service.remove_secret(id, name).await
    }
}
