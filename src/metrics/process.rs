//! The process as the system sees it, under the names that every client library of Prometheus uses.

use prometheus_client::registry::Registry;

/// What cannot be read is left out.
#[cfg(target_os = "linux")]
pub(super) fn register(to: &mut Registry) {
    use procfs::process::{LimitValue, Process};
    use procfs::{CurrentSI as _, KernelStats, WithCurrentSystemInfo as _};
    use prometheus_client::metrics::counter::ConstCounter;
    use prometheus_client::metrics::gauge::ConstGauge;

    use super::observed::float;

    let Ok(process) = Process::myself() else { return };
    if let Ok(stat) = process.stat() {
        let tick = float(procfs::ticks_per_second());
        let cpu = float(stat.utime + stat.stime) / tick;
        to.register("process_cpu_seconds", "CPU time that the process used", ConstCounter::new(cpu));
        let resident = stat.rss_bytes().get();
        to.register(
            "process_resident_memory_bytes",
            "Memory that the process has",
            ConstGauge::new(resident),
        );
        to.register(
            "process_virtual_memory_bytes",
            "Address space of the process",
            ConstGauge::new(stat.vsize),
        );
        if let Ok(kernel) = KernelStats::current() {
            let start = float(kernel.btime) + float(stat.starttime) / tick;
            to.register("process_start_time_seconds", "When the process began", ConstGauge::new(start));
        }
    }
    if let Ok(open) = process.fd_count() {
        to.register("process_open_fds", "Open files of the process", ConstGauge::new(open as u64));
    }
    if let Ok(limits) = process.limits()
        && let LimitValue::Value(most) = limits.max_open_files.soft_limit
    {
        to.register("process_max_fds", "Open files that the process may have", ConstGauge::new(most));
    }
}

/// Elsewhere there is no `/proc` to read.
#[cfg(not(target_os = "linux"))]
pub(super) fn register(_to: &mut Registry) {}
