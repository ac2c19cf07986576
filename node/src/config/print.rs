//! Prints the settings in force as YAML that can be read again, each with its meaning.

use super::settings::{Visitor, walk, walk_limits};
use super::value::Setting;
use super::{Config, MemberSettings};
use guard::Limits;
use model::TenantId;
use std::fmt::Write as _;

/// The settings in force. Secrets are left out: what is printed gets pasted into tickets.
pub(super) fn print(config: &Config) -> String {
    let mut printer = Printer { text: String::new(), indent: 0, meanings: true };
    walk(&mut printer, &mut config.clone());
    printer.text
}

struct Printer {
    text: String,
    indent: usize,
    meanings: bool,
}

impl Printer {
    fn line(&mut self, line: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{:1$}{line}", "", self.indent);
    }

    fn meaning(&mut self, meaning: &str) {
        if self.meanings {
            self.line(&format!("# {meaning}"));
        }
    }
}

impl Visitor for Printer {
    fn setting<T: Setting>(&mut self, key: &'static str, meaning: &'static str, value: &mut T) {
        self.meaning(meaning);
        self.line(&format!("{key}: {}", value.write()));
    }

    fn secret(&mut self, key: &'static str, meaning: &'static str, value: &mut String) {
        self.meaning(meaning);
        if value.is_empty() {
            self.line(&format!("{key}: \"\""));
        } else {
            self.line(&format!("# {key}: <secret>"));
        }
    }

    fn section(&mut self, key: &'static str, meaning: &'static str, walk: impl FnOnce(&mut Self)) {
        self.meaning(meaning);
        self.line(&format!("{key}:"));
        self.indent += 2;
        walk(self);
        self.indent -= 2;
    }

    fn members(
        &mut self,
        key: &'static str,
        meaning: &'static str,
        list: &mut Vec<MemberSettings>,
    ) {
        self.meaning(meaning);
        if list.is_empty() {
            return self.line(&format!("{key}: []"));
        }
        self.line(&format!("{key}:"));
        for MemberSettings { node, address, roles, rack } in list {
            let (node, address) = (node.write(), address.write());
            let (roles, rack) = (roles.write(), rack.write());
            self.line(&format!(
                "  - {{node: {node}, address: {address}, roles: {roles}, rack: {rack}}}"
            ));
        }
    }

    fn overrides(
        &mut self,
        key: &'static str,
        meaning: &'static str,
        _base: &Limits,
        list: &mut Vec<(TenantId, Limits)>,
    ) {
        self.meaning(meaning);
        if list.is_empty() {
            return self.line(&format!("{key}: {{}}"));
        }
        self.line(&format!("{key}:"));
        self.indent += 2;
        self.meanings = false;
        for (tenant, limits) in list {
            self.line(&format!("{}:", tenant.as_str().to_owned().write()));
            self.indent += 2;
            walk_limits(self, limits);
            self.indent -= 2;
        }
        self.meanings = true;
        self.indent -= 2;
    }
}
