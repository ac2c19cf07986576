//! The list of all settings: the one home of each key and of what it means.

use super::value::{Bytes, Setting};
use super::{Config, MemberSettings, cassandra};
use guard::{HaLimits, Limit, Limits, OtlpSettings};
use model::TenantId;
use std::time::Duration;
use store::config::CompactionConfig;

/// Walks the settings: reads them, or prints them.
pub trait Visitor {
    /// One setting: its key in the section, what it means, its value.
    fn setting<T: Setting>(&mut self, key: &'static str, meaning: &'static str, value: &mut T);
    /// A setting that is never printed.
    fn secret(&mut self, key: &'static str, meaning: &'static str, value: &mut String);
    /// A section: its settings are walked by `walk`.
    fn section(&mut self, key: &'static str, meaning: &'static str, walk: impl FnOnce(&mut Self));
    /// The member list.
    fn members(&mut self, key: &'static str, meaning: &'static str, list: &mut Vec<MemberSettings>);
    /// Limits by tenant, over those of everybody else.
    fn overrides(
        &mut self,
        key: &'static str,
        meaning: &'static str,
        base: &Limits,
        list: &mut Vec<(TenantId, Limits)>,
    );
}

/// Walks all settings.
pub(super) fn walk(visitor: &mut impl Visitor, config: &mut Config) {
    visitor.setting("roles", "What this process does; also --role.", &mut config.roles);
    visitor.setting(
        "tenancy",
        "single: one tenant, `default`, and no header needed. multi: X-Scope-OrgID says which.",
        &mut config.tenancy,
    );
    visitor.setting(
        "self_metrics",
        "Write our own metrics every 15 s, as job=\"cumae\", through the ordinary write path.",
        &mut config.self_metrics,
    );
    visitor.section("server", "The HTTP server.", |v| walk_server(v, config));
    visitor.section("data", "Where data lies.", |v| {
        v.setting("dir", "One process at a time; also --data-dir.", &mut config.data.dir);
    });
    visitor.setting(
        "storage",
        "embedded: the data lies in data.dir. cassandra: in rows of an Apache Cassandra.",
        &mut config.storage,
    );
    visitor.section("cassandra", "Which Cassandra; also for `cumae cassandra`.", |v| {
        cassandra::walk(v, &mut config.cassandra);
    });
    visitor.section("disk", "The disk that data.dir is on.", |v| {
        let meaning = "Kept free: with less, writes get 503. 0 is 5 % of it, at most 10GiB.";
        size(v, "reserve", meaning, &mut config.disk.reserve);
    });
    visitor.section("store", "The store of this process.", |v| walk_store(v, config));
    visitor.section("write", "Writes, the same for all tenants.", |v| {
        walk_write(v, &mut config.write);
    });
    visitor.section("query", "Queries, the same for all tenants.", |v| walk_query(v, config));
    visitor.section("limits", "What one tenant may do; 0 switches a limit off.", |v| {
        walk_limits(v, &mut config.limits);
    });
    let Config { limits, overrides, .. } = config;
    visitor.overrides("overrides", "Limits of single tenants, by name.", limits, overrides);
    visitor.section("cluster", "Who belongs together.", |v| walk_cluster(v, config));
    visitor.section("log", "Logs, written to stderr.", |v| {
        v.setting("level", "error, warn, info, debug, trace, or a filter.", &mut config.log.level);
        v.setting("format", "text or json.", &mut config.log.format);
    });
}

fn walk_store(v: &mut impl Visitor, config: &mut Config) {
    let mut cache = Bytes(config.store.cache_bytes);
    let meaning = "Sstables' blocks and indexes kept in memory for the next query.";
    v.setting("cache_bytes", meaning, &mut cache);
    config.store.cache_bytes = cache.0;
    let mut throughput = Bytes(config.store.compaction_throughput);
    let meaning = "Bytes that compaction reads and writes per second, together.";
    v.setting("compaction_throughput", meaning, &mut throughput);
    config.store.compaction_throughput = throughput.0;
    let meaning = "In this time every byte on disk is read and checked once; 0 is never.";
    v.setting("scrub_cycle", meaning, &mut config.store.scrub_cycle);
    v.section("compaction", "Which sstables are merged when.", |v| {
        walk_compaction(v, &mut config.compaction);
    });
}

