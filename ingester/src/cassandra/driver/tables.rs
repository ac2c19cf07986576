//! Which tables there are, and how one comes to be.
//!
//! # Rules
//! - A table is made only while all nodes that are connected agree on the schema.
//! - Where they do not agree soon, what there is is what any of them has: while versions of Cassandra differ
//!   they do not for hours, and places have to be opened all the same. One node may be silent: a table in which
//!   a quorum took something is known to another one, too.

use super::{AS_SHAPED, Inner, Value, values};
use crate::cassandra::cql;
use crate::cassandra::rows::RowsError;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A table that was just made is known to all nodes by then, also to those that are busy.
const SOON: Duration = Duration::from_secs(8);
const NAMES: &str = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ";

impl Inner {
    /// The names of all tables, ascending.
    pub(super) async fn tables(self: &Arc<Self>) -> Result<Vec<String>, RowsError> {
        let names: BTreeSet<String> = if self.agree_soon().await {
            let text = format!("{NAMES}?");
            let rows = self.select(&text, vec![Value::of_text(&self.config.keyspace)]).await?;
            values::column_text(&rows, "table_name")?.into_iter().collect()
        } else {
            self.tables_by_node().await?.into_iter().flatten().collect()
        };
        Ok(names.into_iter().collect())
    }

    /// Whether each node that is connected knows a table; waits for those that are about to.
    pub(super) async fn is_everywhere(self: &Arc<Self>, table: &str) -> Result<bool, RowsError> {
        if self.agree_soon().await {
            return Ok(self.id(table).await?.is_some());
        }
        Ok(self.tables_by_node().await?.iter().all(|names| names.contains(table)))
    }

    /// What each node that answers says of the tables; an error if more than one is silent.
    async fn tables_by_node(self: &Arc<Self>) -> Result<Vec<BTreeSet<String>>, RowsError> {
        let (mut told, mut silent) = (Vec::new(), Vec::new());
        for (node, answer) in
            self.of_each_node(&format!("{NAMES}?"), Some(&self.config.keyspace)).await
        {
            match answer.and_then(|rows| values::column_text(&rows, "table_name")) {
                Ok(names) => told.push(names.into_iter().collect()),
                Err(error) => silent.push(format!("{node}: {error}")),
            }
        }
        if told.is_empty() || silent.len() > 1 {
            let why = format!(
                "nodes do not agree on the schema, and some are silent: {}",
                silent.join("; ")
            );
            return Err(RowsError::Unknown(why));
        }
        Ok(told)
    }

    /// Whether all nodes that are connected agree on the schema, now or soon. Where they did not before nobody
    /// waits for them.
    async fn agree_soon(&self) -> bool {
        let was_apart = self.is_apart.load(Ordering::Relaxed);
        let agreed = if was_apart {
            let asked = tokio::time::timeout(SOON, self.session.check_schema_agreement()).await;
            matches!(asked, Ok(Ok(Some(_))))
        } else {
            let asked = tokio::time::timeout(SOON, self.session.await_schema_agreement()).await;
            matches!(asked, Ok(Ok(_)))
        };
        self.is_apart.store(!agreed, Ordering::Relaxed);
        match (was_apart, agreed) {
            (false, false) => tracing::warn!(
                "the nodes of Cassandra do not agree on the schema (`nodetool describecluster`): no table is made meanwhile"
            ),
            (true, true) => tracing::info!("the nodes of Cassandra agree on the schema again"),
            _ => {}
        }
        agreed
    }

    /// What other processes did to the schema is seen by the node that is asked next.
    async fn agree(&self) -> Result<(), RowsError> {
        let agreed = self.session.await_schema_agreement().await;
        agreed.map(drop).map_err(|error| RowsError::Unknown(error.to_string()))
    }

    /// The id that a table has.
    pub(super) async fn id(&self, table: &str) -> Result<Option<String>, RowsError> {
        let text = "SELECT id FROM system_schema.tables WHERE keyspace_name = ? AND table_name = ?";
        let key = vec![Value::of_text(&self.config.keyspace), Value::of_text(table)];
        let rows = self.select(text, key).await?;
        Ok(values::column_uuid(&rows, "id")?.into_iter().next())
    }

    pub(super) async fn create_table(&self, table: &str, id: u128) -> Result<(), RowsError> {
        let shape = Self::shape(table)?;
        let id = cql::id_in(&self.config.keyspace, id);
        let mut found = self.id(table).await?;
        // While versions of Cassandra differ the nodes do not agree for hours: who needs nothing new goes on.
        if found.is_none() {
            self.agree().await?;
            let own = self.gc_grace_seconds.load(Ordering::Relaxed);
            let gc_grace = if own == AS_SHAPED { shape.gc_grace_seconds } else { own };
            let keyspace = &self.config.keyspace;
            self.alter(cql::create_table(keyspace, table, shape, &id, gc_grace)).await?;
            found = self.id(table).await?;
        }
        match found {
            Some(found) if found == id => Ok(()),
            Some(found) => Err(RowsError::Refused(format!(
                "table `{table}` has the id {found} instead of {id}: it was made by hand"
            ))),
            None => Err(RowsError::Unknown(format!("table `{table}` is not there yet"))),
        }
    }
}
