//! Reports what exists: environments, releases, status, and the findings of a check before a send.
use std::{collections::BTreeMap, time::Duration};

use flash_protocol::{
    catalogue::NanoDollars,
    manifest::{EndpointKind, Manifest},
};
use flash_target::{
    Created, DeployedEndpoint, Environment, EnvironmentId, LastError, NewEnvironment, Preflight, Problem,
    ReleaseSpec, Serving, Status, TargetError, TargetKind, WorkerCounts, WorkerStatus,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    RunpodTarget,
    checks::{self, Account, CpuOffer, GpuOffer},
    desired,
    ledger::{self, StoredEntry},
    names::{environments_in, of_environment},
    now_ms, reconcile,
    rest::{Endpoint, EndpointType, RestError, Stock, StockOf, Template, WorkerState},
};

/// The number of endpoints queried at the same time.
const AT_ONCE: usize = 8;
/// How far back to query endpoints whose cost is not known yet.
pub(super) const WHOLE_BILL: Duration = Duration::from_secs(30 * 24 * 3600);

impl RunpodTarget {
    pub(super) async fn make(&self, new: &NewEnvironment) -> Result<Created, TargetError> {
        let environment = self.one_environment(&new.id).await?;
        if environment.live.is_some() || !environment.endpoints.is_empty() {
            return Err(TargetError::new(Problem::Exists, format!("{} already exists", new.id))
                .hint(format!("send a release to it: flash deploy send {}", new.id.name)));
        }
        Ok(Created { environment: Environment { created_ms: now_ms(), ..environment }, key: None })
    }

    pub(super) async fn all_environments(&self) -> Result<Vec<Environment>, TargetError> {
        let (endpoints, templates) = tokio::try_join!(self.rest.endpoints(), self.rest.templates())?;
        let ids = environments_in(&endpoints, &templates);
        Ok(ids.iter().map(|id| self.environment_of(id, &endpoints, &templates)).collect())
    }

    pub(super) async fn one_environment(&self, id: &EnvironmentId) -> Result<Environment, TargetError> {
        let (endpoints, templates) = tokio::try_join!(self.rest.endpoints(), self.rest.templates())?;
        Ok(self.environment_of(id, &endpoints, &templates))
    }

    fn environment_of(
        &self,
        id: &EnvironmentId,
        endpoints: &[Endpoint],
        templates: &[Template],
    ) -> Environment {
        let ours = of_environment(id, endpoints);
        // A damaged record is reported where it matters; the others are listed anyway.
        let entries = ledger::entries(id, templates).unwrap_or_default();
        let live = ledger::live(&entries);
        let endpoint = |(worker, endpoint): (String, Endpoint)| DeployedEndpoint {
            kind: kind(&endpoint),
            url: self.base_url(&endpoint),
            health: Some(self.health_url(&endpoint)),
            id: endpoint.id,
            worker,
        };
        Environment {
            id: id.clone(),
            target: TargetKind::Runpod,
            created_ms: entries.last().map_or(0, |first| first.entry.created_ms),
            url: None,
            live: live.map(|kept| kept.entry.record(now_ms())),
            endpoints: ours.by_worker.into_iter().map(endpoint).collect(),
            secrets: BTreeMap::new(),
        }
    }

    /// The base address of an endpoint.
    pub(super) fn base_url(&self, endpoint: &Endpoint) -> String {
        reconcile::base_url(endpoint, &self.rest.addresses().queue)
    }

    /// The address of its health.
    pub(super) fn health_url(&self, endpoint: &Endpoint) -> String {
        reconcile::health_url(endpoint, &self.rest.addresses().queue)
    }

    /// The recorded releases, newest first.
    pub(super) async fn entries(&self, id: &EnvironmentId) -> Result<Vec<StoredEntry>, TargetError> {
        Ok(ledger::entries(id, &self.rest.templates().await?)?)
    }

    pub(super) async fn spec_of(
        &self,
        id: &EnvironmentId,
        release: Option<u64>,
    ) -> Result<ReleaseSpec, TargetError> {
        let entries = self.entries(id).await?;
        let found = match release {
            Some(number) => entries.iter().find(|kept| kept.entry.number == number),
            None => ledger::live(&entries),
        };
        let missing = || match release {
            Some(number) => TargetError::new(Problem::NotFound, format!("{id} has no release {number}"))
                .hint(format!("to list them: flash deploy history {}", id.name)),
            None => TargetError::new(Problem::NotFound, format!("nothing is live in {id}"))
                .hint(format!("send a release: flash deploy send {}", id.name)),
        };
        found.map(|kept| kept.entry.spec.clone()).ok_or_else(missing)
    }

    pub(super) async fn check(
        &self,
        id: &EnvironmentId,
        spec: &ReleaseSpec,
    ) -> Result<Preflight, TargetError> {
        let (endpoints, gpus, cpus, centers) = tokio::try_join!(
            self.rest.endpoints(),
            self.rest.gpu_types(),
            self.rest.cpu_types(),
            self.rest.data_centers()
        )?;
        let ours = of_environment(id, &endpoints);
        // The number makes no difference here.
        let wanted = desired::desired(id, spec, 0).unwrap_or_default();
        let urls = self.urls(&ours.by_worker);
        let is_complete = wanted.keys().all(|worker| urls.contains_key(worker));
        let wanted = match is_complete {
            true => wanted
                .into_iter()
                .map(|(worker, one)| (worker, desired::with_siblings(&one, &urls)))
                .collect(),
            false => wanted,
        };
        let in_stock = |stock: Vec<StockOf>| {
            stock.into_iter().map(|one| (one.id, one.availability > Stock::None)).collect()
        };
        let gpu = |gpu: super::rest::CatalogGpu| GpuOffer {
            id: gpu.id,
            pool: gpu.pool,
            in_stock: in_stock(gpu.data_centers),
        };
        let cpu = |cpu: super::rest::CatalogCpu| CpuOffer {
            id: cpu.id,
            vcpus_min: cpu.vcpu.min,
            vcpus_max: cpu.vcpu.max,
            in_stock: in_stock(cpu.data_centers),
        };
        let account = Account {
            endpoints,
            gpus: gpus.into_iter().map(gpu).collect(),
            cpus: cpus.into_iter().map(cpu).collect(),
            data_centers: centers.into_iter().map(|center| center.id).collect(),
            // The API does not report it.
            quota: None,
        };
        let mut preflight = checks::findings(spec, &wanted, &account);
        preflight.warnings.extend(checks::duplicates(&ours));
        preflight.changes = reconcile::changes(&ours, &wanted);
        Ok(preflight)
    }

