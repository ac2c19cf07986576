//! The text format 0.0.4, as Prometheus' `/federate` writes it.
//!
//! A family is `# TYPE` and its samples, each with its time in milliseconds. A native histogram has no
//! form here, and is left out: what else were written is a series that there is not. A series without the
//! label `instance` gets an empty one, so that who scrapes us does not put ours there.
//!
//! Names that are not plain are written as they are to who says that it reads them; to others each
//! character that does not belong there is `_`.

use crate::number;
use model::{LabelSet, METRIC_NAME};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::Write;
use std::iter::Peekable;
use std::vec::IntoIter;

const INSTANCE: &str = "instance";

/// What becomes of names that are not plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Escaping {
    /// They are written in quotes.
    AllowUtf8,
    /// What does not belong into a name becomes `_`.
    Underscores,
}

impl Escaping {
    /// What the text is called.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8",
            Self::Underscores => "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
        }
    }

    fn name(self, name: &str, is_metric: bool) -> Cow<'_, str> {
        if self == Self::AllowUtf8 || is_plain(name, is_metric) {
            return Cow::Borrowed(name);
        }
        let keep = |(index, c): (usize, char)| {
            let belongs = c == '_'
                || c.is_ascii_alphabetic()
                || (is_metric && c == ':')
                || (index > 0 && c.is_ascii_digit());
            if belongs { c } else { '_' }
        };
        Cow::Owned(name.chars().enumerate().map(keep).collect())
    }
}

fn is_plain(name: &str, is_metric: bool) -> bool {
    let belongs =
        |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric() || (is_metric && byte == b':');
    !name.is_empty() && !name.as_bytes()[0].is_ascii_digit() && name.bytes().all(belongs)
}

/// A series and its newest sample.
#[derive(Clone, Debug)]
pub(crate) struct Newest {
    /// Who.
    pub(crate) labels: LabelSet,
    /// When.
    pub(crate) timestamp_ms: i64,
    /// What.
    pub(crate) value: f64,
}

/// What is left to be written.
#[derive(Debug)]
pub(crate) struct Text {
    rows: Peekable<IntoIter<Newest>>,
    escaping: Escaping,
    /// The family that is being written.
    family: Option<String>,
}

impl Text {
    /// The text of these rows, ascending by metric name.
    pub(crate) fn new(rows: Vec<Newest>, escaping: Escaping) -> Self {
        Self { rows: rows.into_iter().peekable(), escaping, family: None }
    }

    /// Appends the next row. False if there is none.
    pub(crate) fn push_next(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(row) = self.rows.next() else { return false };
        let name = row.labels.metric_name();
        if self.family.as_deref() != Some(name) {
            out.extend_from_slice(b"# TYPE ");
            self.push_name(out, name);
            out.extend_from_slice(b" untyped\n");
            self.family = Some(name.to_owned());
        }
        self.push_sample(out, &row);
        true
    }

    /// A metric's name where no label stands beside it.
    fn push_name(&self, out: &mut Vec<u8>, name: &str) {
        let name = self.escaping.name(name, true);
        if is_plain(&name, true) {
            out.extend_from_slice(name.as_bytes())
        } else {
            push_quoted(out, &name)
        }
    }

    fn push_sample(&self, out: &mut Vec<u8>, row: &Newest) {
        let name = self.escaping.name(row.labels.metric_name(), true);
        let is_outside = is_plain(&name, true);
        let mut separator = b'{';
        if is_outside {
            out.extend_from_slice(name.as_bytes());
        } else {
            out.push(separator);
            push_quoted(out, &name);
            separator = b',';
        }
        let of_row = row.labels.iter().map(|(name, value)| (&**name, &**value));
        let instance = row.labels.get(INSTANCE).is_none().then_some((INSTANCE, ""));
        let mut written = BTreeSet::new();
        for (label, value) in of_row.chain(instance) {
            let label_name = self.escaping.name(label, false);
            // Two names may have become one.
            if label == METRIC_NAME || !written.insert(label_name.clone()) {
                continue;
            }
            out.push(separator);
            separator = b',';
            if is_plain(&label_name, false) {
                out.extend_from_slice(label_name.as_bytes());
            } else {
                push_quoted(out, &label_name);
            }
            out.push(b'=');
            push_quoted(out, value);
        }
        out.extend_from_slice(b"} ");
        number::push_sample(out, row.value);
        // Writing into memory does not fail.
        let _ = writeln!(out, " {}", row.timestamp_ms);
    }
}

fn push_quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            other => out.push(other),
        }
    }
    out.push(b'"');
}
