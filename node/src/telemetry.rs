//! Logs, and the metrics of the process itself.
//!
//! The registry is made once and handed to every part; nothing is registered globally.

use crate::config;
use model::TimestampMs;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, IntGauge, Opts, Registry};
use tracing_subscriber::EnvFilter;

/// Sends logs to stderr from now on. Only the first call has an effect.
pub(crate) fn start_logs(settings: &config::Log) {
    let filter = EnvFilter::try_new(&settings.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // A line that cannot be written, as on a full disk, is lost: to say so on stderr would panic.
        .log_internal_errors(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    let started = match settings.format {
        config::LogFormat::Text => logs.with_target(false).try_init(),
        config::LogFormat::Json => logs.json().flatten_event(true).try_init(),
    };
    if let Err(error) = started {
        tracing::debug!(%error, "logs were started before");
    }
}

/// A registry with the process' own metrics.
///
/// # Errors
/// Never for a registry that is new.
pub(crate) fn registry(started: TimestampMs, version: &str) -> Result<Registry, prometheus::Error> {
    let registry = Registry::new();
    registry.register(Box::new(ProcessMetrics::new(started)?))?;
    let build = IntGauge::with_opts(
        Opts::new("cumae_build_info", "1, and the version as a label.")
            .const_label("version", version),
    )?;
    build.set(1);
    registry.register(Box::new(build))?;
    Ok(registry)
}

/// `process_*` as every Prometheus client has them, read from `/proc/self` when asked.
///
/// Outside of Linux there is no `/proc`, and what cannot be read stays at zero.
#[derive(Debug)]
struct ProcessMetrics {
    cpu_seconds: Gauge,
    start_time: Gauge,
    virtual_bytes: IntGauge,
    resident_bytes: IntGauge,
    threads: IntGauge,
    open_fds: IntGauge,
    max_fds: IntGauge,
}

impl ProcessMetrics {
    fn new(started: TimestampMs) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| IntGauge::new(name, help);
        let metrics = Self {
            cpu_seconds: Gauge::new(
                "process_cpu_seconds_total",
                "Total user and system CPU time spent in seconds.",
            )?,
            start_time: Gauge::new(
                "process_start_time_seconds",
                "Start time of the process since unix epoch in seconds.",
            )?,
            virtual_bytes: gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.")?,
            resident_bytes: gauge(
                "process_resident_memory_bytes",
                "Resident memory size in bytes.",
            )?,
            threads: gauge("process_threads", "Number of OS threads in the process.")?,
            open_fds: gauge("process_open_fds", "Number of open file descriptors.")?,
            max_fds: gauge("process_max_fds", "Maximum number of open file descriptors.")?,
        };
        metrics.start_time.set(seconds(started));
        Ok(metrics)
    }

    fn collectors(&self) -> [&dyn Collector; 7] {
        [
            &self.cpu_seconds,
            &self.start_time,
            &self.virtual_bytes,
            &self.resident_bytes,
            &self.threads,
            &self.open_fds,
            &self.max_fds,
        ]
    }

    fn read(&self) -> Option<()> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The command's name, in parentheses, may hold blanks: count the fields behind it.
        let (_, fields) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let field = |index: usize| fields.get(index)?.parse::<u32>().ok();
        let wide = |index: usize| fields.get(index)?.parse::<i64>().ok();
        let ticks = f64::from(field(11)?) + f64::from(field(12)?);
        let per_second = u32::try_from(rustix::param::clock_ticks_per_second()).ok()?;
        self.cpu_seconds.set(ticks / f64::from(per_second));
        self.threads.set(wide(17)?);
        self.virtual_bytes.set(wide(20)?);
        let page_bytes = i64::try_from(rustix::param::page_size()).ok()?;
        self.resident_bytes.set(wide(21)? * page_bytes);
        let open = std::fs::read_dir("/proc/self/fd").ok()?.count();
        self.open_fds.set(i64::try_from(open).ok()?);
        let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
        self.max_fds.set(line.split_whitespace().next()?.parse().ok()?);
        Some(())
    }
}

impl Collector for ProcessMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.collectors().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        if self.read().is_none() {
            tracing::debug!("/proc/self cannot be read");
        }
        let mut families: Vec<_> =
            self.collectors().into_iter().flat_map(Collector::collect).collect();
        for family in &mut families {
            if family.name().ends_with("_total") {
                // A counter that the kernel counts for us.
                as_counter(family);
            }
        }
        families
    }
}

fn as_counter(family: &mut MetricFamily) {
    family.set_field_type(prometheus::proto::MetricType::COUNTER);
    for metric in family.mut_metric() {
        let mut counter = prometheus::proto::Counter::default();
        counter.set_value(metric.get_gauge().get_value());
        metric.set_counter(counter);
    }
}

/// Seconds since 1970.
fn seconds(moment: TimestampMs) -> f64 {
    std::time::Duration::from_millis(moment.0.unsigned_abs()).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_knows_its_memory_and_files() {
        let registry = registry(TimestampMs(1_500), "0").unwrap();
        let families = registry.gather();
        let value = |name: &str| {
            let family = families.iter().find(|family| family.name() == name).unwrap();
            family.get_metric()[0].get_gauge().get_value()
        };
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        assert!(value("process_threads") >= 1.0);
        assert!((value("process_start_time_seconds") - 1.5).abs() < 1e-9);
        let text = prometheus::TextEncoder::new().encode_to_string(&families).unwrap();
        assert!(text.contains("# TYPE process_cpu_seconds_total counter"), "{text}");
    }
}
