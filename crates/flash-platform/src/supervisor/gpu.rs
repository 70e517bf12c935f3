//! The GPUs of this machine, and which worker gets which.
//!
//! `Allocator` is pure. GPUs are found through the driver: `nvidia-smi` knows slices (MIG) and WSL; without it, the
//! driver's files list the devices.
use std::{path::Path, sync::Arc, time::Duration};

use parking_lot::Mutex;

/// The environment variable with the GPUs of a process.
pub(super) const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";
/// Makes indices mean the same everywhere; without it, CUDA puts the fastest GPU first.
const ORDER: (&str, &str) = ("CUDA_DEVICE_ORDER", "PCI_BUS_ID");
/// How long `nvidia-smi` may take; it wakes drivers that sleep.
const QUESTION_LIMIT: Duration = Duration::from_secs(10);

/// Whether a driver is loaded. Cheap.
pub(super) fn has_driver() -> bool {
    ["/dev/nvidiactl", "/dev/dxg"].iter().any(|path| Path::new(path).exists())
}

/// The GPUs that workers may use, in the format of [`VISIBLE`] and the driver's order.
///
/// `allowed` is what `flash` itself was started with: workers get no others.
pub(super) async fn find(allowed: Option<&str>) -> Vec<String> {
    if !has_driver() {
        return Vec::new();
    }
    let found = match ask_driver().await {
        found if found.is_empty() => {
            of_driver_files(Path::new("/proc/driver/nvidia/gpus"), Path::new("/dev"))
        }
        found => found,
    };
    match allowed {
        Some(allowed) if !found.is_empty() => listed(allowed),
        _ => found,
    }
}

async fn ask_driver() -> Vec<String> {
    let mut command = tokio::process::Command::new("nvidia-smi");
    command.arg("-L").stdin(std::process::Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(QUESTION_LIMIT, command.output()).await {
        Ok(Ok(output)) if output.status.success() => of_list(&String::from_utf8_lossy(&output.stdout)),
        // Not installed, too slow or broken: use the files.
        _ => Vec::new(),
    }
}

/// The answer of `nvidia-smi -L`: a line per GPU, below it a line per slice of it. A GPU with slices can
/// only be used by slice.
fn of_list(list: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for line in list.lines() {
        let Some((_, rest)) = line.split_once("UUID: ") else { continue };
        let id = rest.trim_end().trim_end_matches(')').to_owned();
        let is_first_slice =
            id.starts_with("MIG-") && found.last().is_some_and(|last| last.starts_with("GPU-"));
        if is_first_slice {
            found.pop();
        }
        found.push(id);
    }
    found
}

/// The driver's files: a directory per GPU of the machine, of which a container may have fewer devices.
fn of_driver_files(gpus: &Path, devices: &Path) -> Vec<String> {
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
    let id = |(index, text): (usize, String)| match field(&text, "GPU UUID") {
        Some(id) if id.starts_with("GPU-") && !id.contains('?') => id.to_owned(),
        _ => index.to_string(),
    };
    usable.enumerate().map(id).collect()
}

fn field<'a>(information: &'a str, name: &str) -> Option<&'a str> {
    information.lines().find_map(|line| Some(line.strip_prefix(name)?.trim_start().strip_prefix(':')?.trim()))
}

/// The GPUs in a value of [`VISIBLE`]. As in CUDA, everything from the first invalid entry on is ignored.
fn listed(value: &str) -> Vec<String> {
    let is_device = |entry: &&str| {
        entry.parse::<u32>().is_ok() || ["GPU-", "MIG-"].iter().any(|kind| entry.starts_with(kind))
    };
    value.split(',').map(str::trim).take_while(is_device).map(str::to_owned).collect()
}

/// Allocates GPUs, the least used first: exclusively while there are enough, then shared.
#[derive(Debug)]
struct Allocator {
    /// Workers on each.
    used: Vec<u32>,
}

/// The GPUs of a worker.
#[derive(Debug, PartialEq, Eq)]
struct Allocation {
    /// Indices in the list; fewer than requested if there are not enough.
    gpus: Vec<usize>,
    /// Whether another worker also has one of them.
    is_shared: bool,
}

impl Allocator {
    fn allocate(&mut self, count: usize) -> Allocation {
        let mut by_use: Vec<usize> = (0..self.used.len()).collect();
        by_use.sort_by_key(|gpu| self.used[*gpu]);
        by_use.truncate(count);
        by_use.sort_unstable();
        let is_shared = by_use.iter().any(|gpu| self.used[*gpu] > 0);
        by_use.iter().for_each(|gpu| self.used[*gpu] += 1);
        Allocation { gpus: by_use, is_shared }
    }

    fn release(&mut self, gpus: &[usize]) {
        gpus.iter().for_each(|gpu| self.used[*gpu] = self.used[*gpu].saturating_sub(1));
    }
}

/// The GPUs of this machine and who has them. Cheap to share.
#[derive(Debug, Clone)]
pub(super) struct Gpus {
    ids: Arc<Vec<String>>,
    allocator: Arc<Mutex<Allocator>>,
}

