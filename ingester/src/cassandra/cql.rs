//! The text of what is asked of the database, in CQL.
//!
//! # Invariants
//! - Values are bound, never part of a text; names come from `schema.rs`, and a keyspace is checked
//!   ([`is_keyspace`]). So nothing that was received is ever read as CQL.
//! - The order of the places for values is that of each function's comment.
//!
//! Not here: a connection (`driver.rs`).

use super::schema::{ColumnDef, ColumnType, Shape};
use xxhash_rust::xxh3::xxh3_128;

/// Whether this can be a keyspace's name: lower case, digits, `_`, up to 48 of them.
#[must_use]
pub fn is_keyspace(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    name.len() <= 48
        && name.bytes().all(is_part)
        && name.bytes().next().is_some_and(|first| first.is_ascii_lowercase())
}

/// The id of a table in a keyspace: no two keyspaces of a database share one.
#[must_use]
pub fn id_in(keyspace: &str, id: u128) -> String {
    let id = id ^ xxh3_128(keyspace.as_bytes());
    let hex = format!("{id:032x}");
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    parts.join("-")
}

/// Creates the keyspace. `replication` is a map of CQL.
#[must_use]
pub fn create_keyspace(keyspace: &str, replication: &str) -> String {
    format!("CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {replication}")
}

/// Creates a table with this id (of [`id_in`]).
#[must_use]
pub fn create_table(
    keyspace: &str,
    table: &str,
    shape: Shape,
    id: &str,
    gc_grace_seconds: u32,
) -> String {
    let columns = shape.partition.iter().chain(shape.clustering);
    let columns: Vec<String> =
        columns.map(|(name, of)| format!("{name} {}", type_name(*of))).collect();
    let guard = if shape.has_guard { ", guard blob static" } else { "" };
    // A table that is read seldom has no percentile to speculate by: without a number its first reads wait half of
    // the database's time-out for a node that has just died, and a lease is not renewed meanwhile.
    let kind = match shape.is_bulk {
        true => " AND compression = {'enabled': 'false'}",
        false => " AND speculative_retry = '100ms'",
    };
    format!(
        "CREATE TABLE IF NOT EXISTS {keyspace}.{table} ({}{guard}, data blob, \
         PRIMARY KEY (({}), {})) WITH ID = {id} AND gc_grace_seconds = {gc_grace_seconds} \
         AND read_repair = 'NONE' AND compaction = {{'class': 'UnifiedCompactionStrategy'}}{kind}",
        columns.join(", "),
        names(shape.partition),
        names(shape.clustering),
    )
}

/// Drops a table.
#[must_use]
pub fn drop_table(keyspace: &str, table: &str) -> String {
    format!("DROP TABLE IF EXISTS {keyspace}.{table}")
}

/// Writes a row, or a partition's guard: timestamp, data, partition key, clustering columns.
#[must_use]
pub fn write(keyspace: &str, table: &str, shape: Shape, is_guard: bool) -> String {
    let (column, key) =
        if is_guard { ("guard", equal(shape.partition)) } else { ("data", equal_both(shape)) };
    format!("UPDATE {keyspace}.{table} USING TIMESTAMP ? SET {column} = ? WHERE {key}")
}

/// Deletes a row, or a partition: timestamp, partition key, clustering columns.
#[must_use]
pub fn delete(keyspace: &str, table: &str, shape: Shape, is_partition: bool) -> String {
    let key = if is_partition { equal(shape.partition) } else { equal_both(shape) };
    format!("DELETE FROM {keyspace}.{table} USING TIMESTAMP ? WHERE {key}")
}

/// Sets the guard on condition of what it is: guard, partition key, the guard before if there has
/// to be one.
#[must_use]
pub fn change_guard(keyspace: &str, table: &str, shape: Shape, is_new: bool) -> String {
    let before = if is_new { "null" } else { "?" };
    let key = equal(shape.partition);
    format!("UPDATE {keyspace}.{table} SET guard = ? WHERE {key} IF guard = {before}")
}

/// Writes a row along with the guard: data, partition key, clustering columns; or deletes it:
/// partition key, clustering columns.
#[must_use]
pub fn change_row(keyspace: &str, table: &str, shape: Shape, is_deleted: bool) -> String {
    let key = equal_both(shape);
    match is_deleted {
        true => format!("DELETE FROM {keyspace}.{table} WHERE {key}"),
        false => format!("UPDATE {keyspace}.{table} SET data = ? WHERE {key}"),
    }
}

/// From where to where rows are read: how many clustering columns each end has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounds {
    /// One row.
    One,
    /// The partition's guard alone.
    Guard,
    /// A range; no columns are no bound.
    Range {
        /// Of the first row.
        first: usize,
        /// Of the last one.
        last: usize,
    },
}

