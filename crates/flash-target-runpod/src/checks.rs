//! What prevents a release from going live at the provider, found before anything is changed.
use std::collections::{BTreeMap, BTreeSet};

use flash_protocol::{
    GpuPool, Lifetime,
    manifest::{ComputeEntry, EndpointKind, FunctionEntry, WorkerType},
};
use flash_target::{Finding, Preflight, ReleaseSpec};

use super::{
    desired::{Desired, data_centers, refusals, worker_types},
    names::{ENVIRONMENT, OwnEndpoints, owner, plain_name},
    pools,
    reconcile::replacement,
    rest::{Endpoint, GpuChoice},
};

/// How long a job exists on Runpod, unless its policy says otherwise.
const JOB_TTL_SECONDS: u32 = 24 * 3600;
/// Seconds that the provider's load balancer waits for an answer.
const LOAD_BALANCER_LIMIT_SECONDS: u32 = 330;

/// What is known of the account and the provider's offers. Empty lists: not queried.
#[derive(Debug, Clone, Default)]
pub(crate) struct Account {
    /// All endpoints of the account, including foreign ones.
    pub endpoints: Vec<Endpoint>,
    pub gpus: Vec<GpuOffer>,
    pub cpus: Vec<CpuOffer>,
    /// Ids.
    pub data_centers: Vec<String>,
    /// The largest number of workers the account may have; `None`: unknown.
    pub quota: Option<u32>,
}

/// A GPU type for serverless workers.
#[derive(Debug, Clone)]
pub(crate) struct GpuOffer {
    pub id: String,
    pub pool: Option<String>,
    /// By data center, whether it is in stock.
    pub in_stock: BTreeMap<String, bool>,
}

/// A CPU flavor for serverless workers.
#[derive(Debug, Clone)]
pub(crate) struct CpuOffer {
    pub id: String,
    pub vcpus_min: u32,
    pub vcpus_max: u32,
    /// By data center, whether it is in stock.
    pub in_stock: BTreeMap<String, bool>,
}

/// All findings at once. `wanted` is empty if the release cannot be provided at all. Changes are left to
/// [`super::reconcile::changes`].
pub(crate) fn findings(
    spec: &ReleaseSpec,
    wanted: &BTreeMap<String, Desired>,
    account: &Account,
) -> Preflight {
    let mut found = Found::default();
    found.0.problems = refusals(spec);
    for (worker, _) in worker_types(spec) {
        found.size(worker);
        found.memory(worker);
        found.limits(worker);
        found.disk(worker);
        found.shared_memory(worker);
        found.gpu_memory(worker);
        found.scaling(worker);
        found.places(spec, worker, account);
    }
    for desired in wanted.values() {
        found.hardware(desired, account);
        found.kept_type(desired, account);
    }
    found.quota(wanted, account);
    found.schedules(spec);
    found.replays(spec);
    found.0
}

/// Later endpoints of worker types that already have one.
pub(crate) fn duplicates(ours: &OwnEndpoints) -> Vec<Finding> {
    let warning = |endpoint: &Endpoint| Finding {
        message: format!(
            "endpoint {} is a second `{}` and is not used",
            endpoint.id,
            plain_name(&endpoint.name)
        ),
        fix: "delete it in Runpod's console if nobody calls it".to_owned(),
    };
    ours.duplicates.iter().map(warning).collect()
}

#[derive(Default)]
struct Found(Preflight);

impl Found {
    fn problem(&mut self, message: String, fix: String) {
        // Several worker types may have the same finding.
        let finding = Finding { message, fix };
        if !self.0.problems.contains(&finding) {
            self.0.problems.push(finding);
        }
    }

    fn warning(&mut self, message: String, fix: String) {
        let finding = Finding { message, fix };
        if !self.0.warnings.contains(&finding) {
            self.0.warnings.push(finding);
        }
    }

    /// The provider runs nothing by itself.
    fn schedules(&mut self, spec: &ReleaseSpec) {
        let scheduled = spec.manifest.functions.iter().filter_map(|function| {
            let schedule = function.settings.schedule.as_ref()?;
            Some(format!("{} ({})", function.call_name(), schedule.cron))
        });
        let scheduled: Vec<String> = scheduled.collect();
        if !scheduled.is_empty() {
            self.warning(
                format!("Runpod runs no schedules, so nothing starts {}", scheduled.join(", ")),
                "start it from a cron job of your own: flash call".to_owned(),
            );
        }
    }