fn walk_query(v: &mut impl Visitor, config: &mut Config) {
    let meaning = "A query that takes so long or longer gets a line in the log; 0 is never.";
    v.setting("slow_query", meaning, &mut config.query.slow_query);
    let meaning = "Answers to range queries kept in memory for the next time; 0 keeps none.";
    size(v, "cache_bytes", meaning, &mut config.query.cache_bytes);
    let meaning = "Memory of all queries together; 0 is 40 % of the machine's. More get 503.";
    size(v, "memory", meaning, &mut config.query.memory_bytes);
    let meaning = "The step of a subquery that names none, as in x[1h:].";
    v.setting("evaluation_interval", meaning, &mut config.query.evaluation_interval);
    let meaning = "Experiments that are on, with Prometheus' names and commas between them.";
    v.setting("features", meaning, &mut config.query.features);
    let query = &mut config.limits.query;
    bytes(v, "max_text_bytes", "Its length.", &mut query.max_text_bytes);
    count(v, "max_depth", "How deep it may be nested; at most 128.", &mut query.max_depth);
}

fn walk_compaction(v: &mut impl Visitor, compaction: &mut CompactionConfig) {
    v.setting("strategy", "ucs, stcs, lcs or twcs.", &mut compaction.strategy);
    v.setting(
        "scaling_parameters",
        "ucs: T and a fan factor writes less, L reads less, N lies between; a list goes by level.",
        &mut compaction.scaling_parameters,
    );
    size(v, "target_sstable_size", "What shards are cut to.", &mut compaction.sstable_bytes);
    size(v, "min_sstable_size", "None is cut smaller.", &mut compaction.sstable_bytes_min);
    v.setting(
        "base_shard_count",
        "Shards of a window, once each has min_sstable_size.",
        &mut compaction.base_shards,
    );
    let meaning = "What a flush writes at least; where the levels of ucs begin. Rather too small.";
    size(v, "flush_size", meaning, &mut compaction.flush_bytes);
    v.setting(
        "max_sstables_to_compact",
        "The most overlapping sstables that are merged at once.",
        &mut compaction.sstables_max,
    );
    v.setting(
        "twcs_min_threshold",
        "twcs: as many of similar size are merged in the newest window.",
        &mut compaction.twcs_threshold_min,
    );
    v.setting(
        "twcs_max_threshold",
        "twcs: the most that are merged at once.",
        &mut compaction.twcs_threshold_max,
    );
    v.setting(
        "reseal_percent",
        "A closed window is sealed once more when so much came late; 0 for never.",
        &mut compaction.reseal_percent,
    );
}

pub(super) fn size(v: &mut impl Visitor, key: &'static str, meaning: &'static str, size: &mut u64) {
    let mut bytes = Bytes(*size);
    v.setting(key, meaning, &mut bytes);
    *size = bytes.0;
}

fn walk_write(v: &mut impl Visitor, write: &mut super::Write) {
    let meaning = "Memory of all writes under way, of several tenants half of it for one; more get \
                   503. 0 is a quarter of the machine's, at most 512MiB.";
    size(v, "memory", meaning, &mut write.memory_bytes);
    let meaning = "Tenants that may begin per second in this process, after ten seconds' worth of them at once; \
                   more get 503. 0 is no limit.";
    v.setting("new_tenants_per_second", meaning, &mut write.new_tenants_per_second);
    let meaning = "Tenants of which something is in memory, where series are kept until they have been idle \
                   for an hour and are flushed; the writes of more get 503. 0 is no limit.";
    v.setting("max_tenants", meaning, &mut write.tenants_max);
}

fn walk_server(v: &mut impl Visitor, config: &mut Config) {
    let server = &mut config.server;
    v.setting("listen", "Address and port of HTTP; also --listen.", &mut server.listen);
    v.setting(
        "allow_unauthenticated",
        "Listen off loopback although nobody is authenticated: for networks that are trusted.",
        &mut server.allow_unauthenticated,
    );
    v.setting("max_connections", "Open connections, in all.", &mut server.connections_max);
    v.setting(
        "max_connections_per_address",
        "Open connections of one address.",
        &mut server.connections_per_address_max,
    );
    v.setting(
        "header_timeout",
        "How long a request's header may take to come, once it has begun.",
        &mut server.header_timeout,
    );
    v.setting(
        "idle_timeout",
        "How long a connection may wait for its first or next request.",
        &mut server.idle_timeout,
    );
    v.setting(
        "body_timeout",
        "How long a request's body may take to come; one of an import may take longer.",
        &mut server.body_timeout,
    );
    v.setting(
        "stall_timeout",
        "How long the reader of an answer may take nothing of it.",
        &mut server.stall_timeout,
    );
    v.setting(
        "drain_timeout",
        "How long requests may go on after SIGTERM.",
        &mut server.drain_timeout,
    );
}

