//! What is looked at rather than kept: what each node says of itself, sizes, partitions, ages.
//!
//! # Rules
//! - Nodes are asked at once, and one that does not answer soon is done without.

use super::{Driver, Inner, Mode, Value, outcome, values};
use crate::cassandra::cql;
use crate::cassandra::rows::{Column, CommitLogSync, RowsError};
use crate::cassandra::upkeep::Scan;
use scylla::cluster::Node;
use scylla::policies::load_balancing::{NodeIdentifier, SingleTargetLoadBalancingPolicy};
use scylla::response::PagingState;
use scylla::response::query_result::QueryRowsResult;
use scylla::statement::Statement;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// For what one node alone can say nobody waits longer.
const NODE_TIMEOUT: Duration = Duration::from_secs(2);

impl Inner {
    /// What each node of the data centre answers, by its address. All are asked at once, and who does not
    /// answer soon is not waited for: a node that hangs holds up no start.
    pub(super) async fn of_each_node(
        self: &Arc<Self>,
        text: &str,
        value: Option<&str>,
    ) -> Vec<(String, Result<QueryRowsResult, RowsError>)> {
        let cluster = self.session.get_cluster_state();
        let mut asked = JoinSet::new();
        let of_ours =
            |node: &&Arc<Node>| node.datacenter.as_deref() == Some(self.config.local_dc.as_str());
        for node in cluster.get_nodes_info().iter().filter(of_ours) {
            let mut statement = Statement::new(text);
            let target = NodeIdentifier::Node(Arc::clone(node));
            let target = SingleTargetLoadBalancingPolicy::new(target, None);
            statement.set_load_balancing_policy(Some(target));
            statement.set_request_timeout(Some(self.config.request_timeout.min(NODE_TIMEOUT)));
            let values: Vec<Value> = value.map(Value::of_text).into_iter().collect();
            let (inner, address) = (Arc::clone(self), node.address.ip().to_string());
            asked.spawn(async move {
                let answer = inner.session.query_unpaged(statement, values).await;
                (address, answer.map_err(outcome::of_read).and_then(outcome::rows))
            });
        }
        let mut told = Vec::new();
        while let Some(answer) = asked.join_next().await {
            // A task of ours that died told nothing.
            told.extend(answer.ok());
        }
        told.sort_by(|one, other| one.0.cmp(&other.0));
        told
    }

    /// Of the nodes that acknowledge; one that is down acknowledges nothing.
    pub(super) async fn commit_log_sync(
        self: &Arc<Self>,
    ) -> Result<Vec<(String, CommitLogSync)>, RowsError> {
        let text = "SELECT value FROM system_views.settings WHERE name = 'commitlog_sync'";
        let mut told = Vec::new();
        let mut last = RowsError::Unknown("no node of the data centre is known".to_owned());
        for (node, answer) in self.of_each_node(text, None).await {
            match answer {
                Ok(rows) => {
                    let found = values::column_text(&rows, "value")?;
                    let is_synced = found.iter().any(|sync| sync == "batch" || sync == "group");
                    let sync =
                        if is_synced { CommitLogSync::Synced } else { CommitLogSync::Periodic };
                    told.push((node, sync));
                }
                Err(error @ RowsError::Refused(_)) => return Err(error),
                Err(error) => {
                    tracing::warn!(node, %error, "a node does not tell its commitlog_sync");
                    last = error;
                }
            }
        }
        if told.is_empty() { Err(last) } else { Ok(told) }
    }
}

impl Inner {
    /// The lowest of the clocks of the nodes that answer, in milliseconds since 1970.
    pub(super) async fn clock_ms(self: &Arc<Self>) -> Result<i64, RowsError> {
        let text = "SELECT toUnixTimestamp(now()) AS time FROM system.local";
        let mut lowest = Err(RowsError::Unknown("no node tells what time it is".to_owned()));
        for (_, answer) in self.of_each_node(text, None).await {
            let told = answer.and_then(|rows| values::column_int(&rows, "time"));
            if let Ok(Some(now_ms)) = told {
                lowest = Ok(lowest.map_or(now_ms, |before: i64| before.min(now_ms)));
            }
        }
        lowest
    }
}

