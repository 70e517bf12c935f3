//! `[workers.NAME]` in `flash.toml`: a worker type that runs any program, or an image.
//!
//! Turns the table as written into a checked [`CommandWorker`]. The platform decides what the program then gets.
use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
    time::SystemTime,
};

use flash_protocol::{
    CommandWorker, CpuInstance, GpuPool, GpuType, Program, ResourceConfig,
    manifest::{ComputeEntry, EndpointKind, Manifest, ScalerEntry, WorkerType},
};
use serde::Deserialize;
use toml::Spanned;

use flash_image::registry::reference;
use flash_text::nearest;

/// The default instance of a command: the smallest one.
const DEFAULT_CPU: CpuInstance = CpuInstance::Cpu3c_1_2;
/// First segments of the platform's own paths, which cannot be names of worker types.
const TAKEN_NAMES: [&str; 3] = ["docs", "ping", "v2"];

/// The table as written. Unknown keys are errors.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    command: Option<Spanned<Vec<String>>>,
    /// An image of a registry, instead of a program.
    image: Option<Spanned<String>>,
    /// Arguments of the image.
    args: Option<Spanned<Vec<String>>>,
    kind: Option<EndpointKind>,
    cpu: Option<Spanned<String>>,
    gpu: Option<Spanned<String>>,
    gpu_count: Option<Spanned<u32>>,
    vram_gib: Option<Spanned<u32>>,
    /// `MIN..=MAX`, as in `#[remote]`.
    workers: Option<Spanned<String>>,
    /// Seconds, like all durations here.
    idle_timeout: Option<Spanned<u32>>,
    execution_timeout: Option<Spanned<u32>>,
    start_timeout: Option<Spanned<u32>>,
    max_concurrency: Option<Spanned<u32>>,
    scaler: Option<Spanned<WrittenScaler>>,
    buffer: Option<Spanned<u32>>,
    disk_gib: Option<Spanned<u32>>,
    shm_mib: Option<Spanned<u32>>,
    max_body_mib: Option<Spanned<u32>>,
    request_timeout: Option<Spanned<u32>>,
    #[serde(default)]
    env: BTreeMap<Spanned<String>, Spanned<String>>,
    /// Programs that it starts itself.
    #[serde(default)]
    pub(super) needs: Vec<Spanned<String>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum WrittenScaler {
    QueueDelay(u32),
    RequestCount(u32),
}

/// What is wrong, and where in the text.
#[derive(Debug)]
pub(super) struct Mistake {
    pub at: Range<usize>,
    pub message: String,
}

pub(super) fn mistake<T>(at: Range<usize>, message: impl Into<String>) -> Result<T, Mistake> {
    Err(Mistake { at, message: message.into() })
}

impl Written {
    /// Checks every setting.
    ///
    /// # Errors
    /// The first invalid setting.
    pub(super) fn check(self, name: &Spanned<String>) -> Result<CommandWorker, Mistake> {
        check_name(name)?;
        let program = self.program(name)?;
        let worker_type = self.worker_type(name.get_ref().clone())?;
        let (environment, health_path) = environment_of(self.env, worker_type.kind)?;
        Ok(CommandWorker { worker_type, program, environment, health_path })
    }

    fn program(&self, name: &Spanned<String>) -> Result<Program, Mistake> {
        match (&self.image, &self.command, &self.args) {
            (Some(image), command, args) => {
                if let Some(needs) = self.needs.first() {
                    let message = "`needs` requires a program of this machine: an image has its own programs";
                    return mistake(needs.span(), message);
                }
                Ok(Program::Image {
                    image: image_of(image)?,
                    entrypoint: entrypoint_of(command.as_ref())?,
                    arguments: args.as_ref().map(arguments_of).transpose()?.unwrap_or_default(),
                })
            }
            (None, _, Some(args)) => mistake(
                args.span(),
                "`args` requires `image`; the arguments of a program belong in `command`",
            ),
            (None, Some(command), None) => {
                let (program, arguments) = program_of(command)?;
                Ok(Program::command(program, arguments))
            }
            (None, None, None) => mistake(
                name.span(),
                format!(
                    "`{}` has nothing to run; set `command`, such as [\"python3\", \"-u\", \"worker.py\"], or \
                     `image`, such as \"ghcr.io/me/worker:1\"",
                    name.get_ref()
                ),
            ),
        }
    }

