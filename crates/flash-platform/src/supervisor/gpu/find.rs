//! Which GPUs there are, and how full they are: asks the driver.
//!
//! `nvidia-smi` knows slices (MIG), WSL and memory; without it, the driver's files list the devices, and nothing is
//! known of their memory.
use std::{path::Path, time::Duration};

use flash_protocol::catalogue::ComputeCapability;

/// The environment variable with the GPUs of a process.
pub(in crate::supervisor) const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";
/// The program of the driver.
const PROGRAM: &str = "nvidia-smi";
/// How long `nvidia-smi` may take; it wakes drivers that sleep.
const QUESTION_LIMIT: Duration = Duration::from_secs(10);
/// What it is asked of each GPU. Of the answers, those that a driver does not know say so in brackets.
const FIELDS: &str = "--query-gpu=uuid,name,memory.total,memory.used,utilization.gpu,compute_cap";

/// A GPU, or a slice of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// As in `CUDA_VISIBLE_DEVICES`.
    pub id: String,
    /// Such as `NVIDIA L4`; the ID if it is not known.
    pub name: String,
    /// MiB; `None` where the driver does not say.
    pub memory_mib: Option<u64>,
    /// What code must be compiled for.
    pub capability: Option<ComputeCapability>,
    /// The driver's own ID, where it tells how busy this is.
    device: Option<String>,
}

impl Gpu {
    /// A GPU of which this much is known.
    pub fn new(id: &str, name: &str, memory_mib: Option<u64>, capability: Option<ComputeCapability>) -> Self {
        Self { id: id.to_owned(), name: name.to_owned(), memory_mib, capability, device: None }
    }

    /// Its line in a look at all GPUs.
    pub(super) fn at_work<'a>(&self, all: &'a [Use]) -> Option<&'a Use> {
        let device = self.device.as_ref()?;
        all.iter().find(|one| one.id == *device)
    }

    /// For tests of what works with GPUs.
    #[cfg(test)]
    pub(crate) fn of_test(id: &str, memory_mib: Option<u64>) -> Self {
        let device = Some(id.to_owned());
        Self { id: id.to_owned(), name: "NVIDIA L4".to_owned(), memory_mib, capability: None, device }
    }
}

/// How busy a GPU is at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Use {
    /// The driver's ID of the GPU.
    pub id: String,
    pub used_mib: Option<u64>,
    /// Of the time of the last moments, in percent.
    pub busy_percent: Option<u64>,
}

/// Whether a driver is loaded. Cheap.
pub(in crate::supervisor) fn has_driver() -> bool {
    ["/dev/nvidiactl", "/dev/dxg"].iter().any(|path| Path::new(path).exists())
}

/// Whether there may be a GPU: drivers in virtual machines may have other device files. Cheap.
fn may_have_gpus() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    has_driver() || std::env::split_paths(&path).any(|directory| directory.join(PROGRAM).is_file())
}

/// The GPUs that workers may use, in the driver's order.
///
/// `allowed` is what `flash` itself was started with: workers get no others.
pub(in crate::supervisor) async fn find(allowed: Option<&str>) -> Vec<Gpu> {
    if !may_have_gpus() {
        return Vec::new();
    }
    // Not installed, too slow or broken: use the files.
    let list = ask(&["-L"]).await.unwrap_or_default();
    let mut found = of_list(&list);
    match found.is_empty() {
        true => found = of_driver_files(Path::new("/proc/driver/nvidia/gpus"), Path::new("/dev")),
        false => {
            let table = ask(&[FIELDS, "--format=csv,noheader,nounits"]).await.unwrap_or_default();
            describe(&mut found, &of_table(&table));
        }
    }
    match allowed {
        Some(allowed) if !found.is_empty() => listed(allowed, &found),
        _ => found,
    }
}

/// How busy the GPUs are; empty where the driver does not say.
pub(super) async fn look() -> Vec<Use> {
    let table = ask(&[FIELDS, "--format=csv,noheader,nounits"]).await.unwrap_or_default();
    of_table(&table).into_iter().map(|row| row.at_work).collect()
}

