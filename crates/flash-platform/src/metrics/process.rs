//! Memory, processor time and open files of this process, as the system counts them.

/// The numbers of this process.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ProcessNumbers {
    /// Of all its threads, in the system and outside of it.
    pub cpu_seconds: f64,
    pub open_descriptors: u64,
    /// `None`: as many as it wants.
    pub max_descriptors: Option<u64>,
    /// Bytes of memory in use.
    pub resident: u64,
    /// Bytes of addresses.
    pub virtual_memory: u64,
    /// When it started, in seconds since 1970.
    pub start: f64,
}

impl ProcessNumbers {
    /// Reads them; `None` where the system does not say. Takes part of a millisecond, and longer with thousands of open
    /// files.
    #[cfg(target_os = "linux")]
    pub(crate) fn read() -> Option<Self> {
        linux::read().ok()
    }

    /// As on Linux, where nothing can be known.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn read() -> Option<Self> {
        None
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use procfs::{
        ProcResult, boot_time_secs, page_size,
        process::{LimitValue, Process},
        ticks_per_second,
    };

    use super::ProcessNumbers;

    pub(super) fn read() -> ProcResult<ProcessNumbers> {
        let process = Process::myself()?;
        let stat = process.stat()?;
        let seconds = |ticks: u64| ticks as f64 / ticks_per_second() as f64;
        let max_descriptors = match process.limits()?.max_open_files.soft_limit {
            LimitValue::Value(limit) => Some(limit),
            LimitValue::Unlimited => None,
        };
        Ok(ProcessNumbers {
            cpu_seconds: seconds(stat.utime + stat.stime),
            open_descriptors: process.fd_count()? as u64,
            max_descriptors,
            resident: stat.rss * page_size(),
            virtual_memory: stat.vsize,
            start: boot_time_secs()? as f64 + seconds(stat.starttime),
        })
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn the_numbers_are_those_of_this_process() {
        let before = ProcessNumbers::read().unwrap();
        let files: Vec<_> = (0..50).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        let memory = vec![1_u8; 64 << 20];
        let after = ProcessNumbers::read().unwrap();
        assert!(after.open_descriptors >= 50, "{after:?}");
        assert!(after.max_descriptors.is_none_or(|limit| limit >= after.open_descriptors), "{after:?}");
        assert!(after.resident >= before.resident + (48 << 20), "{before:?} {after:?}");
        assert!(after.virtual_memory >= after.resident && after.cpu_seconds >= before.cpu_seconds);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        // It started within the last day and not later than now; the boot time is in whole seconds.
        assert!((now - 86_400.0..=now + 2.0).contains(&after.start), "{} is not near {now}", after.start);
        drop((files, memory));
    }
}