    fn worker_type(&self, name: String) -> Result<WorkerType, Mistake> {
        let kind = self.kind.unwrap_or(EndpointKind::Queue);
        if let (EndpointKind::Queue, Some(said)) = (kind, &self.max_concurrency) {
            let message = "`max_concurrency` requires kind = \"load_balanced\": a queue worker takes as \
                           many jobs as it asks for";
            return mistake(said.span(), message);
        }
        let of_requests = [("max_body_mib", &self.max_body_mib), ("request_timeout", &self.request_timeout)];
        for (name, said) in of_requests {
            if let (EndpointKind::Queue, Some(said)) = (kind, said) {
                let message =
                    format!("`{name}` requires kind = \"load_balanced\": a queue takes no requests");
                return mistake(said.span(), message);
            }
        }
        let defaults = ResourceConfig::new("defaults");
        let (workers_min, workers_max) = match &self.workers {
            Some(said) => workers_of(said)?,
            None => (defaults.workers_min, defaults.workers_max),
        };
        let number = |said: &Option<Spanned<u32>>, name, most, default| match said {
            Some(said) => within(said, name, most),
            None => Ok(default),
        };
        let optional = |said: &Option<Spanned<u32>>, name, most| {
            said.as_ref().map(|said| within(said, name, most)).transpose()
        };
        let (idle, execution) = (defaults.idle_timeout, defaults.execution_timeout);
        let (most_idle, most_execution) =
            (ResourceConfig::MAX_IDLE_TIMEOUT, ResourceConfig::MAX_EXECUTION_TIMEOUT);
        let concurrency = kind.default_concurrency();
        let compute = self.compute()?;
        Ok(WorkerType {
            name,
            kind,
            vram_gib: self.memory_of(&compute)?,
            compute,
            workers_min,
            workers_max,
            idle_timeout_seconds: number(&self.idle_timeout, "idle_timeout", most_idle, idle)?,
            execution_timeout_seconds: number(
                &self.execution_timeout,
                "execution_timeout",
                most_execution,
                execution,
            )?,
            start_timeout_seconds: optional(
                &self.start_timeout,
                "start_timeout",
                ResourceConfig::MAX_START_TIMEOUT,
            )?,
            max_concurrency: number(
                &self.max_concurrency,
                "max_concurrency",
                ResourceConfig::MAX_CONCURRENCY,
                concurrency,
            )?,
            scaler: match &self.scaler {
                Some(said) => scaler_of(said)?,
                None => kind.default_scaler(),
            },
            buffer: self.buffer.as_ref().map(buffer_of).transpose()?.unwrap_or(0),
            lifetime: Default::default(),
            data_centers: Vec::new(),
            disk_gib: optional(&self.disk_gib, "disk_gib", ResourceConfig::MAX_DISK)?,
            shm_mib: optional(&self.shm_mib, "shm_mib", ResourceConfig::MAX_SHM)?,
            http: None,
            max_body_mib: optional(&self.max_body_mib, "max_body_mib", ResourceConfig::MAX_BODY_MIB)?,
            request_timeout_seconds: optional(
                &self.request_timeout,
                "request_timeout",
                ResourceConfig::MAX_REQUEST_TIMEOUT,
            )?,
            model: None,
        })
    }

    /// GB of memory that a worker needs on each of these GPUs.
    fn memory_of(&self, compute: &ComputeEntry) -> Result<Option<u32>, Mistake> {
        let Some(said) = &self.vram_gib else { return Ok(None) };
        let Some(has) = compute.vram_gb() else { return mistake(said.span(), "`vram_gib` requires `gpu`") };
        within(said, "vram_gib", has).map(Some)
    }

