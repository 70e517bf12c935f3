//! Gives GPUs to workers, lets those wait for which no memory is free, and takes them back.
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use flash_protocol::GpuStatus;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use super::{
    Demand, Gpu, VISIBLE,
    allocation::{Allocator, Decision, Shares, gib},
    find::{self, Use},
};

/// Makes indices mean the same everywhere; without it, CUDA puts the fastest GPU first.
const ORDER: (&str, &str) = ("CUDA_DEVICE_ORDER", "PCI_BUS_ID");
/// How often a waiting worker looks again: other programs free memory without a word.
const BETWEEN_LOOKS: Duration = Duration::from_secs(2);
/// How long a look at the driver holds, unless a worker ends before.
const LOOK_HOLDS: Duration = Duration::from_secs(1);

type Looking = Pin<Box<dyn Future<Output = Vec<Use>> + Send>>;
/// Asks the driver how busy its GPUs are.
type Look = Arc<dyn Fn() -> Looking + Send + Sync>;

/// The GPUs of this machine and who has them. Cheap to share.
#[derive(Clone)]
pub(in crate::supervisor) struct Gpus(Arc<Inner>);

struct Inner {
    gpus: Vec<Gpu>,
    allocator: Mutex<Allocator>,
    /// A worker gave its GPUs back.
    freed: Notify,
    /// How often that happened.
    releases: AtomicU64,
    look: Look,
    /// The last look. Who decides holds it, so that workers decide one after the other.
    looked: tokio::sync::Mutex<Option<Looked>>,
}

struct Looked {
    at: Instant,
    releases: u64,
    all: Vec<Use>,
}

/// GPUs of one worker, given back when dropped.
pub(crate) struct Lease {
    shares: Shares,
    pub(in crate::supervisor) is_shared: bool,
    of: Gpus,
}

impl Gpus {
    pub(in crate::supervisor) fn new(gpus: Vec<Gpu>) -> Self {
        Self::looking(gpus, Arc::new(|| Box::pin(find::look())))
    }

    fn looking(gpus: Vec<Gpu>, look: Look) -> Self {
        Self(Arc::new(Inner {
            allocator: Mutex::new(Allocator::new(&gpus)),
            gpus,
            freed: Notify::new(),
            releases: AtomicU64::new(0),
            look,
            looked: tokio::sync::Mutex::default(),
        }))
    }

    pub(in crate::supervisor) fn len(&self) -> usize {
        self.0.gpus.len()
    }

    /// GPUs for a worker; `None` on a machine without. While its memory is not free, it waits, and `on_wait` is told
    /// once why. Dropping the future ends that.
    ///
    /// # Errors
    /// If no GPU here has as much memory as it needs.
    pub(in crate::supervisor) async fn lease(
        &self,
        demand: Demand,
        count: u32,
        on_wait: impl Fn(String) + Send,
    ) -> Result<Option<Lease>, String> {
        if self.0.gpus.is_empty() {
            return Ok(None);
        }
        let mut has_told = false;
        loop {
            let freed = self.0.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            match self.decide(demand, count as usize).await {
                Decision::Given { shares, is_shared } => {
                    return Ok(Some(Lease { shares, is_shared, of: self.clone() }));
                }
                Decision::Never { largest } => return Err(self.too_large(demand, count, largest)),
                Decision::Wait { free } => {
                    if !has_told {
                        has_told = true;
                        on_wait(self.not_free(demand, count, &free));
                    }
                }
            }
            // Whether it was freed or not, the next look tells.
            let _ = tokio::time::timeout(BETWEEN_LOOKS, freed).await;
        }
    }

    async fn decide(&self, demand: Demand, count: usize) -> Decision {
        if demand == Demand::Unknown {
            return self.0.allocator.lock().allocate(demand, count, &[]);
        }
        let mut looked = self.0.looked.lock().await;
        let used: Vec<Option<u64>> = {
            let all = self.look(&mut looked).await;
            self.0.gpus.iter().map(|gpu| gpu.at_work(all)?.used_mib).collect()
        };
        // Under the lock of the look, so that nobody decides by it in between.
        self.0.allocator.lock().allocate(demand, count, &used)
    }