    /// The addresses of the worker types, by name.
    pub(super) fn urls(&self, endpoints: &BTreeMap<String, Endpoint>) -> BTreeMap<String, String> {
        endpoints.iter().map(|(worker, endpoint)| (worker.clone(), self.base_url(endpoint))).collect()
    }

    pub(super) async fn status_of(&self, id: &EnvironmentId) -> Result<Status, TargetError> {
        let (endpoints, templates) = tokio::try_join!(self.rest.endpoints(), self.rest.templates())?;
        let ours = of_environment(id, &endpoints);
        let entries = ledger::entries(id, &templates)?;
        let live = ledger::live(&entries).map(|kept| &kept.entry);
        let spec = live.map(|entry| &entry.spec);
        // A key may be allowed to read endpoints but not bills.
        let costs = self.totals(&ours.by_worker).await.ok();
        let mut asked = Vec::new();
        for (worker, endpoint) in &ours.by_worker {
            let manifest = spec.map(|spec| &spec.manifest);
            let cost = costs.as_ref().map(|costs| costs.get(worker).copied().unwrap_or_default());
            asked.push(self.worker_status(worker, endpoint, manifest, cost));
        }
        let workers: Vec<WorkerStatus> = stream::iter(asked).buffered(AT_ONCE).try_collect().await?;
        let missing = spec.iter().flat_map(|spec| &spec.manifest.workers);
        let missing: Vec<&str> = missing
            .map(|worker| worker.name.as_str())
            .filter(|name| !ours.by_worker.contains_key(*name))
            .collect();
        let serving = match live.map(|entry| entry.number) {
            None => Serving::Empty,
            Some(release) if missing.is_empty() => Serving::Live { release },
            Some(release) => {
                let reason = format!("the endpoints of {} no longer exist", missing.join(", "));
                Serving::Down { release, reason }
            }
        };
        let cost = costs.map(|costs| NanoDollars(costs.values().map(|cost| cost.0).sum()));
        Ok(Status {
            id: id.clone(),
            url: None,
            serving,
            workers,
            draining: Vec::new(),
            damaged: Vec::new(),
            cost,
            job_memory: None,
        })
    }

    async fn worker_status(
        &self,
        worker: &str,
        endpoint: &Endpoint,
        manifest: Option<&Manifest>,
        cost: Option<NanoDollars>,
    ) -> Result<WorkerStatus, RestError> {
        let url = self.health_url(endpoint);
        let (there, health) = tokio::try_join!(self.rest.workers(&endpoint.id), self.rest.health(&url))?;
        let mut counts = WorkerCounts::default();
        let mut last_errors = Vec::new();
        for one in &there.workers {
            match one.status {
                // A worker about to be replaced ends with its work.
                WorkerState::Running | WorkerState::Idle if one.is_stale => counts.stopping += 1,
                WorkerState::Running => counts.busy += 1,
                WorkerState::Idle => counts.idle += 1,
                WorkerState::Initializing => counts.starting += 1,
                WorkerState::Throttled => counts.throttled += 1,
                WorkerState::Unhealthy => {
                    counts.unhealthy += 1;
                    last_errors.push(LastError {
                        time_ms: now_ms(),
                        message: "it is unhealthy: it crashed, or its image cannot be started".to_owned(),
                        request_id: None,
                        worker: Some(one.id.clone()),
                    });
                }
                WorkerState::Unknown => {}
            }
        }
        last_errors.truncate(5);
        let entry = manifest.and_then(|manifest| manifest.worker(worker));
        Ok(WorkerStatus {
            name: worker.to_owned(),
            kind: kind(endpoint),
            compute: entry.map_or_else(|| hardware(endpoint), |entry| entry.compute.label()),
            workers_min: endpoint.workers.min.unwrap_or(0),
            workers_max: endpoint.workers.max.unwrap_or(0),
            workers: counts,
            waiting: health.jobs.in_queue,
            running: health.jobs.in_progress,
            completed: health.jobs.completed,
            failed: health.jobs.failed,
            last_errors,
            cost,
        })
    }
}

fn kind(endpoint: &Endpoint) -> EndpointKind {
    match endpoint.kind {
        Some(EndpointType::LoadBalancer) => EndpointKind::LoadBalanced,
        Some(EndpointType::Queue) | None => EndpointKind::Queue,
    }
}

/// From the endpoint, if no release tells.
fn hardware(endpoint: &Endpoint) -> String {
    match (&endpoint.gpu, &endpoint.cpu) {
        (Some(gpu), _) => format!("GPU {}", gpu.pools.join("|")),
        (None, Some(cpu)) => {
            let names = cpu.iter().map(|cpu| format!("{}-{}", cpu.id, cpu.vcpu_count));
            format!("CPU {}", names.collect::<Vec<_>>().join("|"))
        }
        (None, None) => "unknown".to_owned(),
    }
}