    fn compute(&self) -> Result<ComputeEntry, Mistake> {
        match (&self.cpu, &self.gpu, &self.gpu_count) {
            (_, None, Some(count)) => mistake(count.span(), "`gpu_count` requires `gpu`"),
            (Some(_), Some(gpu), _) => {
                mistake(gpu.span(), "a worker type has either `cpu` or `gpu`, not both")
            }
            (None, Some(gpu), count) => {
                let count = match count {
                    Some(count) => within(count, "gpu_count", ResourceConfig::MAX_GPUS)?,
                    None => 1,
                };
                let id = gpu.get_ref();
                match (GpuPool::from_id(id), GpuType::from_id(id)) {
                    (Some(pool), _) => Ok(ComputeEntry::Gpu { pools: vec![pool], types: Vec::new(), count }),
                    (None, Some(gpu)) => Ok(ComputeEntry::Gpu { pools: Vec::new(), types: vec![gpu], count }),
                    (None, None) => {
                        let pools = GpuPool::ALL.iter().map(|pool| pool.id());
                        let near = nearest(id, pools.chain(GpuType::ALL.iter().map(|gpu| gpu.id())));
                        mistake(gpu.span(), format!("`{id}` is not a GPU pool or type{near}"))
                    }
                }
            }
            (Some(cpu), None, None) => match CpuInstance::from_id(cpu.get_ref()) {
                Some(instance) => Ok(ComputeEntry::Cpu { instances: vec![instance] }),
                None => {
                    let id = cpu.get_ref();
                    let near = nearest(id, CpuInstance::ALL.iter().map(|instance| instance.id()));
                    mistake(cpu.span(), format!("`{id}` is not a CPU instance{near}"))
                }
            },
            (None, None, None) => Ok(ComputeEntry::Cpu { instances: vec![DEFAULT_CPU] }),
        }
    }
}

fn check_name(name: &Spanned<String>) -> Result<(), Mistake> {
    let said = name.get_ref();
    if !ResourceConfig::is_name(said) {
        let message = format!(
            "`{said}` is not a valid name; expected a letter, then letters, digits, `_` or `-`, at most 63 in all"
        );
        return mistake(name.span(), message);
    }
    if TAKEN_NAMES.contains(&said.as_str()) {
        return mistake(name.span(), format!("`{said}` is a path of the platform; choose another name"));
    }
    Ok(())
}

/// The image's complete name.
fn image_of(said: &Spanned<String>) -> Result<String, Mistake> {
    match reference(said.get_ref()) {
        Ok(reference) => Ok(reference.whole()),
        Err(_) => mistake(
            said.span(),
            format!(
                "`{}` is not the name of an image; expected one such as \"ghcr.io/me/worker:1\" or \
                 \"ghcr.io/me/worker@sha256:…\"",
                said.get_ref()
            ),
        ),
    }
}

/// What replaces the image's entry point.
fn entrypoint_of(said: Option<&Spanned<Vec<String>>>) -> Result<Vec<String>, Mistake> {
    let Some(said) = said else { return Ok(Vec::new()) };
    program_of(said).map(|_| said.get_ref().clone())
}

fn arguments_of(said: &Spanned<Vec<String>>) -> Result<Vec<String>, Mistake> {
    if said.get_ref().iter().any(|word| word.contains('\0')) {
        return mistake(said.span(), "`args` contains a NUL character");
    }
    Ok(said.get_ref().clone())
}

/// A program, checked, and its arguments.
fn program_of(said: &Spanned<Vec<String>>) -> Result<(String, Vec<String>), Mistake> {
    match said.get_ref().split_first() {
        Some((program, arguments)) if !program.is_empty() => {
            if said.get_ref().iter().any(|word| word.contains('\0')) {
                return mistake(said.span(), "`command` contains a NUL character");
            }
            Ok((program.clone(), arguments.to_vec()))
        }
        _ => mistake(
            said.span(),
            "`command` is empty; expected a program, such as [\"python3\", \"-u\", \"worker.py\"]",
        ),
    }
}

pub(super) fn within(said: &Spanned<u32>, name: &str, most: u32) -> Result<u32, Mistake> {
    match *said.get_ref() {
        number if (1..=most).contains(&number) => Ok(number),
        number => mistake(said.span(), format!("`{name}` is {number}; expected 1 to {most}")),
    }
}

pub(super) fn buffer_of(said: &Spanned<u32>) -> Result<u32, Mistake> {
    match *said.get_ref() {
        number if number <= ResourceConfig::MAX_WORKERS => Ok(number),
        number => {
            let most = ResourceConfig::MAX_WORKERS;
            mistake(said.span(), format!("`buffer` is {number}; expected 0 to {most}"))
        }
    }
}

pub(super) fn workers_of(said: &Spanned<String>) -> Result<(u32, u32), Mistake> {
    let text = said.get_ref();
    let range = text
        .split_once("..=")
        .and_then(|(min, max)| Some((min.trim().parse::<u32>().ok()?, max.trim().parse::<u32>().ok()?)));
    match range {
        None => {
            mistake(said.span(), format!("`workers` is `{text}`; expected \"MIN..=MAX\", such as \"0..=3\""))
        }
        Some((min, max)) if min > max => {
            mistake(said.span(), format!("`workers` is `{text}`; the minimum is greater than the maximum"))
        }
        Some((_, max)) if !(1..=ResourceConfig::MAX_WORKERS).contains(&max) => {
            let most = ResourceConfig::MAX_WORKERS;
            mistake(said.span(), format!("`workers` is `{text}`; the maximum must be 1 to {most}"))
        }
        Some(range) => Ok(range),
    }
}