/// GPUs of one worker, given back when dropped.
#[derive(Debug)]
pub(super) struct Lease {
    gpus: Vec<usize>,
    pub is_shared: bool,
    of: Gpus,
}

impl Gpus {
    pub(super) fn new(ids: Vec<String>) -> Self {
        let allocator = Arc::new(Mutex::new(Allocator { used: vec![0; ids.len()] }));
        Self { ids: Arc::new(ids), allocator }
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// GPUs for a worker; `None` on a machine without.
    pub(super) fn lease(&self, count: u32) -> Option<Lease> {
        if self.ids.is_empty() {
            return None;
        }
        let mut allocator = self.allocator.lock();
        let Allocation { gpus, is_shared } = allocator.allocate(count as usize);
        Some(Lease { gpus, is_shared, of: self.clone() })
    }
}

impl Lease {
    /// How many.
    pub(super) fn len(&self) -> usize {
        self.gpus.len()
    }

    /// Their ids, as the driver has them.
    pub(super) fn ids(&self) -> Vec<String> {
        self.gpus.iter().map(|gpu| self.of.ids[*gpu].clone()).collect()
    }

    /// The variables for the worker.
    pub(super) fn environment(&self) -> Vec<(String, String)> {
        let ids = self.ids();
        let by_index = ids.iter().any(|id| id.parse::<u32>().is_ok());
        let mut environment = vec![(VISIBLE.to_owned(), ids.join(","))];
        // If the user set an order, it applies to the indices that they set.
        if by_index && std::env::var_os(ORDER.0).is_none() && std::env::var_os(VISIBLE).is_none() {
            environment.push((ORDER.0.to_owned(), ORDER.1.to_owned()));
        }
        environment
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.of.allocator.lock().release(&self.gpus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allocation(gpus: &[usize], is_shared: bool) -> Allocation {
        Allocation { gpus: gpus.to_vec(), is_shared }
    }

    #[test]
    fn each_worker_has_gpus_of_its_own_while_there_are_enough() {
        let mut allocator = Allocator { used: vec![0; 4] };
        assert_eq!(allocator.allocate(2), allocation(&[0, 1], false));
        assert_eq!(allocator.allocate(1), allocation(&[2], false));
        allocator.release(&[0, 1]);
        assert_eq!(allocator.allocate(1), allocation(&[0], false));
        assert_eq!(allocator.allocate(2), allocation(&[1, 3], false));
    }

    #[test]
    fn more_workers_than_gpus_share_them_evenly() {
        let mut allocator = Allocator { used: vec![0; 2] };
        let given: Vec<_> = (0..6).map(|_| allocator.allocate(1)).collect();
        let expected = [(0, false), (1, false), (0, true), (1, true), (0, true), (1, true)];
        assert_eq!(given, expected.map(|(gpu, is_shared)| allocation(&[gpu], is_shared)));
        assert_eq!(allocator.used, [3, 3]);
    }

    #[test]
    fn who_asks_for_more_than_there_are_gets_all() {
        let mut allocator = Allocator { used: vec![0; 2] };
        assert_eq!(allocator.allocate(8), allocation(&[0, 1], false));
        assert_eq!(allocator.allocate(8), allocation(&[0, 1], true));
    }

    #[test]
    fn a_lease_tells_its_gpus_and_gives_them_back() {
        let gpus = Gpus::new(vec!["GPU-a".to_owned(), "GPU-b".to_owned()]);
        let first = gpus.lease(1).unwrap();
        let second = gpus.lease(1).unwrap();
        assert_eq!(second.environment(), [("CUDA_VISIBLE_DEVICES".to_owned(), "GPU-b".to_owned())]);
        drop(first);
        let third = gpus.lease(1).unwrap();
        assert_eq!((third.environment()[0].1.as_str(), third.is_shared), ("GPU-a", false));
        assert!(Gpus::new(Vec::new()).lease(1).is_none());
    }

    #[test]
    fn the_drivers_list_names_gpus_and_slices() {
        let list = "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aa)\n\
                    GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bb)\n  \
                      MIG 3g.20gb     Device  0: (UUID: MIG-b0)\n  \
                      MIG 3g.20gb     Device  1: (UUID: MIG-b1)\n\
                    GPU 2: NVIDIA A100-SXM4-40GB (UUID: GPU-cc)\n";
        assert_eq!(of_list(list), ["GPU-aa", "MIG-b0", "MIG-b1", "GPU-cc"]);
        assert!(of_list("No devices found.\n").is_empty());
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
        assert_eq!(of_driver_files(&gpus, &devices), ["GPU-bb", "GPU-cc", "2"]);
        assert!(of_driver_files(&directory.path().join("none"), &devices).is_empty());
    }

    #[test]
    fn what_flash_was_given_is_all_that_workers_get() {
        assert_eq!(listed("1, GPU-aa"), ["1", "GPU-aa"]);
        assert_eq!(listed("2,-1,0"), ["2"]);
        for none in ["", "-1", "NoDevFiles"] {
            assert!(listed(none).is_empty(), "{none}");
        }
    }
}
