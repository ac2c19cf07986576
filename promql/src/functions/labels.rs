//! `label_replace`, `label_join`.

use super::Args;
use crate::eval::{EvalError, Series, merge};
use model::regex::{CaptureRegex, Template};
use model::{METRIC_NAME, Text};

/// `label_replace`: where the regex matches the whole source value, the expansion becomes the
/// destination's value; empty, it takes the label away.
pub(super) fn replace(args: &Args<'_>) -> Result<Vec<Series>, EvalError> {
    let (replacement, source) = (args.text(2)?, args.text(3)?);
    let pattern = args.text(4)?;
    let regex = CaptureRegex::new(&pattern).map_err(|_| {
        let text = format!("invalid regular expression in label_replace(): {pattern}");
        EvalError::Unexecutable(text)
    })?;
    let destination = label_name(args.bytes(1)?, "destination label name in label_replace()")?;
    let template = Template::new(&replacement, &regex);
    let mut vector = args.vector(0)?;
    for series in &mut vector {
        args.ctx.budget.tick(1)?;
        let Some(groups) = regex.captures(series.labels.value(&source)) else { continue };
        args.ctx.budget.take_bytes(template.expanded_len(&groups))?;
        set(series, &destination, template.expand(&groups));
    }
    merge::same_labels_by_kind(vector)
}

/// `label_join`: the source values, the separator between them, become the destination's value.
pub(super) fn join(args: &Args<'_>) -> Result<Vec<Series>, EvalError> {
    let separator = args.text(2)?;
    let mut sources = Vec::new();
    for index in 3..args.len() {
        sources.push(label_name(args.bytes(index)?, "source label name in label_join()")?);
    }
    let destination = label_name(args.bytes(1)?, "destination label name in label_join()")?;
    let mut vector = args.vector(0)?;
    for series in &mut vector {
        args.ctx.budget.tick(1)?;
        let values: Vec<&str> = sources.iter().map(|name| series.labels.value(name)).collect();
        let len: usize = values.iter().map(|value| value.len() + separator.len()).sum();
        args.ctx.budget.take_bytes(len as u64)?;
        let value = values.join(&separator);
        set(series, &destination, value);
    }
    merge::same_labels_by_kind(vector)
}

fn set(series: &mut Series, name: &Text, value: String) {
    series.labels.set(name.clone(), value);
    if &**name == METRIC_NAME {
        series.drop_name = false;
    }
}

/// Any UTF-8 text but the empty one is a label's name.
fn label_name(bytes: &[u8], what: &str) -> Result<Text, EvalError> {
    match std::str::from_utf8(bytes) {
        Ok(name) if !name.is_empty() => Ok(name.into()),
        _ => {
            let name = String::from_utf8_lossy(bytes);
            Err(EvalError::Unexecutable(format!("invalid {what}: {name}")))
        }
    }
}
