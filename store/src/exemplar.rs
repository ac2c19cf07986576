//! Exemplars as bytes, in records and sstables: time as a zigzag, value as 8 bytes, a count of
//! labels, each as a name and a value.

use crate::bytes::{Damaged, Input, put_ivarint, put_text, put_uvarint};
use model::{Exemplar, LabelSet};

/// Appends an exemplar.
pub(crate) fn put(out: &mut Vec<u8>, exemplar: &Exemplar) {
    put_ivarint(out, exemplar.timestamp_ms);
    out.extend_from_slice(&exemplar.value.to_bits().to_le_bytes());
    put_uvarint(out, exemplar.labels.len() as u64);
    for (name, value) in exemplar.labels.iter() {
        put_text(out, name);
        put_text(out, value);
    }
}

/// More bytes than an exemplar takes, with the number of its series.
pub(crate) fn bytes_max(exemplar: &Exemplar) -> usize {
    40 + exemplar.labels.iter().map(|(name, value)| name.len() + value.len() + 20).sum::<usize>()
}

/// Reads an exemplar.
pub(crate) fn read(input: &mut Input<'_>) -> Result<Exemplar, Damaged> {
    let timestamp_ms = input.ivarint()?;
    let value = f64::from_bits(input.u64()?);
    let pairs: Vec<(&str, &str)> = (0..input.count(2)?)
        .map(|_| Ok((input.text()?, input.text()?)))
        .collect::<Result<_, Damaged>>()?;
    let labels =
        LabelSet::from_pairs(pairs).map_err(|_| Damaged("an exemplar has a label twice"))?;
    Ok(Exemplar { timestamp_ms, value, labels })
}
