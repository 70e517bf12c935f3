//! Who gets which GPU, by memory. Pure: figures in, a decision out.
//!
//! A worker type that says how much memory a worker needs, or whose model tells, gets a part of a GPU. All others get
//! the GPU that the fewest workers have: one of their own while there are enough, then a shared one.
use std::fmt;

use flash_protocol::{GpuType, manifest::WorkerType};

use super::Gpu;

/// What a worker needs beside the files of its model, in MiB: the context of CUDA and of its libraries.
const BESIDE_MODEL_MIB: u64 = 1024;
/// Memory that others use below this part of a GPU does not count: of a desktop, or of the driver itself.
const IGNORED_PART: u64 = 32;
/// Sizes that GPUs are sold with and that the catalogue does not have, in GB.
const OTHER_SIZES: [u64; 9] = [2, 3, 4, 6, 8, 10, 11, 12, 40];

/// What a worker needs on each of its GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::supervisor) enum Demand {
    /// Nobody said, and it has no model.
    Unknown,
    /// `vram_gib`.
    Said { gib: u32 },
    /// From the size of its model. A guess, so it is never more than a GPU has.
    Estimated { mib: u64 },
}

impl Demand {
    /// What a worker of this type needs. `model` is the size of its model's files.
    pub(in crate::supervisor) fn of(worker_type: &WorkerType, count: u32, model: Option<u64>) -> Self {
        match (worker_type.vram_gib, model) {
            (Some(gib), _) => Self::Said { gib },
            (None, Some(bytes)) => {
                let files = (bytes >> 20) / u64::from(count.max(1));
                Self::Estimated { mib: files.saturating_mul(3) / 2 + BESIDE_MODEL_MIB }
            }
            (None, None) => Self::Unknown,
        }
    }

    /// MiB of a GPU with this much memory; `None` if any will do.
    fn share(self, total: u64) -> Option<u64> {
        match self {
            Self::Unknown => None,
            // By the size on the box: three times 8 GB fit in 24 GB, of which a program sees a little less.
            Self::Said { gib } => Some(u64::from(gib) * total / size_on_the_box(total)),
            Self::Estimated { mib } => Some(mib.min(total)),
        }
    }
}

impl fmt::Display for Demand {
    /// `8 GiB (`vram_gib`)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("any memory"),
            Self::Said { gib } => write!(f, "{gib} GiB (`vram_gib`)"),
            Self::Estimated { mib } => {
                write!(f, "about {} (by its model; `vram_gib` sets it)", gib(*mib))
            }
        }
    }
}

/// The GB that a GPU is sold with, of which programs see up to a tenth less.
fn size_on_the_box(total: u64) -> u64 {
    let seen = total.div_ceil(1024).max(1);
    let catalogue = GpuType::ALL.iter().map(|gpu| u64::from(gpu.vram_gb()));
    let sizes = catalogue.chain(OTHER_SIZES).filter(|size| *size >= seen && total * 10 >= size * 1024 * 9);
    sizes.min().unwrap_or(seen)
}

pub(super) fn gib(mib: u64) -> String {
    format!("{:.1} GiB", mib as f64 / 1024.0)
}

/// One GPU and what is given out of it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Slot {
    /// MiB; `None` where the driver does not say.
    pub total: Option<u64>,
    /// MiB given to workers that say what they need.
    pub given: u64,
    /// MiB in use when no worker of ours had it.
    pub others: u64,
    pub workers: u32,
}

/// GPUs of a worker: indices, and the MiB of each that it may use.
pub(super) type Shares = Vec<(usize, u64)>;

/// What becomes of a worker.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Fewer than asked for if there are not enough. Shared if another worker has one of them and nobody knows whether
    /// both fit.
    Given { shares: Shares, is_shared: bool },
    /// Until a worker ends, or another program.
    Wait { free: Vec<u64> },
    /// None here has that much.
    Never { largest: usize },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Allocator {
    pub slots: Vec<Slot>,
}

impl Allocator {
    pub(super) fn new(gpus: &[Gpu]) -> Self {
        let slot = |gpu: &Gpu| Slot { total: gpu.memory_mib, ..Slot::default() };
        Self { slots: gpus.iter().map(slot).collect() }
    }