/// Reads rows: partition key, first, last, how many at most. A row has the guard, if the table has
/// one, the clustering columns, and its data.
#[must_use]
pub fn read(keyspace: &str, table: &str, shape: Shape, bounds: Bounds) -> String {
    let guard = if shape.has_guard { "guard, " } else { "" };
    let clustering = names(shape.clustering);
    let mut text = match bounds {
        Bounds::Guard => format!("SELECT guard FROM {keyspace}.{table} WHERE "),
        _ => format!("SELECT {guard}{clustering}, data FROM {keyspace}.{table} WHERE "),
    };
    text.push_str(&equal(shape.partition));
    match bounds {
        Bounds::Guard => {}
        Bounds::One => {
            text.push_str(" AND ");
            text.push_str(&equal(shape.clustering));
        }
        Bounds::Range { first, last } => {
            // What begins like the last row, and goes on, is behind it.
            let behind = if last == shape.clustering.len() { "<=" } else { "<" };
            for (len, sign) in [(first, ">="), (last, behind)] {
                let columns = shape.clustering.get(..len).unwrap_or(shape.clustering);
                if !columns.is_empty() {
                    let places = vec!["?"; columns.len()].join(", ");
                    text.push_str(&format!(" AND ({}) {sign} ({places})", names(columns)));
                }
            }
        }
    }
    text.push_str(" LIMIT ?");
    text
}

/// When a partition's guard was written, in microseconds since 1970, and what the time is, in milliseconds:
/// partition key.
#[must_use]
pub fn guard_age(keyspace: &str, table: &str, shape: Shape) -> String {
    let key = equal(shape.partition);
    format!(
        "SELECT writetime(guard) AS written, toUnixTimestamp(now()) AS time FROM {keyspace}.{table} \
         WHERE {key} LIMIT 1"
    )
}

/// The keys of all partitions of a table.
#[must_use]
pub fn partitions(keyspace: &str, table: &str, shape: Shape) -> String {
    format!("SELECT DISTINCT {} FROM {keyspace}.{table}", names(shape.partition))
}

fn type_name(of: ColumnType) -> &'static str {
    match of {
        ColumnType::Int => "bigint",
        ColumnType::Text => "text",
    }
}

fn names(columns: &[ColumnDef]) -> String {
    columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

fn equal(columns: &[ColumnDef]) -> String {
    columns.iter().map(|(name, _)| format!("{name} = ?")).collect::<Vec<_>>().join(" AND ")
}

fn equal_both(shape: Shape) -> String {
    format!("{} AND {}", equal(shape.partition), equal(shape.clustering))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cassandra::schema::{self, DEFINITIONS, MANIFEST};

    #[test]
    fn texts_are_those_of_cql() {
        let manifest = schema::shape(MANIFEST).unwrap();
        assert_eq!(
            create_table("k", MANIFEST, manifest, "0-1", 7),
            "CREATE TABLE IF NOT EXISTS k.manifest (place bigint, kind text, name text, \
             guard blob static, data blob, PRIMARY KEY ((place), kind, name)) WITH ID = 0-1 \
             AND gc_grace_seconds = 7 AND read_repair = 'NONE' \
             AND compaction = {'class': 'UnifiedCompactionStrategy'} AND speculative_retry = '100ms'"
        );
        assert_eq!(
            change_guard("k", MANIFEST, manifest, false),
            "UPDATE k.manifest SET guard = ? WHERE place = ? IF guard = ?"
        );
        assert_eq!(
            read("k", MANIFEST, manifest, Bounds::Range { first: 2, last: 1 }),
            "SELECT guard, kind, name, data FROM k.manifest WHERE place = ? \
             AND (kind, name) >= (?, ?) AND (kind) < (?) LIMIT ?"
        );
        let pieces = schema::shape(DEFINITIONS).unwrap();
        assert_eq!(
            write("k", DEFINITIONS, pieces, false),
            "UPDATE k.definitions USING TIMESTAMP ? SET data = ? \
             WHERE file = ? AND part = ? AND piece = ?"
        );
        assert_eq!(
            delete("k", DEFINITIONS, pieces, true),
            "DELETE FROM k.definitions USING TIMESTAMP ? WHERE file = ? AND part = ?"
        );
    }

    #[test]
    fn a_keyspace_is_a_name_and_nothing_else() {
        assert!(is_keyspace("cumae") && is_keyspace("cumae_2"));
        for other in ["", "2c", "Cumae", "c-1", "c;drop", &"c".repeat(49)] {
            assert!(!is_keyspace(other), "{other}");
        }
    }

    #[test]
    fn a_table_has_another_id_in_another_keyspace() {
        let id = schema::table_id(MANIFEST);
        assert_eq!(id_in("a", id), id_in("a", id));
        assert_ne!(id_in("a", id), id_in("b", id));
        assert_eq!(id_in("a", id).len(), 36);
    }
}
