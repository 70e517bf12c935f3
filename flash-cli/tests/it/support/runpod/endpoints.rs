//! Serverless endpoints: `/v2/serverless`, with the traps of production.
use std::{collections::BTreeSet, time::SystemTime};

use serde_json::{Map, Value, json};

use super::{
    catalog,
    rest::{Addresses, Reply},
    state::{Endpoint, State, fields, timestamp},
    templates::unknown_registry,
};

/// Fields whose change makes a release, with the names that releases give them.
const RELEASED: &[(&str, &str)] = &[
    ("image", "template.imageName"),
    ("env", "template.env"),
    ("args", "template.dockerArgs"),
    ("disk", "template.containerDiskInGb"),
    ("ports", "template.ports"),
    ("registry", "template.containerRegistryAuthId"),
    ("gpu", "gpuIds"),
    ("cpu", "instanceIds"),
    ("dataCenterIds", "locations"),
    ("networkVolumes", "networkVolumeIds"),
];

/// As REST shows it.
pub fn shown(endpoint: &Endpoint, addresses: &Addresses) -> Value {
    let id = endpoint.shown["id"].as_str().unwrap();
    let mut shown = endpoint.shown.clone();
    let at = |path: &str| format!("{}/{id}/{path}", addresses.queue);
    let urls = match endpoint.is_queue() {
        true => json!({
            "run": at("run"),
            "runSync": at("runsync"),
            "status": at("status/{job_id}"),
            "stream": at("stream/{job_id}"),
            "cancel": at("cancel/{job_id}"),
            "retry": at("retry/{job_id}"),
            "purgeQueue": at("purge-queue"),
            "health": at("health"),
        }),
        false => json!({ "base": format!("{}/{id}", addresses.balanced), "health": at("health") }),
    };
    shown.insert("requestUrls".to_owned(), urls);
    shown.into()
}

pub fn list(state: &State, addresses: &Addresses) -> Reply {
    let endpoints: Vec<Value> = state.endpoints.values().map(|endpoint| shown(endpoint, addresses)).collect();
    Reply::json(200, json!({ "endpoints": endpoints }))
}

pub fn get(state: &State, addresses: &Addresses, id: &str) -> Reply {
    match state.endpoints.get(id) {
        Some(endpoint) => Reply::json(200, shown(endpoint, addresses)),
        None => Reply::not_found("endpoint"),
    }
}

/// Two of the same name are two: there is no key for idempotency.
pub fn create(state: &mut State, addresses: &Addresses, body: &Value, suffix: bool) -> Reply {
    let mut given = fields(body.clone());
    if let Err(refused) = with_template(state, &mut given) {
        return refused;
    }
    let whole = Value::Object(given.clone());
    if let Err(refused) = checked_create(state, &whole) {
        return refused;
    }
    let mut made = fields(json!({
        "args": "", "disk": 20, "env": {}, "ports": [], "registry": null, "dataCenterIds": [], "networkVolumes": [],
        // Not what the document says, but what production does.
        "timeout": 0,
        "flashboot": "OFF",
    }));
    made.extend(given);
    let mut workers = fields(json!({ "min": 0, "max": 3, "idleTimeout": 10 }));
    workers.extend(body["workers"].as_object().cloned().unwrap_or_default());
    made.insert("workers".to_owned(), workers.into());
    let id = state.id("ep");
    made.insert("id".to_owned(), id.as_str().into());
    made.insert("createdAt".to_owned(), timestamp(SystemTime::now()).into());
    if suffix && made["flashboot"] != "OFF" {
        made["name"] = format!("{} -fb", made["name"].as_str().unwrap()).into();
    }
    complete(&mut made);
    let mut endpoint = Endpoint::new(made);
    release(state, &mut endpoint, Vec::new());
    let answer = shown(&endpoint, addresses);
    state.endpoints.insert(id, endpoint);
    Reply::json(201, answer)
}

pub fn update(state: &mut State, addresses: &Addresses, id: &str, body: &Value) -> Reply {
    let Some(mut endpoint) = state.endpoints.remove(id) else { return Reply::not_found("endpoint") };
    let answer = match changed(state, &endpoint, body) {
        Ok(after) => {
            let before = std::mem::replace(&mut endpoint.shown, after);
            let differs = |(field, _): &&(&str, &str)| before.get(*field) != endpoint.shown.get(*field);
            let named = |(field, name): &(&str, &str)| json!({ "field": name, "old": before.get(*field), "new": endpoint.shown.get(*field) });
            let differences: Vec<Value> = RELEASED.iter().filter(differs).map(named).collect();
            if !differences.is_empty() {
                endpoint.version += 1;
                release(state, &mut endpoint, differences);
            }
            Reply::json(200, shown(&endpoint, addresses))
        }
        Err(refused) => refused,
    };
    state.endpoints.insert(id.to_owned(), endpoint);
    answer
}

