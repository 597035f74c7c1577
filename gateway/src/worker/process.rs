//! What the operating system says of the process and its threads, once a second.

use std::fs;

use roomwire_metrics::Id;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::Core;

impl Core {
    /// How much of a CPU this worker's thread has used.
    pub(crate) fn count_cpu(&self) {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        let (seconds, nanos) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
        let micros = seconds * 1_000_000 + nanos / 1000;
        self.lane.gauge_set(Id::WorkerCpuMicros, micros);
    }

    /// Memory and descriptors. Where the system does not tell, the figures stay at 0.
    pub(crate) fn count_process(&self) {
        if let Some(bytes) = resident_bytes() {
            self.lane.gauge_set(Id::MemoryBytes, bytes);
        }
        if let Some(open) = open_descriptors() {
            self.lane.gauge_set(Id::OpenDescriptors, open);
        }
        let max = getrlimit(Resource::Nofile).current.unwrap_or(0);
        self.lane.gauge_set(Id::MaxDescriptors, max);
    }
}

/// Since Linux 6.2 the directory's size is their number, which costs the same however many there are.
/// Before that each has to be counted, and a crowd's would keep a turn waiting: then none is told.
fn open_descriptors() -> Option<u64> {
    const COUNTED: usize = 1000;
    let told = fs::metadata("/proc/self/fd").ok()?.len();
    if told > 0 {
        return Some(told);
    }
    let entries = fs::read_dir("/proc/self/fd").ok()?;
    let counted = entries.take(COUNTED + 1).count();
    // One is the directory that is being read.
    (counted <= COUNTED).then(|| counted.saturating_sub(1) as u64)
}

/// The second field of `/proc/self/statm`, in pages.
fn resident_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
