//! The differences between actual and desired endpoints.
use std::collections::{BTreeMap, BTreeSet};

use flash_protocol::variables;
use flash_target::EndpointChange;
use reqwest::Url;

use super::{
    desired::Desired,
    names::{self, OwnEndpoints, plain_name},
    rest::{CreateEndpoint, Endpoint, EndpointType, GpuChoice, Scaling, UpdateEndpoint, WorkerRange},
};

/// The change that turns this endpoint into the desired one: fields that differ, each as a whole. `None` if only
/// [`names::RELEASE`] differs. What no change can express is reported by [`replacement`].
pub(crate) fn difference(there: &Endpoint, wanted: &Desired) -> Option<UpdateEndpoint> {
    let want = &wanted.create;
    let env = whole_env(there, want);
    let mut change = UpdateEndpoint {
        name: (plain_name(&there.name) != want.name).then(|| want.name.clone()),
        image: (!want.image.is_empty() && there.image.as_ref() != Some(&want.image))
            .then(|| want.image.clone()),
        args: (text(&there.args) != text(&want.args)).then(|| text(&want.args).to_owned()),
        disk: want.disk.filter(|disk| there.disk != Some(*disk)),
        env: env_differs(there, &env).then(|| env.clone()),
        ports: (set(there.ports.as_deref().unwrap_or_default()) != set(&want.ports))
            .then(|| want.ports.clone()),
        registry: (text(&there.registry) != text(&want.registry)).then(|| want.registry.clone()),
        gpu: None,
        cpu: None,
        workers: (!same_workers(&there.workers, &want.workers)).then_some(want.workers),
        scaling: (there.scaling != want.scaling).then_some(want.scaling),
        data_center_ids: (set(&there.data_center_ids) != set(&want.data_center_ids))
            .then(|| want.data_center_ids.clone()),
        network_volumes: (set(&there.network_volumes) != set(&want.network_volumes))
            .then(|| want.network_volumes.clone()),
        timeout: (there.timeout != want.timeout).then_some(want.timeout),
        flashboot: (there.flashboot != want.flashboot).then_some(want.flashboot),
    };
    if replacement(there, wanted).is_none() {
        change.gpu = want.gpu.as_ref().and_then(|gpu| gpu_change(there.gpu.as_ref(), gpu));
        change.cpu = want.cpu.clone().filter(|cpu| there.cpu.as_ref() != Some(cpu));
    }
    // These changes start new workers anyway, which should know their release.
    if change.image.is_some() || change.args.is_some() || change.disk.is_some() || change.ports.is_some() {
        change.env = Some(env);
    }
    (change != UpdateEndpoint::default()).then_some(change)
}

/// Why this endpoint can never become the desired one.
pub(crate) fn replacement(there: &Endpoint, wanted: &Desired) -> Option<&'static str> {
    let is_cpu = |cpu: bool, gpu: bool| cpu && !gpu;
    let want = &wanted.create;
    let has_cpu = there.cpu.as_ref().is_some_and(|cpu| !cpu.is_empty());
    if there.kind.is_some_and(|kind| kind != want.kind) {
        Some(match want.kind {
            EndpointType::Queue => "from load-balanced to queue",
            EndpointType::LoadBalancer => "from queue to load-balanced",
        })
    } else if is_cpu(has_cpu, there.gpu.is_some()) && want.gpu.is_some() {
        Some("from CPU to GPU")
    } else if there.gpu.is_some() && want.cpu.is_some() {
        Some("from GPU to CPU")
    } else {
        None
    }
}

/// All differences of an environment, for people.
pub(crate) fn changes(there: &OwnEndpoints, wanted: &BTreeMap<String, Desired>) -> Vec<EndpointChange> {
    let workers: BTreeSet<&String> = there.by_worker.keys().chain(wanted.keys()).collect();
    let mut all = Vec::new();
    for worker in workers {
        let change = |field: &str, old: Option<String>, new: Option<String>| EndpointChange {
            worker: worker.clone(),
            field: field.to_owned(),
            old,
            new,
        };
        match (there.by_worker.get(worker), wanted.get(worker)) {
            (None, Some(wanted)) => all.push(change("endpoint", None, Some(wanted.create.name.clone()))),
            (Some(there), None) => all.push(change("endpoint", Some(there.name.clone()), None)),
            (Some(there), Some(wanted)) => {
                if let Some(how) = replacement(there, wanted) {
                    all.push(change("type", Some(there.name.clone()), Some(how.to_owned())));
                }
                if let Some(difference) = difference(there, wanted) {
                    fields(there, &difference, &mut |field, old, new| all.push(change(field, old, new)));
                }
            }
            (None, None) => {}
        }
    }
    all
}

