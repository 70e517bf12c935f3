//! `[environments.NAME.workers.WORKER]` in `flash.toml`: settings of a worker type that differ in an environment.
//!
//! The limits are those of `#[remote]`. Values are checked here and applied later to the app's manifest.
use flash_protocol::{
    CpuInstance, DataCenter, GpuPool, GpuType, Lifetime, ResourceConfig,
    manifest::{ComputeEntry, ScalerEntry, WorkerType},
};
use flash_text::nearest;
use serde::Deserialize;
use toml::Spanned;

use super::command_worker::{Mistake, WrittenScaler, buffer_of, mistake, scaler_of, within, workers_of};

/// The table as written. Unknown keys are errors.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Written {
    /// `MIN..=MAX`, as in `#[remote]`.
    workers: Option<Spanned<String>>,
    workers_min: Option<Spanned<u32>>,
    workers_max: Option<Spanned<u32>>,
    idle_timeout: Option<Spanned<u32>>,
    execution_timeout: Option<Spanned<u32>>,
    start_timeout: Option<Spanned<u32>>,
    max_concurrency: Option<Spanned<u32>>,
    scaler: Option<Spanned<WrittenScaler>>,
    buffer: Option<Spanned<u32>>,
    cpu: Option<Spanned<OneOrMore>>,
    gpu: Option<Spanned<OneOrMore>>,
    gpu_count: Option<Spanned<u32>>,
    data_centers: Option<Spanned<OneOrMore>>,
    disk_gib: Option<Spanned<u32>>,
    shm_mib: Option<Spanned<u32>>,
    vram_gib: Option<Spanned<u32>>,
}

/// A name, or a list of names. Errors point to the list, not to a name in it.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a name or a list of names")]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// The smallest and largest number of workers, if set.
type Bounds = (Option<Said<u32>>, Option<Said<u32>>);

impl OneOrMore {
    fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::More(names) => names,
        }
    }
}

/// Each name as resolved by `find`, without duplicates.
fn all<T: PartialEq>(
    said: &Spanned<OneOrMore>,
    find: impl Fn(&str) -> Option<T>,
    wrong: impl Fn(&str) -> String,
) -> Result<Vec<T>, Mistake> {
    let mut found = Vec::new();
    for name in said.get_ref().names() {
        let Some(known) = find(name) else { return mistake(said.span(), wrong(name)) };
        if found.contains(&known) {
            return mistake(said.span(), format!("`{name}` is listed twice"));
        }
        found.push(known);
    }
    if found.is_empty() {
        return mistake(said.span(), "the list is empty; leave it out, or add a name");
    }
    Ok(found)
}

/// A setting and its line.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Said<T> {
    line: usize,
    value: T,
}

/// Settings that differ for a worker type, checked as far as possible without the app.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct WorkerOverrides {
    workers_min: Option<Said<u32>>,
    workers_max: Option<Said<u32>>,
    idle_timeout: Option<u32>,
    execution_timeout: Option<u32>,
    start_timeout: Option<u32>,
    pub(super) max_concurrency: Option<u32>,
    scaler: Option<ScalerEntry>,
    buffer: Option<u32>,
    /// The line of the first of these that a task cannot have.
    line: usize,
    compute: Option<ComputeEntry>,
    /// Without `gpu`: the number of the app's GPUs.
    gpu_count: Option<Said<u32>>,
    data_centers: Option<Vec<DataCenter>>,
    disk_gib: Option<u32>,
    shm_mib: Option<u32>,
    vram_gib: Option<Said<u32>>,
    /// The line of what decides which GPUs it gets.
    gpu_line: usize,
}

