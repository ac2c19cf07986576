use super::*;
use guard::Limit;

fn faults(text: &str) -> Vec<String> {
    let (config, mut faults) = Config::parse(text);
    faults.extend(config.check());
    faults.iter().map(ToString::to_string).collect()
}

#[test]
fn without_a_file_one_tenant_is_served_on_loopback_by_every_role() {
    let config = Config::default();
    assert_eq!(config.check(), vec![]);
    assert!(
        matches!(config.tenancy, guard::Tenancy::Single(ref tenant) if tenant.as_str() == "default")
    );
    assert!(config.server.listen.ip().is_loopback());
    assert_eq!(config.roles, Role::ALL);
}

#[test]
fn every_fault_is_told_at_once_with_its_key() {
    let text = "
tenancy: dual
server: {lissten: '127.0.0.1:1', max_connections: many}
limits: {max_series: -1, retention: 5 parsecs}
overrides: {'a/b': {}, b: {max_serie: 1}}
cluster: {members: [{node: a, adress: 'x:1'}]}
surprise: 1
";
    let told = faults(text).join("\n");
    for key in [
        "tenancy: wanted one of single multi",
        "server.lissten: unknown key; known here: listen,",
        "server.max_connections: wanted a whole number",
        "limits.max_series: wanted",
        "limits.retention: wanted a duration",
        "overrides.a/b: ",
        "overrides.b.max_serie: unknown key",
        "cluster.members[0].adress: unknown key",
        "surprise: unknown key",
    ] {
        assert!(told.contains(key), "{key} is missing in:\n{told}");
    }
}

#[test]
fn a_cassandra_is_checked_only_where_it_is_used() {
    let section = "cassandra: {keyspace: Cumae, username: u, places: 0, tls_key_file: k}";
    assert_eq!(faults(section), [""; 0]);
    let told = faults(&format!("storage: cassandra\n{section}")).join("\n");
    for key in ["cassandra.keyspace", "cassandra.username", "cassandra.places", "tls_cert_file"] {
        assert!(told.contains(key), "{key} is missing in:\n{told}");
    }
    assert!(faults("storage: disk").join("").contains("wanted one of embedded cassandra"));
}

#[test]
fn what_is_printed_reads_back_as_the_same() {
    let text = "
tenancy: multi
roles: [querier]
server: {listen: '127.0.0.1:1', drain_timeout: 1500ms}
limits: {max_request_bytes: 1MiB, retention: 1w}
overrides: {a: {max_series: 7}}
cluster:
  node: q
  members:
    - {node: q, address: 'h:1', roles: [querier]}
    - {node: i, address: 'h:2', rack: r}
";
    let (config, faults) = Config::parse(text);
    assert_eq!(faults, vec![]);
    let (again, faults) = Config::parse(&config.print());
    assert_eq!(faults, vec![], "{}", config.print());
    assert_eq!(again.print(), config.print());
    assert_eq!(again.limits.max_request_bytes, Limit(1 << 20));
    assert_eq!(again.limits.retention_ms, Limit(7 * 86_400_000));
    assert_eq!(again.overrides[0].1.max_series, Limit(7));
    assert_eq!(again.overrides[0].1.max_request_bytes, Limit(1 << 20));
}

#[test]
fn a_secret_is_not_printed() {
    let (config, _) = Config::parse("cluster: {secret: hush}");
    assert_eq!(config.cluster.secret, "hush");
    assert!(!config.print().contains("hush"));
}

#[test]
fn off_loopback_nothing_starts_without_authentication_or_secret() {
    let text = "
server: {listen: '0.0.0.0:9009'}
cluster:
  node: a
  listen: '0.0.0.0:9010'
  members: [{node: a, address: 'a:9010'}, {node: b, address: 'b:9010'}]
";
    let told = faults(text);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("server.listen: ") && told[0].contains("allow_unauthenticated"));
    assert!(told[1].starts_with("cluster.secret: "), "{told:?}");
}

#[test]
fn a_process_without_every_role_needs_to_know_where_the_others_are() {
    assert!(faults("roles: [querier]").join("").contains("cluster.members"));
}

#[test]
fn text_that_is_no_yaml_or_no_section_is_one_fault() {
    for text in ["a: [", "- 1", "x", "a: 1\na: 2"] {
        assert_eq!(Config::parse(text).1.len(), 1, "{text}");
    }
}

#[test]
fn rules_of_retention_come_back_as_they_were_printed_and_a_bad_one_is_told() {
    let text = "limits:\n  retention_rules:\n    - '{__name__=~\"debug_.*\", env!=\"a\\\"b\"}': 3d\n    \
                - up: 90m\noverrides: {a: {retention_rules: []}}\n";
    let (config, faults) = Config::parse(text);
    assert_eq!(faults, []);
    let rules = &config.limits.retention_rules;
    let spans: Vec<u64> = rules.iter().map(|rule| rule.retention.as_ms()).collect();
    assert_eq!((spans, rules[0].matchers.len()), (vec![3 * 86_400_000, 90 * 60_000], 2));
    let (again, faults) = Config::parse(&config.print());
    assert_eq!(faults, []);
    assert_eq!(again.limits.retention_rules, config.limits.retention_rules);
    assert_eq!(again.overrides[0].1.retention_rules, []);

    for bad in ["{up: 1d}", "['{a=}': 1d]", "[{up: 1d, down: 1d}]", "[{up: soon}]"] {
        let (_, faults) = Config::parse(&format!("limits: {{retention_rules: {bad}}}"));
        assert_eq!(faults.len(), 1, "{bad}: {faults:?}");
        assert_eq!(faults[0].key, "limits.retention_rules", "{bad}");
    }
}

#[test]
fn the_compaction_is_chosen_by_name_and_its_faults_are_told() {
    let text =
        "store: {compaction: {strategy: twcs, scaling_parameters: 'T8,N', flush_size: 1GiB}}";
    let (config, faults_read) = Config::parse(text);
    assert_eq!(faults_read, vec![]);
    assert_eq!(config.compaction.strategy.as_str(), "twcs");
    assert_eq!(config.compaction.scaling_parameters.to_string(), "T8,N");
    assert_eq!(Config::parse(&config.print()).0.print(), config.print());
    let text = "store: {compaction: {strategy: dtcs, scaling_parameters: T1, flush_size: 1}}";
    let told = faults(text).join("\n");
    for fault in [
        "store.compaction.strategy: wanted one of ucs stcs lcs twcs",
        "store.compaction.scaling_parameters: the fan factor 1",
        "store: compaction: flush_size must be",
    ] {
        assert!(told.contains(fault), "{told}");
    }
}