/// The base address of an endpoint: for a queue, of `/run`; else of its paths. `queue`: the queue API's base.
///
/// An address given by the API is only used if [`may_have_key`] allows it.
pub(crate) fn base_url(endpoint: &Endpoint, queue: &Url) -> String {
    let given = endpoint.request_urls.as_ref().and_then(|urls| match &urls.base {
        Some(base) => Some(base.as_str()),
        None => urls.run.as_deref().map(|run| run.strip_suffix("/run").unwrap_or(run)),
    });
    if let Some(given) = given.filter(|given| may_have_key(given, queue)) {
        return given.trim_end_matches('/').to_owned();
    }
    match endpoint.kind {
        Some(EndpointType::LoadBalancer) => {
            let host = queue.host_str().unwrap_or("api.runpod.ai");
            let port = queue.port().map(|port| format!(":{port}")).unwrap_or_default();
            format!("{}://{}.{host}{port}", queue.scheme(), endpoint.id)
        }
        _ => format!("{}/{}", queue.as_str().trim_end_matches('/'), endpoint.id),
    }
}

/// The health address of an endpoint. The queue's host also has that of load-balanced endpoints.
pub(crate) fn health_url(endpoint: &Endpoint, queue: &Url) -> String {
    let given = endpoint.request_urls.as_ref().and_then(|urls| urls.health.clone());
    let usual = || format!("{}/{}/health", queue.as_str().trim_end_matches('/'), endpoint.id);
    given.filter(|given| may_have_key(given, queue)).unwrap_or_else(usual)
}

/// Whether the account's key may be sent to an address given by the API: the queue API's host and hosts below it,
/// with the same scheme. Somebody who can change an answer must not be able to choose who gets the key.
fn may_have_key(address: &str, queue: &Url) -> bool {
    let (Ok(address), Some(known)) = (Url::parse(address), queue.host_str()) else { return false };
    let is_below = |host: &str| host.strip_suffix(known).is_some_and(|rest| rest.ends_with('.'));
    let is_known = address.host_str().is_some_and(|host| host == known || is_below(host));
    is_known
        && address.scheme() == queue.scheme()
        && address.port_or_known_default() == queue.port_or_known_default()
        && address.username().is_empty()
        && address.password().is_none()
}

/// All variables to send, because the API drops those left out. Siblings that are not known yet are kept.
fn whole_env(there: &Endpoint, want: &CreateEndpoint) -> BTreeMap<String, String> {
    let mut env = want.env.clone();
    if let Some(siblings) = there.env.as_ref().and_then(|env| env.get(variables::ENDPOINTS)) {
        env.entry(variables::ENDPOINTS.to_owned()).or_insert_with(|| siblings.clone());
    }
    env
}

fn env_differs(there: &Endpoint, env: &BTreeMap<String, String>) -> bool {
    let empty = BTreeMap::new();
    let is_compared = |(name, _): &(&String, &String)| *name != names::RELEASE;
    let there = there.env.as_ref().unwrap_or(&empty);
    !there.iter().filter(is_compared).eq(env.iter().filter(is_compared))
}

/// A range without an idle timeout leaves it unchanged.
fn same_workers(there: &WorkerRange, want: &WorkerRange) -> bool {
    there.min.unwrap_or(0) == want.min.unwrap_or(0)
        && there.max == want.max
        && (want.idle_timeout.is_none() || there.idle_timeout == want.idle_timeout)
}

/// Pools and exclusions go together: pools alone clear the exclusions.
fn gpu_change(there: Option<&GpuChoice>, want: &GpuChoice) -> Option<GpuChoice> {
    let Some(there) = there else { return Some(want.clone()) };
    let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let excluded = |gpu: &GpuChoice| list(&gpu.excluded_types).into_iter().collect::<BTreeSet<_>>();
    let cuda = there.allowed_cuda_versions != want.allowed_cuda_versions
        && list(&there.allowed_cuda_versions) != list(&want.allowed_cuda_versions);
    let floor = text(&there.min_cuda_version) != text(&want.min_cuda_version);
    let same = set(&there.pools) == set(&want.pools)
        && excluded(there) == excluded(want)
        && there.count.unwrap_or(1) == want.count.unwrap_or(1);
    (!same || cuda || floor).then(|| GpuChoice {
        allowed_cuda_versions: cuda.then(|| list(&want.allowed_cuda_versions)),
        min_cuda_version: floor.then(|| text(&want.min_cuda_version).to_owned()),
        ..want.clone()
    })
}