impl Written {
    /// Checks every setting.
    ///
    /// # Errors
    /// The first invalid setting.
    pub(super) fn check(self, line_of: &impl Fn(usize) -> usize) -> Result<WorkerOverrides, Mistake> {
        let (workers_min, workers_max) = self.scale(line_of)?;
        let number = |said: &Option<Spanned<u32>>, name, most| {
            said.as_ref().map(|said| within(said, name, most)).transpose()
        };
        let compute = self.compute()?;
        let gpu_count = match (&self.gpu_count, &compute) {
            (Some(said), Some(ComputeEntry::Cpu { .. })) => {
                return mistake(said.span(), "`gpu_count` requires `gpu`");
            }
            (Some(said), None) => {
                let value = within(said, "gpu_count", ResourceConfig::MAX_GPUS)?;
                Some(Said { line: line_of(said.span().start), value })
            }
            _ => None,
        };
        let numbers = [&self.idle_timeout, &self.max_concurrency, &self.buffer];
        let starts = numbers.into_iter().flatten().map(|said| said.span().start);
        let first = starts.chain(self.scaler.iter().map(|said| said.span().start)).min();
        let line = first.map_or(0, line_of);
        let data_centers = match &self.data_centers {
            // Anywhere, whatever the app says.
            Some(said) if said.get_ref().names().is_empty() => Some(Vec::new()),
            Some(said) => Some(all(said, DataCenter::from_id, |id| {
                let near = nearest(id, DataCenter::ALL.iter().map(|center| center.id()));
                format!("`{id}` is not a data center{near}")
            })?),
            None => None,
        };
        Ok(WorkerOverrides {
            workers_min,
            workers_max,
            idle_timeout: number(&self.idle_timeout, "idle_timeout", ResourceConfig::MAX_IDLE_TIMEOUT)?,
            execution_timeout: number(
                &self.execution_timeout,
                "execution_timeout",
                ResourceConfig::MAX_EXECUTION_TIMEOUT,
            )?,
            start_timeout: number(&self.start_timeout, "start_timeout", ResourceConfig::MAX_START_TIMEOUT)?,
            max_concurrency: number(
                &self.max_concurrency,
                "max_concurrency",
                ResourceConfig::MAX_CONCURRENCY,
            )?,
            scaler: self.scaler.as_ref().map(scaler_of).transpose()?,
            buffer: self.buffer.as_ref().map(buffer_of).transpose()?,
            line,
            compute,
            gpu_count,
            data_centers,
            disk_gib: number(&self.disk_gib, "disk_gib", ResourceConfig::MAX_DISK)?,
            shm_mib: number(&self.shm_mib, "shm_mib", ResourceConfig::MAX_SHM)?,
            vram_gib: number(&self.vram_gib, "vram_gib", ResourceConfig::MAX_VRAM)?
                .zip(self.vram_gib.as_ref())
                .map(|(value, said)| Said { line: line_of(said.span().start), value }),
            gpu_line: self.gpu.as_ref().map_or(0, |said| line_of(said.span().start)),
        })
    }

    fn scale(&self, line_of: &impl Fn(usize) -> usize) -> Result<Bounds, Mistake> {
        if let Some(said) = &self.workers {
            if let Some(double) = self.workers_min.as_ref().or(self.workers_max.as_ref()) {
                return mistake(double.span(), "`workers` already sets the minimum and the maximum");
            }
            let (min, max) = workers_of(said)?;
            let line = line_of(said.span().start);
            return Ok((Some(Said { line, value: min }), Some(Said { line, value: max })));
        }
        let most = ResourceConfig::MAX_WORKERS;
        let said = |said: &Spanned<u32>| Said { line: line_of(said.span().start), value: *said.get_ref() };
        let min = match &self.workers_min {
            Some(over) if *over.get_ref() > most => {
                let message = format!("`workers_min` is {}; expected 0 to {most}", over.get_ref());
                return mistake(over.span(), message);
            }
            min => min.as_ref().map(said),
        };
        if let Some(max) = &self.workers_max {
            within(max, "workers_max", most)?;
        }
        Ok((min, self.workers_max.as_ref().map(said)))
    }

    fn compute(&self) -> Result<Option<ComputeEntry>, Mistake> {
        match (&self.cpu, &self.gpu) {
            (None, None) => Ok(None),
            (Some(_), Some(gpu)) => mistake(gpu.span(), "a worker type has either `cpu` or `gpu`, not both"),
            (Some(cpu), None) => {
                let instances = all(cpu, CpuInstance::from_id, |id| {
                    let near = nearest(id, CpuInstance::ALL.iter().map(|instance| instance.id()));
                    format!("`{id}` is not a CPU instance{near}")
                })?;
                Ok(Some(ComputeEntry::Cpu { instances }))
            }
            (None, Some(gpu)) => {
                let count = match &self.gpu_count {
                    Some(said) => within(said, "gpu_count", ResourceConfig::MAX_GPUS)?,
                    None => 1,
                };
                gpus(gpu, count).map(Some)
            }
        }
    }
}

