//! `cumae import`: loads what others wrote into a data directory that no server works on.
//!
//! Not here: how a source is read (the crate `import`), how sstables are made of it (`store`).

use crate::cli::{ImportCommand, ImportInto, Revision};
use crate::config::Config;
use crate::data_dir::{self, DataDir};
use crate::parts::{SystemClock, random_u64};
use import::prometheus::Progress;
use import::{Options, Report};
use model::{Clock, TenantId, TimestampMs};
use std::io;
use std::sync::Arc;
use store::Engine;
use store::disk::FileDisk;
use store::engine::{ImportOptions, ImportReport, Parts};

/// Why an import failed, and what is kept of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Usually: a server works on it.
    #[error("an import needs the data directory to itself: {0}")]
    DataDir(#[from] data_dir::Error),
    /// The source cannot be read.
    #[error("{0}; nothing was imported{hint}", hint = hint(.0))]
    Import(#[from] import::Error),
    /// The store refused.
    #[error("{0}; nothing was imported")]
    Store(#[from] store::Error),
    /// Acknowledged samples are missing in it already.
    #[error(
        "records of the commit log are lost ({0}), and nothing was imported: `cumae store verify` says more; a server that starts on the directory says so too and goes on; once it has ended, so does an import"
    )]
    Damaged(String),
    /// It refused when the files were made live.
    #[error(
        "{0}; it is not known whether the samples are imported, all of them or none: import again, what is there is not taken twice"
    )]
    Publish(store::Error),
    /// It refused after the samples were live.
    #[error(
        "{0}; all samples are imported, metadata and exemplars may not be: import again, what is there is not taken twice"
    )]
    Rest(store::Error),
    /// Not a tenant's name.
    #[error("--tenant: {0}")]
    Tenant(String),
    /// No randomness for a start.
    #[error("no random bits from the operating system: {0}")]
    Random(io::Error),
}

fn hint(error: &import::Error) -> &'static str {
    match error {
        import::Error::Damaged { .. } | import::Error::Unsupported { .. } => {
            "; --skip-damaged leaves out what cannot be read"
        }
        import::Error::Line { .. } => "; --skip-damaged leaves out lines that cannot be read",
        _ => "",
    }
}

/// Runs the command and prints what it did.
pub(crate) fn run(config: &Config, command: &ImportCommand) -> Result<(), Error> {
    let (ImportCommand::Prometheus { into, .. } | ImportCommand::Openmetrics { into, .. }) =
        command;
    let tenant = TenantId::parse(&into.tenant).map_err(|e| Error::Tenant(e.to_string()))?;
    let data_dir = DataDir::open(&config.data.dir)?;
    let clock = SystemClock::start();
    let parts = Parts {
        disk: Arc::new(FileDisk::open(data_dir.path().join("store"))?),
        cluster_name: config.cluster.name.clone(),
        generation_seed: random_u64().map_err(Error::Random)?,
    };
    let settings = ingester::Config::default().store;
    let (engine, report) = Engine::open(parts, settings, clock.now())?;
    // What it writes behind lets the log go, and with it what of the damage could be told.
    if let Some(damage) = report.replay.damage.first() {
        return Err(Error::Damaged(format!("{}, byte {}", damage.path, damage.offset)));
    }
    let lost = report.records_damaged + report.samples_without_series;
    if lost > 0 {
        return Err(Error::Damaged(format!("{lost} records or samples make no sense")));
    }
    for (path, error) in &report.sstables_damaged {
        crate::print(&format!("{path} cannot be read, its samples are missing: {error}\n"));
    }
    engine.set_retention(&ingester::retention(&config.limit_table()), clock.now())?;
    let revision = match into.revision {
        Revision::Fixed(revision) => revision,
        Revision::Auto => engine.seen_revision(&tenant),
    };
    let options = ImportOptions { tenant, revision };
    let (read, done) = load(&engine, options, command, into, clock.now())?;
    engine.close(clock.now()).map_err(Error::Rest)?;
    summary(&read, &done);
    Ok(())
}

fn load(
    engine: &Engine,
    options: ImportOptions,
    command: &ImportCommand,
    into: &ImportInto,
    now: TimestampMs,
) -> Result<(Report, ImportReport), Error> {
    let how = Options { skip_damaged: into.skip_damaged };
    let mut import = engine.import(options, now);
    let read = match command {
        ImportCommand::Prometheus { source, .. } => {
            import::prometheus::read(source, how, &mut import, &mut tell)
        }
        ImportCommand::Openmetrics { source, .. } => {
            import::openmetrics::read(source, how, &mut import)
        }
    };
    match read {
        Ok(read) => {
            import.write()?;
            import.publish().map_err(Error::Publish)?;
            Ok((read, import.finish().map_err(Error::Rest)?))
        }
        Err(error) => {
            // What this leaves, the next start removes.
            let _ = import.abandon();
            Err(error.into())
        }
    }
}

fn tell(progress: Progress) {
    let line = match progress {
        Progress::Block { name, part: (part, parts) } => {
            format!("block {name}: part {part} of {parts}\n")
        }
        Progress::Log(segments) => format!("log: {segments} segments\n"),
        Progress::HeadChunks(files) => format!("head chunks: {files} files\n"),
    };
    crate::print(&line);
}

fn summary(read: &Report, done: &ImportReport) {
    let mut lines = vec![format!(
        "imported {} samples into {} new sstables, {} bytes",
        done.samples, done.sstables, done.sstable_bytes
    )];
    let mut note = |count: u64, what: &str| {
        if count > 0 {
            lines.push(format!("{count} {what}"));
        }
    };
    note(done.revision.into(), "is the samples' revision");
    note(done.sstables_known, "sstables were there already, byte for byte");
    note(done.metadata, "metrics have metadata now");
    note(done.samples_expired, "samples are older than the retention and were left out");
    note(
        read.without_series,
        "samples, exemplars or chunks have no series that is named and were left out",
    );
    note(done.samples_hidden, "of the samples are hidden by deletes; --revision auto shows them");
    note(done.exemplars, "exemplars are new");
    note(done.exemplars_expired, "exemplars are older than the retention and were left out");
    note(read.damaged, "places are damaged and were left out:");
    lines.extend(read.damage.iter().map(|damage| format!("  {damage}")));
    lines.push(String::new());
    crate::print(&lines.join("\n"));
}
