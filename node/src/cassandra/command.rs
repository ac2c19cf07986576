//! The commands, and how the configuration becomes a session.

mod oversight;

use super::Error;
use crate::cli::cassandra::{CassandraCommand, InitFlags};
use crate::config;
use crate::config::cassandra::Cassandra;
use ingester::cassandra::driver::{Config, Driver, TlsFiles};
use ingester::cassandra::rows::CommitLogSync;
use ingester::cassandra::upkeep::{self, Scan, TABLES_MAX};
use ingester::cassandra::{Rows, RowsError, cql, schema, settings as shared};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use store::RetentionConfig;

impl From<RowsError> for Error {
    fn from(error: RowsError) -> Self {
        Self::Rows(error.to_string())
    }
}

/// Runs the command and prints what it found.
pub(crate) fn run(config: &config::Config, command: &CassandraCommand) -> Result<(), Error> {
    let settings = &config.cassandra;
    let own = ingester::embedded::retention(&config.limit_table());
    match command {
        CassandraCommand::Init(flags) if flags.dry_run && flags.replication.is_some() => {
            // Of a keyspace that is to be: nobody has to be asked.
            crate::print(&script(settings, flags));
            Ok(())
        }
        CassandraCommand::Init(flags) => {
            shared::check_retention(&own)?;
            init(settings, flags)
        }
        CassandraCommand::Status => status(settings, &own),
        CassandraCommand::Retention { apply } => retention(settings, &own, *apply),
        CassandraCommand::Check { remove_orphans } => check(settings, *remove_orphans),
    }
}

/// The connection of a process that serves: the keyspace is there, its schema is ours, its nodes sync.
pub(crate) fn connect(settings: &Cassandra) -> Result<Driver, Error> {
    let driver = reach(settings)?;
    if driver.replication()?.is_none() {
        return Err(Error::NoKeyspace(settings.keyspace.clone()));
    }
    let schema = upkeep::require_schema(&driver)?;
    if let Some(seconds) = schema.gc_grace_seconds {
        driver.set_gc_grace_seconds(seconds);
    }
    require_sync(settings, &driver)?;
    Ok(driver)
}

fn reach(settings: &Cassandra) -> Result<Driver, Error> {
    let file = |path: &Path| (!path.as_os_str().is_empty()).then(|| path.to_owned());
    let own = file(&settings.tls_cert_file).zip(file(&settings.tls_key_file));
    let config = Config {
        local_dc: settings.local_dc.clone(),
        username: settings.username.clone(),
        password_file: file(&settings.password_file),
        tls: file(&settings.tls_ca_file).map(|ca_file| TlsFiles { ca_file, own }),
        request_timeout: settings.request_timeout,
        ..Config::new(settings.contact_points.clone(), settings.keyspace.clone())
    };
    Ok(Driver::connect(&config)?)
}

fn require_sync(settings: &Cassandra, driver: &Driver) -> Result<(), Error> {
    for (node, sync) in driver.commit_log_sync()? {
        if sync == CommitLogSync::Periodic && !settings.accept_periodic_commitlog {
            return Err(Error::Periodic(node));
        }
    }
    Ok(())
}

/// What `init` does, as CQL.
fn script(settings: &Cassandra, flags: &InitFlags) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    if let Some(replication) = &flags.replication {
        let _ = writeln!(text, "{};", cql::create_keyspace(&settings.keyspace, replication));
    }
    for table in schema::FIRST {
        let Some(shape) = schema::shape(table) else { continue };
        let id = cql::id_in(&settings.keyspace, schema::table_id(table));
        let gc_grace = flags.gc_grace.unwrap_or(shape.gc_grace_seconds);
        let create = cql::create_table(&settings.keyspace, table, shape, &id, gc_grace);
        let _ = writeln!(text, "{create};");
    }
    text
}

fn init(settings: &Cassandra, flags: &InitFlags) -> Result<(), Error> {
    let driver = reach(settings)?;
    let is_there = driver.replication()?.is_some();
    if !is_there && flags.replication.is_none() {
        return Err(Error::NoReplication(settings.keyspace.clone()));
    }
    require_sync(settings, &driver)?;
    let tables = if is_there { driver.tables()?.len() } else { 0 };
    if tables > TABLES_MAX {
        return Err(Error::TooManyTables(settings.keyspace.clone(), tables));
    }
    if flags.dry_run {
        crate::print(&script(settings, flags));
        return Ok(());
    }
    if let Some(replication) = flags.replication.as_ref().filter(|_| !is_there) {
        driver.create_keyspace(replication)?;
    }
    let found = if is_there { upkeep::schema(&driver)? } else { None };
    let said = flags.gc_grace.or(found.and_then(|found| found.gc_grace_seconds));
    if let Some(seconds) = said {
        driver.set_gc_grace_seconds(seconds);
    }
    let schema = upkeep::init(&driver, flags.gc_grace)?;
    let replication = driver.replication()?.unwrap_or_default();
    crate::print(&format!(
        "keyspace {} is ready: schema version {}, replication {replication}\n",
        settings.keyspace, schema.version
    ));
    Ok(())
}