    async fn look<'a>(&self, looked: &'a mut Option<Looked>) -> &'a [Use] {
        let releases = self.0.releases.load(Ordering::Acquire);
        let holds = |last: &Looked| last.releases == releases && last.at.elapsed() < LOOK_HOLDS;
        if !looked.as_ref().is_some_and(holds) {
            let all = (self.0.look)().await;
            *looked = Some(Looked { at: Instant::now(), releases, all });
        }
        looked.as_ref().map_or(&[], |last| &last.all)
    }

    /// `needs 8 GiB (`vram_gib`) of GPU memory: NVIDIA L4 (GPU-aa) has 6.0 of 22.5 GiB free, 2 workers have 15.0 GiB`
    fn not_free(&self, demand: Demand, count: u32, free: &[u64]) -> String {
        let allocator = self.0.allocator.lock();
        let of_gpu = |(index, gpu): (usize, &Gpu)| {
            let slot = &allocator.slots[index];
            let (free, total) = (free.get(index).copied().unwrap_or(0), slot.total.unwrap_or(0));
            let workers = match slot.workers {
                1 => "1 worker has".to_owned(),
                several => format!("{several} workers have"),
            };
            format!(
                "{} ({}) has {} of {} free, {workers} {}",
                gpu.name,
                gpu.id,
                gib(free),
                gib(total),
                gib(slot.given)
            )
        };
        let gpus: Vec<String> = self.0.gpus.iter().enumerate().map(of_gpu).collect();
        let each = if count > 1 { format!(" on each of {count} GPUs") } else { String::new() };
        format!("needs {demand} of GPU memory{each}: {}", gpus.join("; "))
    }

    fn too_large(&self, demand: Demand, count: u32, largest: usize) -> String {
        let gpu = &self.0.gpus[largest];
        let each = if count > 1 { format!(" on each of {count} GPUs") } else { String::new() };
        let has = gib(gpu.memory_mib.unwrap_or(0));
        format!(
            "it needs {demand} of GPU memory{each}, and the largest GPU here, {}, has {has}: lower `vram_gib`, or \
             run it where a GPU has that much",
            gpu.name
        )
    }

    /// Each GPU at this moment.
    pub(in crate::supervisor) async fn overview(&self) -> Vec<GpuStatus> {
        let mut looked = self.0.looked.lock().await;
        let all = self.look(&mut looked).await;
        let allocator = self.0.allocator.lock();
        let of_gpu = |(gpu, slot): (&Gpu, &super::allocation::Slot)| {
            let at_work = gpu.at_work(all);
            GpuStatus {
                id: gpu.id.clone(),
                name: gpu.name.clone(),
                memory_mib: gpu.memory_mib,
                used_mib: at_work.and_then(|now| now.used_mib),
                given_mib: slot.given,
                busy_percent: at_work.and_then(|now| now.busy_percent),
                workers: slot.workers,
            }
        };
        self.0.gpus.iter().zip(&allocator.slots).map(of_gpu).collect()
    }
}

impl Lease {
    /// How many.
    pub(in crate::supervisor) fn len(&self) -> usize {
        self.shares.len()
    }

    /// Their ids, as the driver has them.
    pub(in crate::supervisor) fn ids(&self) -> Vec<String> {
        self.shares.iter().map(|(gpu, _)| self.of.0.gpus[*gpu].id.clone()).collect()
    }