/// Walks the limits of one tenant.
pub(super) fn walk_limits(v: &mut impl Visitor, limits: &mut Limits) {
    walk_amounts(v, limits);
    count(v, "max_labels", "Labels of one series.", &mut limits.max_labels);
    bytes(v, "max_label_name_bytes", "One label name.", &mut limits.max_label_name_bytes);
    bytes(v, "max_label_value_bytes", "One label value.", &mut limits.max_label_value_bytes);
    bytes(v, "max_labels_bytes", "All labels of one series.", &mut limits.max_labels_bytes);
    span(
        v,
        "max_future",
        "How far ahead of the clock a sample may lie.",
        &mut limits.max_future_ms,
    );
    span(v, "retention", "How far behind it; 0 keeps for ever.", &mut limits.retention_ms);
    v.setting(
        "retention_rules",
        "The same for the series of a selector, such as - '{__name__=~\"debug_.*\"}': 3d. The first \
         that matches decides.",
        &mut limits.retention_rules,
    );
    v.setting(
        "metric_relabel_configs",
        "What is done to series as they come in, in Prometheus' words, such as - {action: labeldrop, \
         regex: pod_.*}.",
        &mut limits.relabel_rules,
    );
    walk_ha(v, &mut limits.ha);
    walk_otlp(v, &mut limits.otlp);
    count(
        v,
        "max_metadata",
        "Metrics whose metadata is kept by each replica; over Cassandra by each place.",
        &mut limits.max_metadata,
    );
    count(
        v,
        "max_exemplars",
        "Exemplars kept by each replica, over Cassandra by each place; the oldest go.",
        &mut limits.max_exemplars,
    );
    count(
        v,
        "max_native_histogram_buckets",
        "Buckets of one native histogram; its resolution is lowered as far as needed.",
        &mut limits.max_native_histogram_buckets,
    );
    let query = &mut limits.query;
    count(v, "max_query_series", "Series of one query.", &mut query.max_series);
    count(v, "max_query_samples", "Samples one query holds at once.", &mut query.max_samples);
    bytes(v, "max_query_bytes", "Memory of one query.", &mut query.max_bytes);
    count(v, "max_query_tombstones", "Deletes that touch one read.", &mut query.max_tombstones);
    span(v, "query_timeout", "Time of one query.", &mut query.timeout_ms);
    count(
        v,
        "max_query_concurrency",
        "Queries at once, in each process.",
        &mut query.max_concurrency,
    );
    count(v, "max_query_queue", "Queries that wait, in each process.", &mut query.max_queue);
}

/// Walks how much it may send.
fn walk_amounts(v: &mut impl Visitor, limits: &mut Limits) {
    bytes(v, "max_request_bytes", "A write's body as sent.", &mut limits.max_request_bytes);
    bytes(v, "max_decoded_bytes", "The same, decompressed.", &mut limits.max_decoded_bytes);
    count(v, "max_request_series", "Series in one write.", &mut limits.max_request_series);
    count(v, "max_request_samples", "Samples in one write.", &mut limits.max_request_samples);
    count(
        v,
        "ingestion_rate",
        "Samples per second, in each process that takes writes.",
        &mut limits.ingestion_rate,
    );
    v.setting(
        "ingestion_burst",
        "Samples at once, in each process too; 0 is two seconds of ingestion_rate.",
        &mut limits.ingestion_burst,
    );
    let meaning = "Open series; known ones go on at the limit. With more ingesters than copies each enforces its \
                   share of it, and what midnight may bring beside that: up to twice as many in all.";
    count(v, "max_series", meaning, &mut limits.max_series);
    let per_metric = &mut limits.max_series_per_metric;
    count(v, "max_series_per_metric", "Open series of one metric.", per_metric);
}