impl Scan for Driver {
    fn guard_age_ms(&self, table: &str, partition: &[Column]) -> Result<Option<u64>, RowsError> {
        let (table, key) = (table.to_owned(), partition.iter().map(Value::of).collect::<Vec<_>>());
        self.run(move |inner| async move { inner.guard_age_ms(&table, key).await })
    }

    fn partitions(&self, table: &str) -> Result<Vec<Vec<Column>>, RowsError> {
        let table = table.to_owned();
        self.run(move |inner| async move {
            let shape = Inner::shape(&table)?;
            let text = cql::partitions(&inner.config.keyspace, &table, shape);
            let prepared = inner.statements.of_table(&inner, (&table, &text), Mode::Scan).await?;
            let (mut found, mut at) = (Vec::new(), PagingState::start());
            loop {
                let page = inner.session.execute_single_page(&prepared, (), at).await;
                let (page, next) = page.map_err(outcome::of_read)?;
                found.extend(values::keys(&outcome::rows(page)?, shape.partition)?);
                match next.into_paging_control_flow() {
                    ControlFlow::Continue(more) => at = more,
                    ControlFlow::Break(()) => return Ok(found),
                }
            }
        })
    }
}

impl Inner {
    /// How long ago a guard was changed, by the database's clock.
    async fn guard_age_ms(
        &self,
        table: &str,
        partition: Vec<Value>,
    ) -> Result<Option<u64>, RowsError> {
        let text = cql::guard_age(&self.config.keyspace, table, Self::shape(table)?);
        let prepared = self.statements.get(self, &text, Mode::Scan).await?;
        let answer = self.session.execute_unpaged(&prepared, partition).await;
        let rows = outcome::rows(answer.map_err(outcome::of_read)?)?;
        let written_us = values::column_int(&rows, "written")?;
        let time_ms = values::column_int(&rows, "time")?;
        let age_ms = |(written_us, time_ms): (i64, i64)| {
            u64::try_from(time_ms.saturating_sub(written_us / 1_000)).unwrap_or(0)
        };
        Ok(written_us.zip(time_ms).map(age_ms))
    }
}

impl Driver {
    /// The nodes that keep the files of a dropped table for ever: with `auto_snapshot` and no `auto_snapshot_ttl`.
    ///
    /// # Errors
    /// [`RowsError`].
    pub fn nodes_that_keep_dropped_tables(&self) -> Result<Vec<String>, RowsError> {
        self.run(|inner| async move {
            let told =
                |name| format!("SELECT value FROM system_views.settings WHERE name = '{name}'");
            let (keeps, ttl) = (told("auto_snapshot"), told("auto_snapshot_ttl"));
            let mut kept = BTreeSet::new();
            for (node, answer) in inner.of_each_node(&keeps, None).await {
                if values::column_text(&answer?, "value")?.iter().any(|value| value == "true") {
                    kept.insert(node);
                }
            }
            for (node, answer) in inner.of_each_node(&ttl, None).await {
                if values::column_text(&answer?, "value")?.iter().any(|value| value != "null") {
                    kept.remove(&node);
                }
            }
            Ok(kept.into_iter().collect())
        })
    }

    /// What each table of the keyspace has on the disks of all nodes that answer, in MiB.
    ///
    /// # Errors
    /// [`RowsError`].
    pub fn disk_usage(&self) -> Result<BTreeMap<String, u64>, RowsError> {
        self.run(|inner| async move {
            let mut sums = BTreeMap::new();
            let text = "SELECT table_name, mebibytes FROM system_views.disk_usage \
                        WHERE keyspace_name = ?";
            for (_, answer) in inner.of_each_node(text, Some(&inner.config.keyspace)).await {
                for (table, mebibytes) in values::sizes(&answer?)? {
                    *sums.entry(table).or_insert(0) += mebibytes;
                }
            }
            Ok(sums)
        })
    }
}
