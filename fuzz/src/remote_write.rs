//! Remote write of both versions: no bytes make the walk panic, or make it hand out more than they hold.

use guard::Limit;
use wire::remote_write::{
    Encoding, Error, Extra, Field, RawLabels, SampleColumns, SeriesView, SymbolTable, Symbols,
    Version, Walk, decompress,
};

/// Walks through a decoded body of a version to its end, or to its first fault.
pub fn walk(body: &[u8], version: Version) {
    let table = match version {
        Version::One => None,
        Version::Two => {
            let (bytes, table) = (SymbolTable::bytes(body, Limit(0)), SymbolTable::read(body));
            let (Ok(bytes), Ok(table)) = (bytes, table) else { return };
            assert!(bytes <= 12 * body.len() as u64, "a symbol takes two bytes of the body at least");
            Some(table)
        }
    };
    let symbols = table.as_ref().map(|table| table.over(body));
    let (mut walk, mut columns) = (Walk::new(body, version), SampleColumns::default());
    while let Ok(Some(field)) = walk.next_field() {
        let walked = match field {
            Field::Series(view) => series(&view, symbols, &mut columns),
            Field::Metadata(view) => {
                assert!(view.metric.len() + view.help.len() + view.unit.len() <= body.len());
                Ok(())
            }
        };
        if walked.is_err() {
            return;
        }
    }
    let samples = columns.values.len();
    assert_eq!(samples, columns.timestamps_ms.len());
    assert!([0, samples].contains(&columns.start_timestamps_ms.len()));
    assert!(2 * samples <= body.len(), "a sample takes two bytes of the body at least");
}

fn series(
    view: &SeriesView<'_>,
    symbols: Option<Symbols<'_>>,
    columns: &mut SampleColumns,
) -> Result<(), Error> {
    let (leading, before) = (view.leading_labels()?, columns.values.len());
    let items = view.items()?;
    let tail = view.read_samples(leading.len(), columns)?;
    let mut gathered = Vec::new();
    view.gather_labels(&mut gathered)?;
    assert!(leading.len() <= gathered.len() && gathered.len() <= view.message().len());
    assert_eq!(tail.has_more_labels, gathered.len() > leading.len());
    each(RawLabels::new(&gathered, symbols))?;
    let mut read = columns.values.len() - before;
    for extra in view.extras() {
        read += 1;
        match extra? {
            Extra::Exemplar(exemplar) => each(exemplar.labels(symbols))?,
            Extra::Histogram(histogram) => {
                if let Ok(histogram) = histogram.histogram {
                    // Whatever was sent, it can be judged.
                    let _ = histogram.admit(160);
                }
            }
        }
    }
    assert_eq!(read as u64, items);
    if let (Some(metadata), Some(symbols)) = (tail.metadata, symbols) {
        metadata.view(b"name_bucket", symbols)?;
    }
    Ok(())
}

fn each(labels: RawLabels<'_>) -> Result<(), Error> {
    labels.into_iter().try_for_each(|label| label.map(drop))
}

/// Unpacks a body: its first byte says how it is packed.
pub fn unpack(data: &[u8]) {
    const LIMIT: u64 = 1 << 20;
    let Some((first, body)) = data.split_first() else { return };
    let encoding = if first % 2 == 0 { Encoding::Snappy } else { Encoding::Zstd };
    let mut buffer = Vec::new();
    let unpacked = decompress(body, encoding, Limit(LIMIT), &mut buffer);
    assert!(buffer.len() as u64 <= LIMIT, "not a byte over the limit is made");
    if let Ok(len) = unpacked {
        walk(&buffer[..len], Version::One);
        walk(&buffer[..len], Version::Two);
    }
}