/// Walks how OTLP metrics are translated.
fn walk_otlp(v: &mut impl Visitor, otlp: &mut OtlpSettings) {
    v.setting(
        "otlp_translation_strategy",
        "What becomes of names, in Prometheus' words: UnderscoreEscapingWithSuffixes, \
         NoUTF8EscapingWithSuffixes, UnderscoreEscapingWithoutSuffixes, NoTranslation.",
        &mut otlp.translation,
    );
    v.setting(
        "otlp_promote_resource_attributes",
        "OTLP: resource attributes that become labels of every series.",
        &mut otlp.promote_resource_attributes,
    );
    v.setting(
        "otlp_promote_scope_metadata",
        "OTLP: whether the scope's name, version, schema and attributes become labels.",
        &mut otlp.promote_scope_metadata,
    );
    v.setting(
        "otlp_keep_identifying_resource_attributes",
        "OTLP: whether target_info has the attributes too that job and instance are made of.",
        &mut otlp.keep_identifying_resource_attributes,
    );
    v.setting(
        "otlp_convert_histograms_to_nhcb",
        "OTLP: whether histograms become native ones with custom buckets.",
        &mut otlp.convert_histograms_to_nhcb,
    );
    v.setting(
        "otlp_allow_delta_temporality",
        "OTLP: whether points that count from the one before are taken, as they are.",
        &mut otlp.allow_delta_temporality,
    );
}

fn walk_ha(v: &mut impl Visitor, ha: &mut HaLimits) {
    v.setting(
        "accept_ha_samples",
        "Of replicas that send the same, keep the samples of one: those of a cluster are told apart by \
         a label that is not stored.",
        &mut ha.is_on,
    );
    v.setting(
        "ha_cluster_label",
        "The label that says what they send about.",
        &mut ha.cluster_label,
    );
    v.setting("ha_replica_label", "The label that tells them apart.", &mut ha.replica_label);
    let mut span = Duration::from_millis(ha.failover_ms);
    let meaning = "After so long a silence of the one, the next one's samples are kept.";
    v.setting("ha_failover_timeout", meaning, &mut span);
    ha.failover_ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    count(v, "ha_max_clusters", "Clusters; series of one more are refused.", &mut ha.max_clusters);
}

fn walk_cluster(v: &mut impl Visitor, config: &mut Config) {
    let cluster = &mut config.cluster;
    v.setting(
        "name",
        "The cluster's name: seasons the hash of series, so it never changes once data is there.",
        &mut cluster.name,
    );
    v.setting("node", "Which of the members this process is.", &mut cluster.node);
    v.setting("listen", "Where this process listens for its peers.", &mut cluster.listen);
    v.secret(
        "secret",
        "What peers prove themselves with; needed off loopback.",
        &mut cluster.secret,
    );
    v.members(
        "members",
        "All members, the same list on each: node, address, and if need be roles and rack. Empty: \
         this process is alone.",
        &mut cluster.members,
    );
    let meaning = "With storage: cassandra, of a process without the role ingester: cluster.listen of some \
                   ingesters, host:port. It learns the others, and who has what, from them.";
    v.setting("ingesters", meaning, &mut cluster.ingesters);
    let meaning = "The code that a refused start names after the members or replication_factor changed, to go \
                   on all the same: data stays where it lies, and what lies elsewhere now is not found.";
    v.setting("accept_layout", meaning, &mut cluster.accept_layout);
    v.setting(
        "replication_factor",
        "Copies of each sample; 0 is 3, or as many as there are ingesters if they are fewer.",
        &mut cluster.replication_factor,
    );
    v.setting(
        "write_consistency",
        "Copies on disk before a write is acknowledged: ONE, TWO, THREE, QUORUM, ALL.",
        &mut cluster.write_consistency,
    );
    v.setting("read_consistency", "Copies asked by a query.", &mut cluster.read_consistency);
}

fn count(v: &mut impl Visitor, key: &'static str, meaning: &'static str, limit: &mut Limit) {
    v.setting(key, meaning, &mut limit.0);
}

fn bytes(v: &mut impl Visitor, key: &'static str, meaning: &'static str, limit: &mut Limit) {
    let mut bytes = Bytes(limit.0);
    v.setting(key, meaning, &mut bytes);
    limit.0 = bytes.0;
}

fn span(v: &mut impl Visitor, key: &'static str, meaning: &'static str, limit_ms: &mut Limit) {
    let mut span = Duration::from_millis(limit_ms.0);
    v.setting(key, meaning, &mut span);
    limit_ms.0 = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
}
