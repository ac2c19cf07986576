//! Reads YAML into the settings, and keeps every fault.

use super::settings::{Visitor, walk, walk_limits};
use super::value::{Setting, wanted};
use super::{Config, Fault, MemberSettings, Role};
use guard::Limits;
use model::TenantId;
use serde_json::{Map, Value};

/// Reads `text` over what `config` holds. Returns every fault; what has none is taken over.
pub(super) fn read(text: &str, config: &mut Config) -> Vec<Fault> {
    let tree = match parse(text) {
        Ok(tree) => tree,
        Err(message) => return vec![Fault::new("file", message)],
    };
    let mut reader = Reader { tree, path: String::new(), known: Vec::new(), faults: Vec::new() };
    walk(&mut reader, config);
    reader.finish()
}

/// The only place that knows which YAML parser we use.
pub(super) fn yaml(text: &str) -> Result<Value, String> {
    serde_saphyr::from_str(text).map_err(|error| error.to_string())
}

fn parse(text: &str) -> Result<Map<String, Value>, String> {
    match yaml(text)? {
        Value::Object(tree) => Ok(tree),
        Value::Null => Ok(Map::new()),
        other => Err(wanted("keys and their values", &other)),
    }
}

/// One section that is being read. What has been read is taken out, so that what is left at the end
/// is unknown.
struct Reader {
    tree: Map<String, Value>,
    path: String,
    known: Vec<&'static str>,
    faults: Vec<Fault>,
}

impl Reader {
    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        // `key:` without a value is as good as no key.
        self.tree.remove(key).filter(|value| !value.is_null())
    }

    fn fault(&mut self, key: &str, message: impl Into<String>) {
        self.faults.push(Fault::new(format!("{}{key}", self.path), message));
    }

    /// A reader of a part, `None` and a fault if it is not a section.
    fn part(&mut self, key: &str, value: Value) -> Option<Self> {
        match value {
            Value::Object(tree) => {
                let path = format!("{}{key}.", self.path);
                Some(Self { tree, path, known: Vec::new(), faults: Vec::new() })
            }
            other => {
                self.fault(key, wanted("a section", &other));
                None
            }
        }
    }

    fn finish(mut self) -> Vec<Fault> {
        let unknown: Vec<String> = self.tree.keys().cloned().collect();
        for key in unknown {
            let message = format!("unknown key; known here: {}", self.known.join(", "));
            self.fault(&key, message);
        }
        self.faults
    }

    fn member(&mut self, index: usize, value: Value) -> Option<MemberSettings> {
        let mut part = self.part(&format!("members[{index}]"), value)?;
        let mut member = MemberSettings {
            node: String::new(),
            address: String::new(),
            roles: Role::ALL.to_vec(),
            rack: String::new(),
        };
        part.setting("node", "", &mut member.node);
        part.setting("address", "", &mut member.address);
        part.setting("roles", "", &mut member.roles);
        part.setting("rack", "", &mut member.rack);
        self.faults.extend(part.finish());
        Some(member)
    }
}

impl Visitor for Reader {
    fn setting<T: Setting>(&mut self, key: &'static str, _meaning: &'static str, value: &mut T) {
        if let Some(given) = self.take(key) {
            match T::read(&given) {
                Ok(read) => *value = read,
                Err(message) => self.fault(key, message),
            }
        }
    }

    fn secret(&mut self, key: &'static str, _meaning: &'static str, value: &mut String) {
        if let Some(given) = self.take(key) {
            match given {
                Value::String(text) => *value = text,
                // The fault does not repeat what was given.
                _ => self.fault(key, "wanted text; put it in quotes"),
            }
        }
    }

    fn section(&mut self, key: &'static str, _meaning: &'static str, walk: impl FnOnce(&mut Self)) {
        let given = self.take(key).unwrap_or_else(|| Value::Object(Map::new()));
        if let Some(mut part) = self.part(key, given) {
            walk(&mut part);
            self.faults.extend(part.finish());
        }
    }

    fn members(
        &mut self,
        key: &'static str,
        _meaning: &'static str,
        list: &mut Vec<MemberSettings>,
    ) {
        match self.take(key) {
            None => {}
            Some(Value::Array(given)) => {
                let members = given.into_iter().enumerate();
                *list = members.filter_map(|(index, value)| self.member(index, value)).collect();
            }
            Some(other) => self.fault(key, wanted("a list of members", &other)),
        }
    }

    fn overrides(
        &mut self,
        key: &'static str,
        _meaning: &'static str,
        base: &Limits,
        list: &mut Vec<(TenantId, Limits)>,
    ) {
        let Some(given) = self.take(key) else { return };
        let Some(tenants) = self.part(key, given) else { return };
        for (name, value) in tenants.tree {
            let tenant = match TenantId::parse(&name) {
                Ok(tenant) => tenant,
                Err(error) => {
                    self.fault(&format!("{key}.{name}"), error.to_string());
                    continue;
                }
            };
            let mut limits = base.clone();
            if let Some(mut part) = self.part(&format!("{key}.{name}"), value) {
                walk_limits(&mut part, &mut limits);
                self.faults.extend(part.finish());
            }
            list.push((tenant, limits));
        }
    }
}