async fn ask(arguments: &[&str]) -> Option<String> {
    let mut command = tokio::process::Command::new(PROGRAM);
    command.args(arguments).stdin(std::process::Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(QUESTION_LIMIT, command.output()).await {
        Ok(Ok(output)) if output.status.success() => {
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        _ => None,
    }
}

/// A line of the answer about all GPUs.
struct Row {
    name: String,
    total_mib: Option<u64>,
    capability: Option<ComputeCapability>,
    at_work: Use,
}

/// The answer of `nvidia-smi --query-gpu`: a line per GPU, of fields in the order in which they were asked for.
fn of_table(table: &str) -> Vec<Row> {
    let row = |line: &str| {
        let mut fields = line.split(',').map(str::trim);
        let (id, name) = (fields.next()?.to_owned(), fields.next()?.to_owned());
        let mut number = || fields.next()?.parse().ok();
        let (total_mib, used_mib, busy_percent) = (number(), number(), number());
        let capability = fields.next().and_then(|text| text.parse().ok());
        Some(Row { name, total_mib, capability, at_work: Use { id, used_mib, busy_percent } })
    };
    table.lines().filter_map(row).collect()
}

/// Adds what the table says. The memory of a slice is in its name already.
fn describe(gpus: &mut [Gpu], rows: &[Row]) {
    for gpu in gpus.iter_mut() {
        let Some(row) = rows.iter().find(|row| row.at_work.id == gpu.id) else { continue };
        gpu.name.clone_from(&row.name);
        gpu.memory_mib = row.total_mib;
        gpu.capability = row.capability;
        gpu.device = Some(gpu.id.clone());
    }
    // A slice can do what its GPU can: that is known where all can do the same.
    let mut known = rows.iter().map(|row| row.capability);
    let first = known.next().flatten().filter(|first| known.all(|other| other == Some(*first)));
    gpus.iter_mut().for_each(|gpu| gpu.capability = gpu.capability.or(first));
}

/// The answer of `nvidia-smi -L`: a line per GPU, below it a line per slice of it. A GPU with slices can
/// only be used by slice.
fn of_list(list: &str) -> Vec<Gpu> {
    let mut found: Vec<Gpu> = Vec::new();
    for line in list.lines() {
        let Some((name, rest)) = line.split_once("UUID: ") else { continue };
        let id = rest.trim_end().trim_end_matches(')').to_owned();
        let is_slice = id.starts_with("MIG-");
        if is_slice && found.last().is_some_and(|last| last.id.starts_with("GPU-")) {
            found.pop();
        }
        let name = match is_slice {
            true => name.split_whitespace().take(2).collect::<Vec<_>>().join(" "),
            false => name.split_once(": ").map_or(name, |(_, name)| name).trim_end_matches(" (").to_owned(),
        };
        let memory_mib = is_slice.then(|| memory_of_slice(&name)).flatten();
        found.push(Gpu { id, name, memory_mib, capability: None, device: None });
    }
    found
}

/// MiB of `MIG 3g.20gb`, whose GB are decimal.
fn memory_of_slice(name: &str) -> Option<u64> {
    let profile = name.split('.').nth(1)?;
    let gb: u64 = profile.split_once("gb")?.0.parse().ok()?;
    gb.checked_mul(1_000_000_000).map(|bytes| bytes >> 20)
}

/// The driver's files: a directory per GPU of the machine, of which a container may have fewer devices.
fn of_driver_files(gpus: &Path, devices: &Path) -> Vec<Gpu> {
    let Ok(entries) = std::fs::read_dir(gpus) else { return Vec::new() };
    let mut directories: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    // By address on the bus: the order of indices.
    directories.sort();
    let informations =
        directories.iter().filter_map(|gpu| std::fs::read_to_string(gpu.join("information")).ok());
    let usable = informations.filter(|text| {
        let minor = field(text, "Device Minor").unwrap_or_default();
        devices.join(format!("nvidia{minor}")).exists()
    });
    // The driver hides IDs from some users: `GPU-????????-…`. Then the index is used.
    let gpu = |(index, text): (usize, String)| {
        let id = match field(&text, "GPU UUID") {
            Some(id) if id.starts_with("GPU-") && !id.contains('?') => id.to_owned(),
            _ => index.to_string(),
        };
        let name = field(&text, "Model").unwrap_or(&id).to_owned();
        Gpu::new(&id, &name, None, None)
    };
    usable.enumerate().map(gpu).collect()
}

fn field<'a>(information: &'a str, name: &str) -> Option<&'a str> {
    information.lines().find_map(|line| Some(line.strip_prefix(name)?.trim_start().strip_prefix(':')?.trim()))
}