    /// A client that reconnects may come to another worker than the one that keeps its events.
    fn replays(&mut self, spec: &ReleaseSpec) {
        let several = |name: &str| {
            spec.manifest.workers.iter().any(|worker| worker.name == name && worker.workers_max > 1)
        };
        let keeping =
            |function: &&FunctionEntry| function.settings.replay.is_some() && several(&function.worker);
        let keeping: Vec<String> =
            spec.manifest.functions.iter().filter(keeping).map(FunctionEntry::call_name).collect();
        if !keeping.is_empty() {
            self.warning(
                format!(
                    "Runpod's load balancer chooses the worker, so `replay` of {} finds its events only by chance",
                    keeping.join(", ")
                ),
                "set the maximum of `workers` to 1, or let clients start anew".to_owned(),
            );
        }
    }

    fn size(&mut self, worker: &WorkerType) {
        let ComputeEntry::Cpu { instances } = &worker.compute else { return };
        if pools::hardware(&worker.compute).is_err() {
            return;
        }
        for small in instances.iter().copied().filter(|cpu| !pools::can_be_made(*cpu)) {
            self.warning(
                format!("`{}`: {small} is ignored, because Runpod has no workers with one vCPU", worker.name),
                format!("use {} instead", pools::nearest_that_can_be_made(small)),
            );
        }
    }

    /// Any GPU with enough memory may cost many times as much as the cheapest.
    fn memory(&mut self, worker: &WorkerType) {
        let ComputeEntry::Gpu { pools, types, .. } = &worker.compute else { return };
        let least = pools.iter().map(|pool| pool.vram_gb()).min().unwrap_or(0);
        // In the manifest, `vram_gib` has become the pools that have it.
        let [cheapest, others @ ..] = pools.as_slice() else { return };
        if others.is_empty() || !types.is_empty() || pools.as_slice() != GpuPool::with_memory(least) {
            return;
        }
        let others = others.iter().map(|pool| pool.id()).collect::<Vec<_>>().join(", ");
        self.warning(
            format!(
                "`{}` accepts any GPU with {least} GB or more: {} is the cheapest, but it may get {others}",
                worker.name,
                cheapest.id()
            ),
            format!("use `gpu = {cheapest:?}` instead of `vram_gib` for only that one"),
        );
    }

    fn limits(&mut self, worker: &WorkerType) {
        let limit = LOAD_BALANCER_LIMIT_SECONDS;
        if worker.kind == EndpointKind::LoadBalanced && worker.execution_timeout_seconds > limit {
            self.warning(
                format!(
                    "`{}` may run for {} s, but Runpod's load balancer ends requests after {limit} s",
                    worker.name, worker.execution_timeout_seconds
                ),
                format!("set `execution_timeout` to {limit} or less, or use a job for long work"),
            );
        }
        if let Some(seconds) = worker.request_timeout_seconds.filter(|seconds| *seconds > limit) {
            self.warning(
                format!(
                    "`{}` sets `request_timeout` to {seconds} s, but Runpod's load balancer ends requests after \
                     {limit} s",
                    worker.name
                ),
                format!("nothing changes that on Runpod: keep answers under {limit} s there"),
            );
        }
        let megabytes = WorkerType::DEFAULT_BODY_BYTES / 1_000_000;
        if let Some(mib) =
            worker.max_body_mib.filter(|_| worker.max_body_bytes() > WorkerType::DEFAULT_BODY_BYTES)
        {
            self.warning(
                format!(
                    "`{}` sets `max_body_mib` to {mib}, but Runpod's load balancer takes {megabytes} MB",
                    worker.name
                ),
                "nothing changes that on Runpod: pass larger data by URL there".to_owned(),
            );
        }
    }

    /// A CPU flavor has so much disk per vCPU. For GPU workers no limit is published.
    fn disk(&mut self, worker: &WorkerType) {
        let (ComputeEntry::Cpu { instances }, Some(wanted)) = (&worker.compute, worker.disk_gib) else {
            return;
        };
        let able = instances.iter().filter(|cpu| pools::can_be_made(**cpu));
        let Some(smallest) = able.min_by_key(|cpu| cpu.disk_gb()).filter(|cpu| cpu.disk_gb() < wanted) else {
            return;
        };
        let limit = smallest.disk_gb();
        self.problem(
            format!("`{}` needs {wanted} GB of disk, but {smallest} has at most {limit} GB", worker.name),
            format!("set `disk_gib` to {limit} or less, or choose an instance with more vCPUs"),
        );
    }

