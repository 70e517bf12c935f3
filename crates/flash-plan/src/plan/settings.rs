//! Settings of functions, worker types and programs as text, and what differs between two of them.
use std::collections::BTreeSet;

use flash_protocol::{
    BatchLimits, Lifetime, Program, Retries, Schedule,
    manifest::{EndpointKind, FunctionSettings, ScalerEntry, WorkerType},
};
use flash_target::CommandSpec;

use crate::field_change::FieldChange;

pub(super) fn field(name: &str, before: Option<String>, after: Option<String>) -> FieldChange {
    FieldChange { field: name.to_owned(), before, after, breaking: None }
}

pub(super) type Fields = Vec<(&'static str, String)>;

/// Why a change of the field with models breaks clients.
pub(super) fn models_gone(field: &str, was: Option<&str>, is: Option<&str>) -> Option<String> {
    let was = was.filter(|_| field == MODELS)?;
    let stays = |name: &&str| is.is_some_and(|is| is.split(' ').any(|other| other == *name));
    let gone: Vec<&str> = was.split(' ').filter(|name| !stays(name)).collect();
    (!gone.is_empty()).then(|| format!("clients of {} get 404", gone.join(" and ")))
}

/// A setting that is only on one side is not set on the other.
pub(super) fn changed(before: Fields, after: Fields) -> Vec<FieldChange> {
    let of = |fields: &Fields, name: &str| {
        fields.iter().find(|(own, _)| *own == name).map(|(_, value)| value.clone())
    };
    let removed = before.iter().filter(|(name, _)| of(&after, name).is_none());
    let names: Vec<&str> = after.iter().chain(removed).map(|(name, _)| *name).collect();
    let change = |name: &str| {
        let (was, is) = (of(&before, name), of(&after, name));
        let moved = (name == HTTP && was.is_some()).then(|| "its paths are others".to_owned());
        let moved = moved.or_else(|| models_gone(name, was.as_deref(), is.as_deref()));
        (was != is).then(|| FieldChange { breaking: moved, ..field(name, was, is) })
    };
    names.into_iter().filter_map(change).collect()
}

/// Every setting of one function as text.
pub(super) fn function_fields(settings: &FunctionSettings) -> Fields {
    // An example changes nothing for callers.
    let FunctionSettings { retries, schedule, batch, example: _, replay } = settings;
    let retries = retries.map_or_else(
        || "none".to_owned(),
        |retries| {
            let Retries { count, first_wait_seconds, longest_wait_seconds } = retries;
            format!("{count}, after {first_wait_seconds} to {longest_wait_seconds} s")
        },
    );
    let schedule = schedule.as_ref().map_or_else(
        || "none".to_owned(),
        |schedule| {
            let Schedule { cron, timezone, missed, overlap } = schedule;
            format!("{cron}, {timezone}, missed: {}, overlap: {}", missed.as_str(), overlap.as_str())
        },
    );
    let batch = batch.map_or_else(
        || "none".to_owned(),
        |batch| {
            let BatchLimits { max, budget, padded, wait_ms, weighed } = batch;
            let weighed = if weighed { ", cost shared by weight" } else { "" };
            let budget = budget.map_or_else(String::new, |budget| format!(", cost {budget}"));
            let padded = if padded { " padded" } else { "" };
            format!("up to {max}{budget}{padded}, gathered for {wait_ms} ms{weighed}")
        },
    );
    let replay = replay.map_or_else(|| "none".to_owned(), |events| format!("{events} events"));
    vec![("retries", retries), ("schedule", schedule), ("batch", batch), ("replay", replay)]
}

/// Sizes that only some worker types set, as text.
pub(super) fn size_fields(worker: &WorkerType) -> [(&'static str, Option<String>); 3] {
    let text = |size: Option<u32>, unit: &str| size.map(|size| format!("{size} {unit}"));
    [
        ("disk", text(worker.disk_gib, "GB")),
        ("shared_memory", text(worker.shm_mib, "MiB")),
        ("gpu_memory", text(worker.vram_gib, "GB")),
    ]
}

/// Every other setting as text.
pub(super) fn worker_fields(worker: &WorkerType) -> Fields {
    let WorkerType {
        name: _,
        kind,
        compute,
        workers_min,
        workers_max,
        idle_timeout_seconds,
        execution_timeout_seconds,
        start_timeout_seconds,
        max_concurrency,
        scaler,
        buffer,
        lifetime,
        data_centers,
        disk_gib: _,
        shm_mib: _,
        vram_gib: _,
        http,
        max_body_mib,
        request_timeout_seconds,
        model,
    } = worker;
    let kind = match kind {
        EndpointKind::Queue => "queue",
        EndpointKind::LoadBalanced => "load-balanced",
    };
    let scaler = match scaler {
        ScalerEntry::QueueDelay { seconds } => format!("queue delay {seconds} s"),
        ScalerEntry::RequestCount { requests: 1 } => "1 request per worker".to_owned(),
        ScalerEntry::RequestCount { requests } => format!("{requests} requests per worker"),
    };
    let centers = match data_centers.as_slice() {
        [] => "anywhere".to_owned(),
        centers => centers.iter().map(|center| center.id()).collect::<Vec<_>>().join(" "),
    };
    let mut fields = vec![
        ("kind", kind.to_owned()),
        ("compute", compute.label()),
        ("workers", format!("{workers_min}..={workers_max}")),
        ("idle_timeout", format!("{idle_timeout_seconds} s")),
        ("execution_timeout", format!("{execution_timeout_seconds} s")),
        ("max_concurrency", max_concurrency.to_string()),
        ("scaler", scaler),
        ("data_centers", centers),
    ];
    // What few set is listed where it is set.
    fields.extend((*buffer > 0).then(|| ("buffer", buffer.to_string())));
    fields.extend(start_timeout_seconds.map(|seconds| ("start_timeout", format!("{seconds} s"))));
    fields.extend((*lifetime == Lifetime::OneJob).then(|| ("task", "yes".to_owned())));
    fields.extend(http.as_ref().map(|http| (HTTP, http.path().to_owned())));
    let models = http.as_ref().map(|http| &http.models).filter(|models| !models.is_empty());
    fields.extend(models.map(|models| (MODELS, models.join(" "))));
    fields.extend(max_body_mib.map(|mib| ("max_body_mib", format!("{mib} MiB"))));
    fields.extend(request_timeout_seconds.map(|seconds| ("request_timeout", format!("{seconds} s"))));
    fields.extend(model.as_ref().map(|model| ("model", model.reference.clone())));
    fields.extend(
        model
            .as_ref()
            .filter(|model| !model.files.is_empty())
            .map(|model| ("model_files", model.files.join(" "))),
    );
    fields
}

/// The field with the paths of a router.
pub(super) const HTTP: &str = "http";

/// The field with the names of models.
pub(super) const MODELS: &str = "openai";

pub(super) fn command_fields(command: &CommandSpec) -> Fields {
    let mut fields = vec![("command", command.program.line()), ("health_path", command.health_path.clone())];
    if let Program::Image { image, entrypoint, arguments } = &command.program {
        let words = entrypoint.iter().chain(arguments).map(String::as_str).collect::<Vec<_>>();
        fields[0] = ("image", image.clone());
        fields.insert(1, ("arguments", words.join(" ")));
    }
    fields
}

/// By name: a value may be a misplaced secret.
pub(super) fn command_variables(old: &CommandSpec, new: &CommandSpec) -> Vec<FieldChange> {
    let names: BTreeSet<&String> = old.environment.keys().chain(new.environment.keys()).collect();
    let change = |name: &String| {
        let (was, is) = (old.environment.get(name), new.environment.get(name));
        let text = |value: Option<&String>, word: &str| value.map(|_| word.to_owned());
        (was != is).then(|| field(&format!("env.{name}"), text(was, "set"), text(is, "new value")))
    };
    names.into_iter().filter_map(change).collect()
}