/// The GPUs in a value of [`VISIBLE`]. As in CUDA, everything from the first invalid entry on is ignored.
fn listed(value: &str, found: &[Gpu]) -> Vec<Gpu> {
    let is_device = |entry: &&str| {
        entry.parse::<u32>().is_ok() || ["GPU-", "MIG-"].iter().any(|kind| entry.starts_with(kind))
    };
    // CUDA's order is not the driver's where GPUs differ.
    let are_alike = found.windows(2).all(|pair| pair[0].name == pair[1].name);
    let known = |entry: &str| match entry.parse::<usize>() {
        Ok(index) => found.get(index).filter(|_| are_alike),
        // The beginning of an ID will do.
        Err(_) => found.iter().find(|gpu| gpu.id.starts_with(entry)),
    };
    let gpu = |entry: &str| match known(entry) {
        Some(gpu) => Gpu { id: entry.to_owned(), ..gpu.clone() },
        None => Gpu::new(entry, entry, None, None),
    };
    value.split(',').map(str::trim).take_while(is_device).map(gpu).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(gpus: &[Gpu]) -> Vec<&str> {
        gpus.iter().map(|gpu| gpu.id.as_str()).collect()
    }

    #[test]
    fn the_drivers_list_names_gpus_and_slices() {
        let list = "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aa)\n\
                    GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bb)\n  \
                      MIG 3g.20gb     Device  0: (UUID: MIG-b0)\n  \
                      MIG 3g.20gb     Device  1: (UUID: MIG-b1)\n\
                    GPU 2: NVIDIA A100-SXM4-40GB (UUID: GPU-cc)\n";
        assert_eq!(ids(&of_list(list)), ["GPU-aa", "MIG-b0", "MIG-b1", "GPU-cc"]);
        assert!(of_list("No devices found.\n").is_empty());
    }

    #[test]
    fn the_drivers_table_says_name_memory_and_capability() {
        let list = "GPU 0: NVIDIA GeForce RTX 4090 (UUID: GPU-aa)\n\
                    GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bb)\n  \
                      MIG 3g.20gb     Device  0: (UUID: MIG-b0)\n\
                    GPU 2: NVIDIA Unknown (UUID: GPU-cc)\n";
        let table = "GPU-aa, NVIDIA GeForce RTX 4090, 24564, 411, 17, 8.9\n\
                     GPU-bb, NVIDIA A100-SXM4-40GB, 40960, 30, [N/A], 8.0\n\
                     GPU-cc, NVIDIA Unknown, [N/A], [N/A], [Not Supported], [N/A]\n";
        let mut found = of_list(list);
        describe(&mut found, &of_table(table));
        let told: Vec<_> = found
            .iter()
            .map(|gpu| (&*gpu.name, gpu.memory_mib, gpu.capability.map(|known| known.to_string())))
            .collect();
        let expected = [
            ("NVIDIA GeForce RTX 4090", Some(24_564), Some("8.9".to_owned())),
            ("MIG 3g.20gb", Some(19_073), None),
            ("NVIDIA Unknown", None, None),
        ];
        assert_eq!(told, expected);
        let at_work: Vec<_> =
            of_table(table).into_iter().map(|row| (row.at_work.used_mib, row.at_work.busy_percent)).collect();
        assert_eq!(at_work, [(Some(411), Some(17)), (Some(30), None), (None, None)]);
        assert!(of_table("Field \"compute_cap\" is not a valid field to query.\n").is_empty());
    }

    #[test]
    fn the_drivers_files_name_the_gpus_that_have_a_device_here() {
        let directory = tempfile::TempDir::new().unwrap();
        let (gpus, devices) = (directory.path().join("gpus"), directory.path().join("dev"));
        std::fs::create_dir_all(&devices).unwrap();
        let information = |id: &str, minor: u32| {
            format!("Model: \t\t NVIDIA L4\nIRQ:   \t\t 101\nGPU UUID: \t {id}\nDevice Minor: \t {minor}\n")
        };
        for (bus, id, minor) in [
            ("0000:81:00.0", "GPU-cc", 1),
            ("0000:01:00.0", "GPU-aa", 2),
            ("0000:41:00.0", "GPU-bb", 0),
            ("0000:a1:00.0", "GPU-????????-????", 3),
        ] {
            std::fs::create_dir_all(gpus.join(bus)).unwrap();
            std::fs::write(gpus.join(bus).join("information"), information(id, minor)).unwrap();
        }
        for minor in [0, 1, 3] {
            std::fs::write(devices.join(format!("nvidia{minor}")), "").unwrap();
        }
        let found = of_driver_files(&gpus, &devices);
        assert_eq!(ids(&found), ["GPU-bb", "GPU-cc", "2"]);
        assert_eq!(found[0].name, "NVIDIA L4");
        assert!(of_driver_files(&directory.path().join("none"), &devices).is_empty());
    }

    #[test]
    fn what_flash_was_given_is_all_that_workers_get() {
        let ids_of = |value, found: &[Gpu]| ids(&listed(value, found)).join(" ");
        assert_eq!(ids_of("1, GPU-aa", &[]), "1 GPU-aa");
        assert_eq!(ids_of("2,-1,0", &[]), "2");
        for none in ["", "-1", "NoDevFiles"] {
            assert!(ids_of(none, &[]).is_empty(), "{none}");
        }
    }

    #[test]
    fn what_is_known_of_a_gpu_that_flash_was_given_stays_known() {
        let gpu = |id: &str, name: &str, mib| Gpu { name: name.to_owned(), ..Gpu::of_test(id, Some(mib)) };
        let alike = [gpu("GPU-aa", "L4", 23_034), gpu("GPU-bb", "L4", 23_034)];
        let memory = |value, found: &[Gpu]| listed(value, found)[0].memory_mib;
        assert_eq!(memory("1", &alike), Some(23_034));
        assert_eq!(memory("GPU-b", &alike), Some(23_034));
        // The first of CUDA's may be the second of the driver's.
        let other = [gpu("GPU-aa", "L4", 23_034), gpu("GPU-bb", "A40", 46_068)];
        assert_eq!(memory("0", &other), None);
        assert_eq!(memory("GPU-bb", &other), Some(46_068));
    }
}