/// A session that only looks: whether nodes sync is shown, not asked for.
fn look(settings: &Cassandra) -> Result<Arc<Driver>, Error> {
    let driver = reach(settings)?;
    match driver.replication()? {
        Some(_) => Ok(Arc::new(driver)),
        None => Err(Error::NoKeyspace(settings.keyspace.clone())),
    }
}

fn status(settings: &Cassandra, own: &RetentionConfig) -> Result<(), Error> {
    let driver = look(settings)?;
    let scan = Arc::clone(&driver) as Arc<dyn Scan>;
    let status = upkeep::status(&scan)?;
    let mut text = String::new();
    let replication = driver.replication()?.unwrap_or_default();
    let _ = writeln!(text, "keyspace {}, replication {replication}", settings.keyspace);
    let gc_grace = status.schema.gc_grace_seconds;
    let gc_grace = gc_grace.map_or_else(String::new, |s| format!(", gc_grace {s} s everywhere"));
    let _ = writeln!(text, "schema version {}{gc_grace}", status.schema.version);
    for (node, sync) in driver.commit_log_sync()? {
        let sync = match sync {
            CommitLogSync::Synced => "syncs before it answers",
            CommitLogSync::Periodic => "answers before it syncs (commitlog_sync: periodic)",
        };
        let _ = writeln!(text, "node {node} {sync}");
    }
    for node in driver.nodes_that_keep_dropped_tables().unwrap_or_default() {
        let _ = writeln!(
            text,
            "node {node} keeps the files of dropped tables (auto_snapshot): the disk gets no emptier when \
             samples expire; set it to false, or auto_snapshot_ttl to a few days"
        );
    }
    let _ = writeln!(text, "places were opened {} times", status.lives);
    oversight::tell(&ingester::cassandra::oversight::look(&scan)?, own, &mut text);
    let disk = driver.disk_usage().unwrap_or_default();
    let head = ["table", "files", "bytes", "samples", "MiB on disk"];
    let _ = writeln!(
        text,
        "{:<40} {:>7} {:>15} {:>15} {:>12}",
        head[0], head[1], head[2], head[3], head[4]
    );
    for (name, table) in &status.tables {
        let on_disk = disk.get(name).copied().unwrap_or(0);
        let (files, bytes, samples) = (table.files, table.bytes, table.samples);
        let _ = writeln!(text, "{name:<40} {files:>7} {bytes:>15} {samples:>15} {on_disk:>12}");
    }
    if status.tables.len() > TABLES_MAX {
        let count = status.tables.len();
        let _ =
            writeln!(text, "{count} tables: above {TABLES_MAX} they cost the nodes much memory");
    }
    crate::print(&text);
    Ok(())
}

/// How long samples are kept by all processes, and whether this configuration says the same.
fn retention(settings: &Cassandra, own: &RetentionConfig, apply: bool) -> Result<(), Error> {
    let driver = look(settings)?;
    upkeep::require_schema(&*driver)?;
    if apply {
        shared::set_retention(&*driver, own)?;
    }
    let mut text = String::new();
    oversight::tell_retention(shared::retention(&*driver)?.as_ref(), own, &mut text);
    crate::print(&text);
    Ok(())
}

fn check(settings: &Cassandra, remove_orphans: bool) -> Result<(), Error> {
    let scan = look(settings)? as Arc<dyn Scan>;
    let checked = upkeep::check(&scan)?;
    for fault in &checked.faults {
        crate::print(&format!("{fault}\n"));
    }
    for (table, file) in &checked.orphans {
        crate::print(&format!("{table}/{file:016x}: nothing names it\n"));
    }
    if remove_orphans && !checked.orphans.is_empty() {
        upkeep::remove(&scan, &checked.orphans)?;
        crate::print(&format!("{} files that nothing names are deleted\n", checked.orphans.len()));
    }
    if !checked.faults.is_empty() {
        return Err(Error::Damaged(checked.faults.len()));
    }
    crate::print(&format!("sound: {} files, {} bytes\n", checked.files, checked.bytes));
    Ok(())
}