    /// Decides, and gives. `used` is the memory in use now by GPU, in MiB, as far as it is known.
    pub(super) fn allocate(&mut self, demand: Demand, count: usize, used: &[Option<u64>]) -> Decision {
        for (slot, used) in self.slots.iter_mut().zip(used) {
            if let (0, Some(used), Some(total)) = (slot.workers, *used, slot.total) {
                slot.others = if used < total / IGNORED_PART { 0 } else { used };
            }
        }
        let shares: Option<Vec<u64>> =
            self.slots.iter().map(|slot| slot.total.and_then(|total| demand.share(total))).collect();
        // Where a size is not known, nothing can be decided by it.
        let Some(shares) = shares else { return self.least_used(count) };
        let count = count.min(self.slots.len());
        let totals = || self.slots.iter().map(|slot| slot.total.unwrap_or(0));
        if totals().zip(&shares).filter(|(total, share)| total >= share).count() < count {
            let largest = totals().enumerate().max_by_key(|(_, total)| *total);
            return Decision::Never { largest: largest.map_or(0, |(index, _)| index) };
        }
        let free = self.free(used);
        let mut fitting: Vec<usize> = (0..free.len()).filter(|gpu| free[*gpu] >= shares[*gpu]).collect();
        if fitting.len() < count {
            return Decision::Wait { free };
        }
        // The one with the most memory left: workers that compute at once are spread.
        fitting.sort_by_key(|gpu| std::cmp::Reverse(free[*gpu]));
        fitting.truncate(count);
        fitting.sort_unstable();
        self.give(fitting.into_iter().map(|gpu| (gpu, shares[gpu])).collect(), false)
    }

    /// MiB that nobody has, by GPU. What a worker was given counts before it uses it, and what it uses beyond that
    /// counts too.
    fn free(&self, used: &[Option<u64>]) -> Vec<u64> {
        let free = |(index, slot): (usize, &Slot)| {
            let total = slot.total.unwrap_or(0);
            let now = used.get(index).copied().flatten().unwrap_or(0);
            let now = if now < total / IGNORED_PART { 0 } else { now };
            total.saturating_sub((slot.given + slot.others).max(now))
        };
        self.slots.iter().enumerate().map(free).collect()
    }

    fn least_used(&mut self, count: usize) -> Decision {
        let mut by_use: Vec<usize> = (0..self.slots.len()).collect();
        by_use.sort_by_key(|gpu| self.slots[*gpu].workers);
        by_use.truncate(count);
        by_use.sort_unstable();
        let is_shared = by_use.iter().any(|gpu| self.slots[*gpu].workers > 0);
        self.give(by_use.into_iter().map(|gpu| (gpu, 0)).collect(), is_shared)
    }

    fn give(&mut self, shares: Shares, is_shared: bool) -> Decision {
        for (gpu, mib) in &shares {
            self.slots[*gpu].workers += 1;
            self.slots[*gpu].given += mib;
        }
        Decision::Given { shares, is_shared }
    }