pub(super) fn scaler_of(said: &Spanned<WrittenScaler>) -> Result<ScalerEntry, Mistake> {
    match *said.get_ref() {
        WrittenScaler::QueueDelay(0) => mistake(said.span(), "`queue_delay` is 0; expected 1 second or more"),
        WrittenScaler::RequestCount(0) => mistake(said.span(), "`request_count` is 0; expected 1 or more"),
        WrittenScaler::QueueDelay(seconds) => Ok(ScalerEntry::QueueDelay { seconds }),
        WrittenScaler::RequestCount(requests) => Ok(ScalerEntry::RequestCount { requests }),
    }
}

type Variables = BTreeMap<Spanned<String>, Spanned<String>>;

/// The variables, including the health path. Messages never repeat a value: it may be a secret.
fn environment_of(
    written: Variables,
    kind: EndpointKind,
) -> Result<(Vec<(String, String)>, String), Mistake> {
    let mut health_path = "/ping".to_owned();
    let mut environment = Vec::new();
    for (name, value) in written {
        let (at, name) = (name.span(), name.into_inner());
        if name.is_empty() || name.contains(['=', '\0']) || value.get_ref().contains('\0') {
            return mistake(
                at,
                format!(
                    "`{name}` cannot be set: its name must not contain `=`, and neither name nor value may contain NUL"
                ),
            );
        }
        if CommandWorker::RESERVED.contains(&name.as_str()) || name.starts_with("FLASH_") {
            return mistake(at, format!("`{name}` is set by the platform; remove it"));
        }
        if name == CommandWorker::HEALTH_CHECK_PATH && kind == EndpointKind::LoadBalanced {
            if http::uri::PathAndQuery::try_from(value.get_ref().as_str()).is_err()
                || !value.get_ref().starts_with('/')
            {
                return mistake(
                    value.span(),
                    format!("`{name}` is not a path; expected one that begins with `/`, such as `/ping`"),
                );
            }
            health_path.clone_from(value.get_ref());
        }
        environment.push((name, value.into_inner()));
    }
    Ok((environment, health_path))
}

/// Why this command conflicts with the app; `None` if it does not.
pub(super) fn clash(command: &CommandWorker, manifest: &Manifest) -> Option<String> {
    let name = &command.worker_type.name;
    if let Some(function) = manifest.functions.iter().find(|function| function.worker == *name) {
        let place = function.place();
        return Some(format!("the app already has a worker type `{name}` ({place}); choose another name"));
    }
    if let Some((_, router)) = manifest.routers().find(|(worker, _)| worker.name == *name) {
        let place = router.place();
        return Some(format!("the app already has a worker type `{name}` ({place}); choose another name"));
    }
    if command.worker_type.kind == EndpointKind::Queue {
        return None;
    }
    // The command serves all paths below its name, so the app must not have any there.
    let function = manifest.functions.iter().find(|function| match &function.route {
        Some(route) => route.path.trim_start_matches('/').split('/').next() == Some(name),
        None => function.module.split('/').next() == Some(name),
    });
    let below = |prefix: &str| prefix.trim_start_matches('/').split('/').next() == Some(name);
    let router = || manifest.routers().find(|(_, router)| router.prefix.as_deref().is_some_and(below));
    let place =
        function.map(|function| function.place()).or_else(|| router().map(|(_, router)| router.place()))?;
    Some(format!("the app already serves paths below `/{name}` ({place}); choose another name"))
}

/// Files of the project that the command lines name, with their times: saving one makes a new version. Files used
/// by those files are not known.
pub(crate) fn files_of(commands: &[CommandWorker], directory: &Path) -> Vec<(PathBuf, SystemTime)> {
    let words = commands.iter().flat_map(|command| match &command.program {
        Program::Command { program, arguments } => {
            std::iter::once(program.clone()).chain(arguments.iter().map(PathBuf::from)).collect()
        }
        // An image has its own files.
        Program::Image { .. } => Vec::new(),
    });
    words
        .filter_map(|word| {
            let path = directory.join(word);
            let metadata =
                path.metadata().ok().filter(|found| found.is_file() && path.starts_with(directory))?;
            Some((path, metadata.modified().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests;
