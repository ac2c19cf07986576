//! Pages for who operates this process: the ring, its services, its settings; and the switches that
//! are not there.
//!
//! While authentication is off nobody can be known to be an operator, so with several tenants the
//! settings are told to nobody: they name tenants.
//!
//! Not here: health and readiness (`routes.rs`).

use crate::config::{Config, Role};
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use cluster::{NodeIndex, Topology};
use guard::Tenancy;
use http::{HeaderMap, StatusCode, header};
use model::Clock;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wire::peer::PeerClient;

/// When somebody joined of whom that is not known.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// What the pages tell about.
#[derive(Debug)]
pub(crate) struct Parts {
    /// Who belongs to the cluster.
    pub(crate) topology: Arc<Topology>,
    /// The ways to the others.
    pub(crate) peers: BTreeMap<NodeIndex, Arc<PeerClient>>,
    /// The settings in force.
    pub(crate) config: Config,
    /// The time.
    pub(crate) clock: Arc<dyn Clock>,
    /// When this process was started.
    pub(crate) started: model::TimestampMs,
}

/// The routes.
pub(crate) fn router(parts: Parts) -> Router {
    let disabled = post(async || (StatusCode::FORBIDDEN, "Lifecycle API is not enabled.\n"))
        .put(async || (StatusCode::FORBIDDEN, "Lifecycle API is not enabled.\n"));
    Router::new()
        .route("/-/reload", disabled.clone())
        .route("/-/quit", disabled)
        .route("/ring", get(ring))
        .route("/memberlist", get(memberlist))
        .route("/services", get(services))
        .route("/config", get(config))
        .route("/runtime_config", get(runtime_config))
        .with_state(Arc::new(parts))
}

/// Every ingester and whether it can be reached, as JSON or as a page.
async fn ring(State(parts): State<Arc<Parts>>, headers: HeaderMap) -> Response {
    let wants_json = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("application/json"));
    let shards: Vec<Value> = parts.shards();
    if wants_json {
        let now = querier::rfc3339(parts.clock.now());
        let answer = json!({"shards": shards, "now": now}).to_string();
        return ([(header::CONTENT_TYPE, "application/json")], answer).into_response();
    }
    let mut text = String::from("ingester  state  address  zone  tokens\n");
    for shard in &shards {
        let field = |key: &str| shard[key].as_str().unwrap_or_default().to_owned();
        let fields = [field("id"), field("state"), field("address"), field("zone")];
        text.push_str(&format!("{}  {}\n", fields.join("  "), shard["tokens"]));
    }
    text.into_response()
}

impl Parts {
    fn shards(&self) -> Vec<Value> {
        let vnodes = self.topology.placement.ring().vnodes();
        let shard = |(node, member): (NodeIndex, &cluster::Member)| {
            let peer = self.peers.get(&node);
            let is_up = peer.is_none_or(|peer| peer.is_up());
            // Of the others only they themselves know since when they run.
            let registered =
                if peer.is_none() { querier::rfc3339(self.started) } else { NEVER.to_owned() };
            json!({
                "id": member.name,
                "state": if is_up { "ACTIVE" } else { "UNHEALTHY" },
                "address": member.address,
                "zone": member.rack,
                "registered_timestamp": registered,
                "tokens": vnodes.iter().filter(|(_, owner)| *owner == node).count(),
            })
        };
        self.topology.members.ingesters().map(shard).collect()
    }

    /// Whether whoever asks may see the settings.
    fn tells_settings(&self) -> bool {
        matches!(self.config.tenancy, Tenancy::Single(_))
    }
}

/// Every member and its roles.
async fn memberlist(State(parts): State<Arc<Parts>>) -> String {
    let mut text = String::from("member  address  roles  state\n");
    for (node, member) in parts.topology.members.iter() {
        let roles = [
            ("distributor", member.roles.distributor),
            ("ingester", member.roles.ingester),
            ("querier", member.roles.querier),
        ];
        let roles: Vec<&str> =
            roles.iter().filter(|(_, has)| *has).map(|(role, _)| *role).collect();
        let is_up = parts.peers.get(&node).is_none_or(|peer| peer.is_up());
        let state = if is_up { "up" } else { "out of reach" };
        text.push_str(&format!(
            "{}  {}  {}  {state}\n",
            member.name,
            member.address,
            roles.join(",")
        ));
    }
    text
}

/// What runs in this process.
async fn services(State(parts): State<Arc<Parts>>) -> String {
    let line = |role: &Role| format!("{} => Running\n", role.as_str());
    parts.config.roles.iter().map(line).collect()
}

/// The settings in force; with `mode=diff` those that are not as usual, with `mode=defaults` what is
/// usual.
async fn config(State(parts): State<Arc<Parts>>, RawQuery(query): RawQuery) -> Response {
    if !parts.tells_settings() {
        return denied();
    }
    let has_mode = |mode: &str| {
        query.as_deref().is_some_and(|query| query.split('&').any(|pair| pair == mode))
    };
    let usual = Config::default().print();
    if has_mode("mode=defaults") {
        return yaml(usual);
    }
    let ours = parts.config.print();
    if !has_mode("mode=diff") {
        return yaml(ours);
    }
    let usual: BTreeSet<(String, String)> = flat(&usual).into_iter().collect();
    let other = flat(&ours).into_iter().filter(|setting| !usual.contains(setting));
    yaml(other.map(|(key, value)| format!("{key}: {value}\n")).collect())
}

/// The limits of tenants. They are read at the start, as all settings are.
async fn runtime_config(State(parts): State<Arc<Parts>>) -> Response {
    if !parts.tells_settings() {
        return denied();
    }
    let ours = parts.config.print();
    let of_limits = flat(&ours)
        .into_iter()
        .filter(|(key, _)| key.starts_with("limits") || key.starts_with("overrides"));
    yaml(of_limits.map(|(key, value)| format!("{key}: {value}\n")).collect())
}

fn denied() -> Response {
    (StatusCode::FORBIDDEN, "only operators may read the configuration\n").into_response()
}

fn yaml(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/yaml")], text).into_response()
}

/// Each setting by its whole path, `a.b`, and what it is set to.
fn flat(yaml: &str) -> Vec<(String, String)> {
    let (mut path, mut settings): (Vec<(usize, &str)>, Vec<_>) = Default::default();
    for line in yaml.lines() {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let Some((key, value)) = text.split_once(':') else { continue };
        while path.last().is_some_and(|(of, _)| *of >= indent) {
            path.pop();
        }
        path.push((indent, key));
        if !value.trim().is_empty() {
            let keys: Vec<&str> = path.iter().map(|(_, key)| *key).collect();
            settings.push((keys.join("."), value.trim().to_owned()));
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_known_by_its_whole_path() {
        let text = "# What.\na: 1\nb:\n  c: [2, 3]\n  # More.\n  d:\n    e: x: y\nf: z\n";
        let expected = [("a", "1"), ("b.c", "[2, 3]"), ("b.d.e", "x: y"), ("f", "z")];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(flat(text), expected);
    }
}