    pub(super) fn release(&mut self, shares: &[(usize, u64)]) {
        for (gpu, mib) in shares {
            let slot = &mut self.slots[*gpu];
            slot.workers = slot.workers.saturating_sub(1);
            slot.given = slot.given.saturating_sub(*mib);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GPUs with this memory in MiB.
    fn allocator(totals: &[Option<u64>]) -> Allocator {
        Allocator { slots: totals.iter().map(|total| Slot { total: *total, ..Slot::default() }).collect() }
    }

    const SAID_8: Demand = Demand::Said { gib: 8 };
    /// What programs see of a GPU that is sold with 24 GB: an RTX 4090, and an L4, where ECC takes its part.
    const OF_24: [u64; 2] = [24_564, 23_034];

    /// Where a worker goes, and whether it shares; `None` if it waits.
    fn given(decision: Decision) -> Option<(Vec<usize>, bool)> {
        match decision {
            Decision::Given { shares, is_shared } => {
                Some((shares.into_iter().map(|(gpu, _)| gpu).collect(), is_shared))
            }
            Decision::Wait { .. } => None,
            Decision::Never { .. } => panic!("never"),
        }
    }

    #[test]
    fn a_gpu_of_24_takes_three_workers_of_8_and_the_fourth_waits() {
        for total in OF_24 {
            let mut allocator = allocator(&[Some(total)]);
            // The driver itself uses a little.
            let used = [Some(4)];
            for _ in 0..3 {
                assert_eq!(given(allocator.allocate(SAID_8, 1, &used)), Some((vec![0], false)));
            }
            assert_eq!(allocator.allocate(SAID_8, 1, &used), Decision::Wait { free: vec![total % 3] });
            allocator.release(&[(0, total / 3)]);
            assert_eq!(given(allocator.allocate(SAID_8, 1, &used)), Some((vec![0], false)));
        }
    }

    #[test]
    fn memory_in_use_counts_where_it_is_more_than_was_given() {
        let mut allocator = allocator(&[Some(24_576)]);
        // Another program has 10 GiB, and a worker that starts does not use its 8 yet.
        assert!(given(allocator.allocate(SAID_8, 1, &[Some(10_240)])).is_some());
        assert_eq!(allocator.allocate(SAID_8, 1, &[Some(10_240)]), Decision::Wait { free: vec![6_144] });
        // The worker has loaded, and more than it was given.
        assert_eq!(allocator.allocate(SAID_8, 1, &[Some(20_480)]), Decision::Wait { free: vec![4_096] });
        // The other program has ended, which shows once no worker of ours is there.
        allocator.release(&[(0, 8_192)]);
        for _ in 0..3 {
            assert!(given(allocator.allocate(SAID_8, 1, &[Some(0)])).is_some());
        }
    }

    #[test]
    fn workers_go_where_the_most_memory_is_left() {
        let mut allocator = allocator(&[Some(24_576), Some(49_152)]);
        let places: Vec<_> =
            (0..9).map(|_| given(allocator.allocate(SAID_8, 1, &[])).map(|(gpus, _)| gpus[0])).collect();
        // 48 and 24, then 40 and 24 …
        assert_eq!(places.iter().filter(|place| **place == Some(1)).count(), 6, "{places:?}");
        assert_eq!(places.iter().filter(|place| **place == Some(0)).count(), 3, "{places:?}");
        assert_eq!(places[..2], [Some(1), Some(1)]);
        assert_eq!(given(allocator.allocate(SAID_8, 1, &[])), None);
    }

    #[test]
    fn a_worker_with_two_gpus_has_its_memory_on_each() {
        let mut allocator = allocator(&[Some(24_576); 3]);
        let twelve = Demand::Said { gib: 12 };
        assert_eq!(given(allocator.allocate(twelve, 2, &[])), Some((vec![0, 1], false)));
        assert_eq!(given(allocator.allocate(twelve, 2, &[])), Some((vec![0, 2], false)));
        assert_eq!(given(allocator.allocate(twelve, 2, &[])), Some((vec![1, 2], false)));
        assert_eq!(given(allocator.allocate(Demand::Said { gib: 1 }, 1, &[])), None);
    }

    #[test]
    fn more_than_any_gpu_has_is_never_given_but_a_guess_is_cut() {
        let mut two = allocator(&[Some(16_384), Some(24_576)]);
        let large = Demand::Said { gib: 25 };
        assert_eq!(two.allocate(large, 1, &[]), Decision::Never { largest: 1 });
        assert_eq!(two.allocate(Demand::Said { gib: 24 }, 2, &[]), Decision::Never { largest: 1 });
        let guess = Demand::Estimated { mib: 100_000 };
        assert_eq!(given(two.allocate(guess, 1, &[])), Some((vec![1], false)));
    }

    #[test]
    fn each_worker_of_unknown_size_has_gpus_of_its_own_while_there_are_enough() {
        let mut allocator = allocator(&[None; 4]);
        let mut next = |count| given(allocator.allocate(Demand::Unknown, count, &[])).unwrap();
        assert_eq!(next(2), (vec![0, 1], false));
        assert_eq!(next(1), (vec![2], false));
        assert_eq!(next(1), (vec![3], false));
        assert_eq!(next(8), (vec![0, 1, 2, 3], true));
        allocator.release(&[(0, 0), (1, 0), (2, 0)]);
        assert_eq!(given(allocator.allocate(Demand::Unknown, 2, &[])), Some((vec![0, 1], true)));
    }

    #[test]
    fn without_figures_of_the_driver_a_size_changes_nothing() {
        let mut allocator = allocator(&[None, Some(24_576)]);
        let places: Vec<_> = (0..4).map(|_| given(allocator.allocate(SAID_8, 1, &[])).unwrap()).collect();
        assert_eq!(places, [(vec![0], false), (vec![1], false), (vec![0], true), (vec![1], true)]);
    }

    #[test]
    fn a_model_needs_half_again_its_files_and_a_gigabyte() {
        let worker_type = |json| serde_json::from_value::<WorkerType>(json).unwrap();
        let mut plain = worker_type(serde_json::json!({
            "name": "w", "kind": "queue", "compute": { "type": "gpu", "pools": ["ADA_24"], "count": 1 },
            "workers_min": 0, "workers_max": 3, "idle_timeout_seconds": 60, "execution_timeout_seconds": 600,
            "max_concurrency": 1, "scaler": { "type": "queue_delay", "seconds": 4 },
        }));
        assert_eq!(Demand::of(&plain, 1, None), Demand::Unknown);
        assert_eq!(Demand::of(&plain, 1, Some(4 << 30)), Demand::Estimated { mib: 6 * 1024 + 1024 });
        // Each of two GPUs has half of the model.
        assert_eq!(Demand::of(&plain, 2, Some(4 << 30)), Demand::Estimated { mib: 3 * 1024 + 1024 });
        plain.vram_gib = Some(8);
        assert_eq!(Demand::of(&plain, 1, Some(4 << 30)), SAID_8);
    }

    #[test]
    fn the_size_on_the_box_is_known_from_what_programs_see() {
        let sizes = [
            15_360, 16_376, 11_264, 24_564, 23_034, 46_068, 81_559, 40_960, 95_830, 143_771, 183_359, 32_607,
        ];
        assert_eq!(sizes.map(size_on_the_box), [16, 16, 11, 24, 24, 48, 80, 40, 94, 141, 180, 32]);
        // Of a kind that nobody knows.
        assert_eq!(size_on_the_box(300_000), 293);
    }
}
