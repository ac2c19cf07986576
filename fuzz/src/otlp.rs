//! OTLP in both forms: no bytes make the way through them panic, or hand out more than they hold.

use wire::otlp::{Attributes, Error, NoText, Numbers, Point, PointValue, Request, from_json};

/// Goes through the protobuf bytes of a request to their end, or to their first fault.
pub fn protobuf(body: &[u8]) {
    let mut numbers = 0;
    let _ = walk(body, &mut numbers);
    assert!(numbers <= body.len() as u64, "a number takes a byte of the body at least");
}

/// Rewrites JSON; what is made of it is a message.
pub fn json(text: &[u8]) {
    let mut asked = 0;
    let Ok(bytes) = from_json(text, &mut |len| {
        asked = len;
        len <= 1 << 20
    }) else {
        return;
    };
    assert!(bytes.len() <= asked && asked <= 1 << 20, "whoever pays is asked for the last byte too");
    assert!(bytes.len() <= 5 * text.len() + 16);
    match walk(&bytes, &mut 0) {
        Ok(()) | Err(Error::Depth(_)) => {}
        Err(error) => panic!("{error}"),
    }
}

fn walk(body: &[u8], numbers: &mut u64) -> Result<(), Error> {
    for resource in Request::new(body).resources() {
        let resource = resource?;
        texts(resource.attributes())?;
        for scope in resource.scopes() {
            let scope = scope?;
            texts(scope.attributes())?;
            for metric in scope.metrics() {
                for each in metric?.points() {
                    point(&each?, numbers)?;
                }
            }
        }
    }
    Ok(())
}

fn point(point: &Point<'_>, numbers: &mut u64) -> Result<(), Error> {
    texts(point.attributes)?;
    for exemplar in point.exemplars() {
        texts(exemplar?.attributes)?;
    }
    match &point.value {
        PointValue::Number(_) => {}
        PointValue::Histogram { bucket_counts, explicit_bounds, .. } => {
            count(bucket_counts, numbers)?;
            count(explicit_bounds, numbers)?;
        }
        PointValue::Exponential { positive, negative, .. } => {
            count(&positive.counts, numbers)?;
            count(&negative.counts, numbers)?;
        }
        PointValue::Summary { quantiles, .. } => {
            quantiles.quantiles().try_for_each(|one| one.map(drop))?;
        }
    }
    Ok(())
}

fn count(list: &Numbers<'_>, numbers: &mut u64) -> Result<(), Error> {
    for number in list.clone() {
        number?;
        *numbers += 1;
    }
    Ok(())
}

fn texts(attributes: Attributes<'_>) -> Result<(), Error> {
    attributes.iter().try_for_each(|attribute| match attribute?.value.text() {
        Err(NoText::Body(error)) => Err(error),
        Ok(_) | Err(NoText::NotUtf8 | NoText::TooLong) => Ok(()),
    })
}
