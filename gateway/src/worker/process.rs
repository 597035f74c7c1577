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
        let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        // One is the directory that is being read.
        let open = open.saturating_sub(1) as u64;
        self.lane.gauge_set(Id::OpenDescriptors, open);
        let max = getrlimit(Resource::Nofile).current.unwrap_or(0);
        self.lane.gauge_set(Id::MaxDescriptors, max);
    }
}

/// The second field of `/proc/self/statm`, in pages.
fn resident_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