/// Pools and single GPU types, in the order in which they are written.
fn gpus(said: &Spanned<OneOrMore>, count: u32) -> Result<ComputeEntry, Mistake> {
    #[derive(PartialEq)]
    enum Gpu {
        Pool(GpuPool),
        Type(GpuType),
    }
    let find = |id: &str| GpuPool::from_id(id).map(Gpu::Pool).or_else(|| GpuType::from_id(id).map(Gpu::Type));
    let found = all(said, find, |id| {
        let pools = GpuPool::ALL.iter().map(|pool| pool.id());
        let near = nearest(id, pools.chain(GpuType::ALL.iter().map(|gpu| gpu.id())));
        format!("`{id}` is not a GPU pool or type{near}")
    })?;
    let (mut pools, mut types) = (Vec::new(), Vec::new());
    for gpu in found {
        match gpu {
            Gpu::Pool(pool) => pools.push(pool),
            Gpu::Type(gpu) => types.push(gpu),
        }
    }
    Ok(ComputeEntry::Gpu { pools, types, count })
}

impl WorkerOverrides {
    /// Applies the settings.
    ///
    /// # Errors
    /// Line and message, if a setting does not fit the app's.
    pub(super) fn apply(&self, worker: &mut WorkerType) -> Result<(), (usize, String)> {
        let min = self.workers_min.map_or(worker.workers_min, |said| said.value);
        let max = self.workers_max.map_or(worker.workers_max, |said| said.value);
        if min > max {
            let line = self.workers_min.or(self.workers_max).map_or(0, |said| said.line);
            let name = &worker.name;
            return Err((
                line,
                format!(
                    "`{name}` would have {min} to {max} workers; the minimum is greater than the maximum"
                ),
            ));
        }
        if worker.lifetime == Lifetime::OneJob {
            self.fits_task(&worker.name, min)?;
        }
        (worker.workers_min, worker.workers_max) = (min, max);
        set(&mut worker.idle_timeout_seconds, &self.idle_timeout);
        set(&mut worker.execution_timeout_seconds, &self.execution_timeout);
        worker.start_timeout_seconds = self.start_timeout.or(worker.start_timeout_seconds);
        set(&mut worker.max_concurrency, &self.max_concurrency);
        set(&mut worker.scaler, &self.scaler);
        set(&mut worker.buffer, &self.buffer);
        set(&mut worker.data_centers, &self.data_centers);
        set(&mut worker.compute, &self.compute);
        worker.disk_gib = self.disk_gib.or(worker.disk_gib);
        worker.shm_mib = self.shm_mib.or(worker.shm_mib);
        if let Some(said) = self.gpu_count {
            let ComputeEntry::Gpu { count, .. } = &mut worker.compute else {
                let name = &worker.name;
                return Err((said.line, format!("`{name}` runs on a CPU; `gpu_count` requires `gpu`")));
            };
            *count = said.value;
        }
        self.fits_gpus(worker)
    }

    /// Each GPU that a worker may get has the memory that it needs.
    fn fits_gpus(&self, worker: &mut WorkerType) -> Result<(), (usize, String)> {
        let (name, line) = (&worker.name, self.vram_gib.map_or(self.gpu_line, |said| said.line));
        match (self.vram_gib, worker.compute.vram_gb()) {
            (Some(_), None) => {
                return Err((line, format!("`{name}` runs on a CPU; `vram_gib` requires `gpu`")));
            }
            // What the app says of its GPU does not count on a CPU.
            (None, None) => worker.vram_gib = None,
            (said, Some(_)) => worker.vram_gib = said.map(|said| said.value).or(worker.vram_gib),
        }
        match (worker.vram_gib, worker.compute.vram_gb()) {
            (Some(needs), Some(has)) if needs > has => {
                let gpu = worker.compute.label();
                Err((
                    line,
                    format!("`{name}` needs {needs} GB on each GPU (`vram_gib`), but {gpu} has {has}"),
                ))
            }
            _ => Ok(()),
        }
    }
}

impl WorkerOverrides {
    /// A task has a fresh worker for each job, so a part of the settings has no meaning.
    fn fits_task(&self, name: &str, min: u32) -> Result<(), (usize, String)> {
        if min > 0 {
            let line = self.workers_min.map_or(0, |said| said.line);
            return Err((
                line,
                format!("`{name}` is a task, which starts its workers when jobs come: the minimum is 0"),
            ));
        }
        let wrong = [
            ("idle_timeout", self.idle_timeout.is_some()),
            ("max_concurrency", self.max_concurrency.is_some()),
            ("scaler", self.scaler.is_some()),
            ("buffer", self.buffer.is_some()),
        ];
        match wrong.into_iter().find(|(_, is_set)| *is_set) {
            Some((key, _)) => Err((
                self.line,
                format!("`{name}` is a task, with a fresh worker for each job: remove `{key}`"),
            )),
            None => Ok(()),
        }
    }
}

fn set<T: Clone>(place: &mut T, said: &Option<T>) {
    if let Some(said) = said {
        place.clone_from(said);
    }
}