    /// The variables for the worker.
    pub(in crate::supervisor) fn environment(&self) -> Vec<(String, String)> {
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
        self.of.0.allocator.lock().release(&self.shares);
        self.of.0.releases.fetch_add(1, Ordering::Release);
        self.of.0.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    /// GPUs that another program uses as said.
    fn used_by_others(gpus: Vec<Gpu>) -> (Gpus, Arc<Mutex<Vec<Use>>>) {
        let used: Arc<Mutex<Vec<Use>>> = Arc::default();
        let seen = used.clone();
        let look: Look = Arc::new(move || {
            let all = seen.lock().clone();
            Box::pin(async move { all })
        });
        (Gpus::looking(gpus, look), used)
    }

    fn in_use(id: &str, mib: u64) -> Use {
        Use { id: id.to_owned(), used_mib: Some(mib), busy_percent: Some(50) }
    }

    async fn lease(gpus: &Gpus, gib: u32) -> Lease {
        gpus.lease(Demand::Said { gib }, 1, |reason| panic!("waits: {reason}")).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_lease_tells_its_gpus_and_gives_them_back() {
        let (gpus, _) = used_by_others(vec![Gpu::of_test("GPU-a", None), Gpu::of_test("GPU-b", None)]);
        let next = async || gpus.lease(Demand::Unknown, 1, |_| ()).await.unwrap().unwrap();
        let first = next().await;
        let _second = next().await;
        assert_eq!(_second.environment(), [("CUDA_VISIBLE_DEVICES".to_owned(), "GPU-b".to_owned())]);
        drop(first);
        let third = next().await;
        assert_eq!((third.environment()[0].1.as_str(), third.is_shared), ("GPU-a", false));
        let (none, _) = used_by_others(Vec::new());
        assert!(none.lease(Demand::Unknown, 1, |_| ()).await.unwrap().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_does_not_fit_waits_with_the_figures_until_another_ends() {
        let (gpus, _) = used_by_others(vec![Gpu::of_test("GPU-a", Some(24_564))]);
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(lease(&gpus, 8).await);
        }
        let (told, mut reasons) = mpsc::unbounded_channel();
        let waiting = tokio::spawn({
            let gpus = gpus.clone();
            async move { gpus.lease(Demand::Said { gib: 8 }, 1, |reason| told.send(reason).unwrap()).await }
        });
        let reason = reasons.recv().await.unwrap();
        let expected = "needs 8 GiB (`vram_gib`) of GPU memory: NVIDIA L4 (GPU-a) has 0.0 GiB of 24.0 GiB free, 3 \
                        workers have 24.0 GiB";
        assert_eq!(reason, expected);
        assert!(!waiting.is_finished());
        held.pop();
        let fourth = waiting.await.unwrap().unwrap().unwrap();
        assert_eq!((fourth.ids(), fourth.is_shared), (vec!["GPU-a".to_owned()], false));
        assert!(reasons.recv().await.is_none(), "it was told once");
    }

    #[tokio::test(start_paused = true)]
    async fn memory_of_another_program_is_waited_for() {
        let (gpus, used) = used_by_others(vec![Gpu::of_test("GPU-a", Some(24_564))]);
        *used.lock() = vec![in_use("GPU-a", 20_000)];
        let (told, mut reasons) = mpsc::unbounded_channel();
        let waiting = tokio::spawn({
            let gpus = gpus.clone();
            async move {
                gpus.lease(Demand::Estimated { mib: 9_000 }, 1, |reason| told.send(reason).unwrap()).await
            }
        });
        let reason = reasons.recv().await.unwrap();
        assert!(reason.contains("about 8.8 GiB (by its model; `vram_gib` sets it)"), "{reason}");
        assert!(reason.contains("has 4.5 GiB of 24.0 GiB free, 0 workers have 0.0 GiB"), "{reason}");
        *used.lock() = vec![in_use("GPU-a", 0)];
        assert!(waiting.await.unwrap().unwrap().is_some());
    }

    #[tokio::test]
    async fn what_no_gpu_here_has_is_refused_with_both_figures() {
        let (gpus, _) = used_by_others(vec![Gpu::of_test("GPU-a", Some(23_034))]);
        let refused = gpus.lease(Demand::Said { gib: 40 }, 1, |_| ()).await.err().unwrap();
        assert!(
            refused.contains("needs 40 GiB (`vram_gib`)") && refused.contains("NVIDIA L4, has 22.5 GiB"),
            "{refused}"
        );
    }

    #[tokio::test]
    async fn an_overview_has_what_is_used_and_what_is_given() {
        let (gpus, used) = used_by_others(vec![Gpu::of_test("GPU-a", Some(24_576))]);
        let _lease = lease(&gpus, 8).await;
        *used.lock() = vec![in_use("GPU-a", 5_000)];
        // The end of a worker makes the last look void.
        drop(lease(&gpus, 8).await);
        let seen = gpus.overview().await;
        let [gpu] = seen.as_slice() else { panic!("{seen:?}") };
        assert_eq!((gpu.used_mib, gpu.given_mib, gpu.workers), (Some(5_000), 8_192, 1));
        assert_eq!((gpu.busy_percent, gpu.memory_mib), (Some(50), Some(24_576)));
    }
}