/// Called with a field's name, its old value and its new one.
type OnField<'a> = &'a mut dyn FnMut(&str, Option<String>, Option<String>);

fn fields(there: &Endpoint, change: &UpdateEndpoint, on_field: OnField<'_>) {
    let mut pair = |field: &str, old: Option<String>, new: Option<String>| {
        if old != new {
            on_field(field, old, new);
        }
    };
    let joined = |list: &[String]| Some(if list.is_empty() { "any".to_owned() } else { list.join(", ") });
    if let Some(image) = &change.image {
        pair("image", there.image.clone(), Some(image.clone()));
    }
    if let Some(args) = &change.args {
        pair("args", there.args.clone(), Some(args.clone()));
    }
    if let Some(disk) = change.disk {
        pair("disk", there.disk.map(|disk| disk.to_string()), Some(disk.to_string()));
    }
    if let Some(env) = &change.env {
        let empty = BTreeMap::new();
        let before = there.env.as_ref().unwrap_or(&empty);
        let names: BTreeSet<&String> = before.keys().chain(env.keys()).collect();
        for name in names.into_iter().filter(|name| *name != names::RELEASE) {
            if before.get(name) != env.get(name) {
                let old = before.get(name).map(|_| "set".to_owned());
                let new = env.get(name).map(|_| "new value".to_owned());
                pair(&format!("env.{name}"), old, new);
            }
        }
    }
    if let Some(ports) = &change.ports {
        pair("ports", there.ports.as_deref().map(|ports| ports.join(", ")), Some(ports.join(", ")));
    }
    if let Some(registry) = &change.registry {
        pair("registry", there.registry.clone(), registry.clone());
    }
    if let Some(gpu) = &change.gpu {
        pair("gpu", there.gpu.as_ref().map(gpu_text), Some(gpu_text(gpu)));
    }
    if let Some(cpu) = &change.cpu {
        let text = |cpu: &Vec<super::rest::CpuChoice>| {
            cpu.iter().map(|cpu| format!("{} × {}", cpu.vcpu_count, cpu.id)).collect::<Vec<_>>().join(", ")
        };
        pair("cpu", there.cpu.as_ref().map(text), Some(text(cpu)));
    }
    if let Some(workers) = change.workers {
        let number = |number: Option<u32>| number.map(|number| number.to_string());
        pair("workers.min", number(there.workers.min.or(Some(0))), number(workers.min));
        pair("workers.max", number(there.workers.max), number(workers.max));
        if workers.idle_timeout.is_some() {
            pair("workers.idleTimeout", number(there.workers.idle_timeout), number(workers.idle_timeout));
        }
    }
    if let Some(scaling) = change.scaling {
        pair("scaling", Some(scaling_text(there.scaling)), Some(scaling_text(scaling)));
    }
    if let Some(centers) = &change.data_center_ids {
        pair("dataCenterIds", joined(&there.data_center_ids), joined(centers));
    }
    if let Some(volumes) = &change.network_volumes {
        let text = |ids: &[String]| (!ids.is_empty()).then(|| ids.join(", "));
        pair("networkVolumes", text(&there.network_volumes), text(volumes));
    }
    if let Some(timeout) = change.timeout {
        pair("timeout", Some(there.timeout.to_string()), Some(timeout.to_string()));
    }
    if let Some(flashboot) = change.flashboot {
        pair("flashboot", Some(format!("{:?}", there.flashboot)), Some(format!("{flashboot:?}")));
    }
}

fn gpu_text(gpu: &GpuChoice) -> String {
    let without = gpu.excluded_types.iter().flatten().map(|gpu| format!(", -{gpu}")).collect::<String>();
    format!("{} × {}{without}", gpu.count.unwrap_or(1), gpu.pools.join(", "))
}

fn scaling_text(scaling: Scaling) -> String {
    match scaling {
        Scaling::QueueDelay { queue_delay } => format!("queue delay {queue_delay} s"),
        Scaling::RequestCount { request_count } => format!("{request_count} requests per worker"),
    }
}

/// To the API, an absent text is an empty one.
fn text(text: &Option<String>) -> &str {
    text.as_deref().unwrap_or_default()
}

/// The API promises no order for these.
fn set(list: &[String]) -> BTreeSet<&str> {
    list.iter().map(String::as_str).collect()
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