pub fn delete(state: &mut State, id: &str) -> Reply {
    match state.endpoints.remove(id) {
        // With it go its jobs, and its workers, which end with that.
        Some(endpoint) => {
            state.deleted.push(endpoint);
            Reply::empty()
        }
        None => Reply::not_found("endpoint"),
    }
}

/// Workers that are only played are nearer to being ready with each look.
pub fn workers(state: &mut State, id: &str) -> Reply {
    let Some(endpoint) = state.endpoints.get_mut(id) else { return Reply::not_found("endpoint") };
    for worker in &mut endpoint.workers {
        worker.looks += 1;
    }
    let version = endpoint.version;
    let workers: Vec<Value> = endpoint.workers.iter().map(|worker| worker.shown(version)).collect();
    Reply::json(200, json!({ "endpointVersion": version, "summary": endpoint.summary(), "workers": workers }))
}

pub fn releases(state: &State, id: &str) -> Reply {
    let Some(endpoint) = state.endpoints.get(id) else { return Reply::not_found("endpoint") };
    let total = endpoint.workers.len();
    let latest = endpoint.workers.iter().filter(|worker| worker.version == endpoint.version).count();
    let percent = (latest * 100).checked_div(total).unwrap_or(100);
    let releases: Vec<Value> = endpoint
        .releases
        .iter()
        .rev()
        .map(|release| {
            let mut release = release.clone();
            let of_it = endpoint.workers.iter().filter(|worker| release["version"] == worker.version).count();
            release["workerCount"] = of_it.into();
            release
        })
        .collect();
    Reply::json(
        200,
        json!({
            "endpointVersion": endpoint.version,
            "rollout": {
                "inProgress": latest < total,
                "workersOnLatest": latest,
                "workersTotal": total,
                "percentOnLatest": percent,
            },
            "releases": releases,
        }),
    )
}

fn release(state: &mut State, endpoint: &mut Endpoint, diff: Vec<Value>) {
    let id = state.id("rel");
    endpoint.releases.push(json!({
        "id": id,
        "version": endpoint.version,
        "source": "MANUAL",
        "buildId": null,
        "createdByUserId": null,
        "workerCount": 0,
        "createdAt": timestamp(SystemTime::now()),
        "diff": diff,
    }));
}

/// The template gives what the body leaves out; `env` by key.
fn with_template(state: &State, body: &mut Map<String, Value>) -> Result<(), Reply> {
    let Some(id) = body.remove("templateId") else { return Ok(()) };
    let template = id.as_str().and_then(|id| state.templates.get(id));
    let template = template.ok_or_else(|| Reply::not_found("template"))?;
    if template["serverless"] != true {
        return Err(unprocessable("the template is not for serverless".to_owned()));
    }
    let mut env = template["env"].as_object().cloned().unwrap_or_default();
    env.extend(body.get("env").and_then(Value::as_object).cloned().unwrap_or_default());
    body.insert("env".to_owned(), env.into());
    for field in ["image", "args", "disk", "ports", "registry"] {
        body.entry(field).or_insert_with(|| template[field].clone());
    }
    Ok(())
}

fn checked_create(state: &State, body: &Value) -> Result<(), Reply> {
    let is_queue = body["type"] == "QUEUE";
    let by_requests = body["scaling"]["type"] == "REQUEST_COUNT";
    if is_queue && by_requests && body["workers"].get("idleTimeout").is_some() {
        return Err(no_idle_timeout());
    }
    if body.get("gpu").is_some() == body.get("cpu").is_some() {
        return Err(refused("exactly one of gpu and cpu is required"));
    }
    checked_places(state, body)
}