    fn shared_memory(&mut self, worker: &WorkerType) {
        let Some(mib) = worker.shm_mib else { return };
        self.warning(
            format!("`{}` asks for {mib} MiB of shared memory, which Runpod has no setting for", worker.name),
            "expect Runpod's default there; `shm_mib` is for containers on this machine".to_owned(),
        );
    }

    /// Workers there do not share a GPU, so one that needs half of it or less pays for the rest.
    fn gpu_memory(&mut self, worker: &WorkerType) {
        let (Some(needs), Some(has)) = (worker.vram_gib, worker.compute.vram_gb()) else { return };
        if needs.saturating_mul(2) <= has {
            self.warning(
                format!(
                    "`{}` needs {needs} GB of GPU memory, but on Runpod each worker has a whole GPU, of {has} GB or more",
                    worker.name
                ),
                "raise `max_concurrency` if one worker can do more at once, or name a smaller GPU".to_owned(),
            );
        }
    }

    /// What the platform's own scaler and queue cannot do.
    fn scaling(&mut self, worker: &WorkerType) {
        let WorkerType { name, buffer, lifetime, execution_timeout_seconds, workers_max, .. } = worker;
        if *buffer > 0 {
            self.warning(
                format!("`{name}` has no buffer of idle workers there, because Runpod's scaler knows none"),
                format!(
                    "raise its minimum instead, such as `workers = {}..={workers_max}`",
                    buffer.min(workers_max)
                ),
            );
        }
        if *lifetime == Lifetime::OneJob && *execution_timeout_seconds >= JOB_TTL_SECONDS {
            self.warning(
                format!(
                    "`{name}` may run for {execution_timeout_seconds} s, but Runpod deletes a job {JOB_TTL_SECONDS} s \
                     after it was submitted"
                ),
                "submit its jobs with a longer `policy.ttl`, at most 604800000 milliseconds".to_owned(),
            );
        }
    }

    /// Data centers must exist and have the hardware.
    fn places(&mut self, spec: &ReleaseSpec, worker: &WorkerType, account: &Account) {
        let centers = data_centers(spec, worker);
        if !account.data_centers.is_empty() {
            for unknown in centers.iter().filter(|center| !account.data_centers.contains(center)) {
                self.problem(
                    format!("Runpod has no data center `{unknown}` (`{}`)", worker.name),
                    format!("`data_centers` may contain {}", account.data_centers.join(", ")),
                );
            }
        }
        let volumes = &spec.cloud.network_volumes;
        if !volumes.is_empty() && centers.is_empty() {
            self.warning(
                format!(
                    "`{}` has network volumes but no data centers: it runs only where the volumes are",
                    worker.name
                ),
                "set `data_centers` to check their stock before a send".to_owned(),
            );
        }
    }

    /// The provider must know the names; if data centers are pinned, one must have stock.
    fn hardware(&mut self, desired: &Desired, account: &Account) {
        let (worker, create) = (&desired.worker, &desired.create);
        let mut stock = BTreeSet::new();
        let mut is_known = false;
        let in_stock = |stock: &BTreeMap<String, bool>| {
            stock.iter().filter(|(_, has)| **has).map(|(center, _)| center.clone()).collect::<Vec<_>>()
        };
        if let Some(gpu) = &create.gpu
            && !account.gpus.is_empty()
        {
            is_known = true;
            self.pools(worker, gpu, account);
            stock.extend(wanted_gpus(gpu, account).flat_map(|offer| in_stock(&offer.in_stock)));
        }
        if let Some(cpus) = &create.cpu
            && !account.cpus.is_empty()
        {
            is_known = true;
            for cpu in cpus {
                let Some(offer) = account.cpus.iter().find(|offer| offer.id == cpu.id) else {
                    let known = account.cpus.iter().map(|offer| offer.id.as_str()).collect::<Vec<_>>();
                    self.problem(
                        format!("`{worker}`: Runpod has no CPU flavor `{}`", cpu.id),
                        format!("choose one of {}", known.join(", ")),
                    );
                    continue;
                };
                if !(offer.vcpus_min..=offer.vcpus_max).contains(&cpu.vcpu_count) {
                    self.problem(
                        format!("`{worker}`: {} has no size of {} vCPUs", cpu.id, cpu.vcpu_count),
                        format!("choose {} to {} vCPUs", offer.vcpus_min, offer.vcpus_max),
                    );
                }
                stock.extend(in_stock(&offer.in_stock));
            }
        }
        let pinned = &create.data_center_ids;
        if is_known && !pinned.is_empty() && pinned.iter().all(|center| !stock.contains(center)) {
            let elsewhere = stock.into_iter().collect::<Vec<_>>().join(", ");
            self.warning(
                format!("`{worker}`: none of its hardware is in stock in {}", pinned.join(", ")),
                if elsewhere.is_empty() {
                    "choose other hardware: Runpod has none of this in stock anywhere".to_owned()
                } else {
                    format!("choose other hardware or other `data_centers`: in stock in {elsewhere}")
                },
            );
        }
    }