/// What holds of a new endpoint and of a change.
fn checked_places(state: &State, body: &Value) -> Result<(), Reply> {
    if let Some(refused) = unknown_registry(state, body) {
        return Err(refused);
    }
    let workers = &body["workers"];
    if let (Some(min), Some(max)) = (workers["min"].as_u64(), workers["max"].as_u64())
        && min > max
    {
        return Err(refused("workers.min is greater than workers.max"));
    }
    if let Some(gpu) = body.get("gpu") {
        checked_gpu(gpu)?;
    }
    let cpus = body.get("cpu").and_then(Value::as_array);
    cpus.into_iter().flatten().try_for_each(checked_cpu)?;
    let texts = |field: &str| {
        let all = body.get(field).and_then(Value::as_array).into_iter().flatten();
        all.filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    for center in texts("dataCenterIds") {
        if !catalog::DATA_CENTERS.iter().any(|(id, ..)| *id == center) {
            return Err(refused(&format!("data center '{center}' is not available")));
        }
    }
    match texts("networkVolumes").iter().all(|volume| state.volumes.contains_key(volume)) {
        true => Ok(()),
        false => Err(Reply::not_found("network volume")),
    }
}

fn checked_gpu(gpu: &Value) -> Result<(), Reply> {
    let texts = |field: &str| gpu[field].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut types = BTreeSet::new();
    for pool in texts("pools") {
        let of_pool =
            catalog::types_of(pool).ok_or_else(|| refused(&format!("GPU pool '{pool}' is not known")))?;
        types.extend(of_pool.iter().copied());
    }
    for excluded in texts("excludedTypes") {
        if !types.contains(excluded.trim()) {
            return Err(refused(&format!("excluded GPU type '{excluded}' is in none of the pools")));
        }
    }
    let excluded = texts("excludedTypes").count();
    if excluded > 0 && excluded == types.len() {
        return Err(refused("the exclusions leave no GPU type"));
    }
    let has_floor = gpu["minCudaVersion"].as_str().is_some_and(|version| !version.is_empty());
    match has_floor && texts("allowedCudaVersions").next().is_some() {
        true => Err(refused("allowedCudaVersions and minCudaVersion exclude each other")),
        false => Ok(()),
    }
}

fn checked_cpu(cpu: &Value) -> Result<(), Reply> {
    let (id, count) = (cpu["id"].as_str().unwrap(), cpu["vcpuCount"].as_u64().unwrap());
    let flavor = catalog::FLAVORS.iter().find(|(flavor, ..)| *flavor == id);
    let (_, _, min, max, _) = flavor.ok_or_else(|| refused(&format!("CPU flavor '{id}' is not known")))?;
    match count.is_power_of_two() && (u64::from(*min)..=u64::from(*max)).contains(&count) {
        true => Ok(()),
        false => Err(refused(&format!("'{id}' is not available with {count} vCPUs"))),
    }
}

/// What an endpoint is after a change: only the given fields, and these as a whole.
fn changed(state: &State, endpoint: &Endpoint, body: &Value) -> Result<Map<String, Value>, Reply> {
    let mut given = fields(body.clone());
    with_template(state, &mut given)?;
    let before = &endpoint.shown;
    if given.contains_key("gpu") && before.contains_key("cpu")
        || given.contains_key("cpu") && before.contains_key("gpu")
    {
        return Err(refused("an endpoint cannot switch between GPU and CPU"));
    }
    let by_requests = given.get("scaling").unwrap_or(&before["scaling"])["type"] == "REQUEST_COUNT";
    if !endpoint.is_queue() && !by_requests {
        return Err(refused("a load balancer scales by requestCount"));
    }
    let idle_timeout = given.get("workers").and_then(|workers| workers.get("idleTimeout"));
    if endpoint.is_queue() && by_requests && idle_timeout.is_some() {
        return Err(no_idle_timeout());
    }
    let mut after = before.clone();
    if let Some(workers) = given.remove("workers") {
        let mut merged = fields(before["workers"].clone());
        merged.extend(fields(workers));
        after.insert("workers".to_owned(), merged.into());
    }
    if let Some(gpu) = given.remove("gpu") {
        let mut merged = fields(before["gpu"].clone());
        if gpu.get("pools").is_some() {
            merged.remove("excludedTypes");
        }
        merged.extend(fields(gpu));
        after.insert("gpu".to_owned(), merged.into());
    }
    after.extend(given);
    complete(&mut after);
    let mut whole = Value::Object(after.clone());
    // The floor is `null` in an answer, and no longer there to be compared with.
    whole["id"] = before["id"].clone();
    checked_places(state, &whole)?;
    Ok(after)
}

/// What every answer has.
fn complete(shown: &mut Map<String, Value>) {
    if let Some(gpu) = shown.get_mut("gpu").and_then(Value::as_object_mut) {
        gpu.entry("count").or_insert_with(|| 1.into());
        gpu.entry("allowedCudaVersions").or_insert_with(|| json!([]));
        let floor = gpu.entry("minCudaVersion").or_insert(Value::Null);
        if floor == "" {
            *floor = Value::Null;
        }
    }
    for cpu in shown.get_mut("cpu").and_then(Value::as_array_mut).into_iter().flatten() {
        let gb = catalog::FLAVORS.iter().find(|(id, ..)| cpu["id"] == *id).map_or(2, |flavor| flavor.4);
        cpu["memory"] = (cpu["vcpuCount"].as_u64().unwrap_or(2) * u64::from(gb)).into();
    }
    let has_no_idle_timeout = shown["type"] == "QUEUE" && shown["scaling"]["type"] == "REQUEST_COUNT";
    let workers = shown["workers"].as_object_mut().unwrap();
    match has_no_idle_timeout {
        true => drop(workers.remove("idleTimeout")),
        false => drop(workers.entry("idleTimeout").or_insert_with(|| 10.into())),
    }
}

fn refused(detail: &str) -> Reply {
    Reply::problem(400, detail.to_owned(), Vec::new())
}

fn unprocessable(detail: String) -> Reply {
    Reply::problem(422, detail, Vec::new())
}

fn no_idle_timeout() -> Reply {
    unprocessable("idleTimeout does not apply to queue-based endpoints scaling on requestCount".to_owned())
}