    fn pools(&mut self, worker: &str, gpu: &GpuChoice, account: &Account) {
        let known: BTreeSet<&str> = account.gpus.iter().filter_map(|offer| offer.pool.as_deref()).collect();
        for unknown in gpu.pools.iter().filter(|pool| !known.contains(pool.as_str())) {
            self.problem(
                format!("`{worker}`: Runpod has no GPU pool `{unknown}`"),
                format!("choose one of {}", known.iter().copied().collect::<Vec<_>>().join(", ")),
            );
        }
        // The API rejects exclusions that do not belong to the pools.
        for excluded in gpu.excluded_types.iter().flatten() {
            let offer = account.gpus.iter().find(|offer| &offer.id == excluded);
            if offer.is_none_or(|offer| offer.pool.as_ref().is_none_or(|pool| !gpu.pools.contains(pool))) {
                self.problem(
                    format!("`{worker}`: Runpod does not list {excluded} in {}", gpu.pools.join(", ")),
                    "set the pool with `gpu = …` instead of `gpu_types = […]`".to_owned(),
                );
            }
        }
    }

    /// Neither an endpoint's type nor its kind of hardware can be changed.
    fn kept_type(&mut self, desired: &Desired, account: &Account) {
        let is_it = |endpoint: &&Endpoint| {
            plain_name(&endpoint.name) == desired.create.name && owner(endpoint).is_some()
        };
        let there = account.endpoints.iter().find(is_it);
        if let Some(how) = there.and_then(|there| replacement(there, desired)) {
            let worker = &desired.worker;
            let environment = desired.create.env.get(ENVIRONMENT).map_or("NAME", String::as_str);
            self.problem(
                format!("`{worker}`: Runpod cannot change an endpoint {how}"),
                format!(
                    "rename the worker type, or run `flash undeploy {environment} --worker {worker}` first"
                ),
            );
        }
    }

    /// The account's workers are shared by all its endpoints.
    fn quota(&mut self, wanted: &BTreeMap<String, Desired>, account: &Account) {
        let Some(quota) = account.quota else { return };
        let max = |max: Option<u32>| u64::from(max.unwrap_or(0));
        let ours: u64 = wanted.values().map(|desired| max(desired.create.workers.max)).sum();
        let is_ours = |endpoint: &Endpoint| {
            wanted.values().any(|desired| desired.create.name == plain_name(&endpoint.name))
        };
        let others: u64 = account
            .endpoints
            .iter()
            .filter(|endpoint| !is_ours(endpoint))
            .map(|endpoint| max(endpoint.workers.max))
            .sum();
        if ours + others > u64::from(quota) {
            self.problem(
                format!(
                    "the account is limited to {quota} workers, and this release may need {ours} in addition to \
                     {others} of other endpoints"
                ),
                "lower `workers` of worker types under `[environments.NAME.workers]`, delete unused endpoints, \
                 or raise the account's limit in Runpod's console"
                    .to_owned(),
            );
        }
    }
}

/// GPU types that a worker may get.
fn wanted_gpus<'a>(gpu: &'a GpuChoice, account: &'a Account) -> impl Iterator<Item = &'a GpuOffer> {
    let is_wanted = |offer: &&GpuOffer| {
        offer.pool.as_ref().is_some_and(|pool| gpu.pools.contains(pool))
            && !gpu.excluded_types.iter().flatten().any(|excluded| *excluded == offer.id)
    };
    account.gpus.iter().filter(is_wanted)
}

#[cfg(test)]
mod tests;
