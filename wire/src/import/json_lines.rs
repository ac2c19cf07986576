//! One series a line: `{"metric":{"__name__":"up"},"values":[1,2.5],"timestamps":[0,15000]}`.
//!
//! A value that is `null` is left out, with its time. Values that JSON has no number for are
//! strings: `"NaN"`, `"Infinity"`, `"-Infinity"`. Other keys are passed.

use super::{BadLine, LineBounds, Row};
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess,
    Unexpected, Visitor,
};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// Reads a line, without its line feed.
///
/// # Errors
/// [`BadLine`].
pub fn parse(line: &[u8], bounds: LineBounds) -> Result<Row<'static>, BadLine> {
    let mut reader = serde_json::Deserializer::from_slice(line);
    let read = Members { bounds }.deserialize(&mut reader);
    let read = read.and_then(|series| reader.end().map(|()| series)).map_err(|error| {
        // A line has no lines.
        let text = error.to_string().replace("line 1 column", "byte");
        BadLine(Cow::Owned(text))
    })?;
    if read.values.len() != read.timestamps.len() {
        let (values, timestamps) = (read.values.len(), read.timestamps.len());
        let text = format!("{values} values and {timestamps} timestamps");
        return Err(BadLine(Cow::Owned(text)));
    }
    let pairs = read.timestamps.into_iter().zip(read.values);
    let samples = pairs.filter_map(|(time, value)| value.map(|value| (time, value))).collect();
    let own = |(name, value)| (Cow::Owned(name), Cow::Owned(value));
    Ok(Row { labels: read.metric.into_iter().map(own).collect(), samples })
}

/// A line as it stands.
#[derive(Default)]
struct Series {
    metric: Vec<(String, String)>,
    values: Vec<Option<f64>>,
    timestamps: Vec<i64>,
}

/// Reads the members of a line.
struct Members {
    bounds: LineBounds,
}

impl<'de> DeserializeSeed<'de> for Members {
    type Value = Series;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Series, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members {
    type Value = Series;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with metric, values and timestamps")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Series, A::Error> {
        let Self { bounds } = self;
        let mut series = Series::default();
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            match &*key {
                "metric" => series.metric = map.next_value_seed(Metric { bounds })?,
                "values" => series.values = map.next_value_seed(List::<Value>::new(bounds))?,
                "timestamps" => {
                    series.timestamps = map.next_value_seed(List::<Time>::new(bounds))?
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(series)
    }
}

/// Reads a list of what items of the type `W` wrap.
struct List<W> {
    bounds: LineBounds,
    items: PhantomData<W>,
}

impl<W> List<W> {
    fn new(bounds: LineBounds) -> Self {
        Self { bounds, items: PhantomData }
    }
}

/// What an item of a list wraps.
trait Wrap {
    type Inner;

    fn inner(self) -> Self::Inner;
}

impl<'de, W: Wrap + Deserialize<'de>> DeserializeSeed<'de> for List<W> {
    type Value = Vec<W::Inner>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, W: Wrap + Deserialize<'de>> Visitor<'de> for List<W> {
    type Value = Vec<W::Inner>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element::<W>()? {
            if items.len() == self.bounds.samples {
                return Err(Error::custom(self.bounds.too_many_samples()));
            }
            items.push(item.inner());
        }
        Ok(items)
    }
}

/// Reads labels, in the order sent: whether one occurs twice is not for the reader to say.
struct Metric {
    bounds: LineBounds,
}

impl<'de> DeserializeSeed<'de> for Metric {
    type Value = Vec<(String, String)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Metric {
    type Value = Vec<(String, String)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("labels")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            if pairs.len() == self.bounds.labels {
                return Err(Error::custom(self.bounds.too_many_labels()));
            }
            pairs.push(pair);
        }
        Ok(pairs)
    }
}

/// A value: a number, `null`, or what JSON has no number for.
struct Value(Option<f64>);

impl Wrap for Value {
    type Inner = Option<f64>;

    fn inner(self) -> Option<f64> {
        self.0
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl<'de> Visitor<'de> for Number {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, null, \"NaN\", \"Infinity\" or \"-Infinity\"")
            }

            fn visit_unit<E: Error>(self) -> Result<Value, E> {
                Ok(Value(None))
            }

            #[expect(clippy::cast_precision_loss, reason = "samples are floats")]
            fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
                Ok(Value(Some(value as f64)))
            }

            #[expect(clippy::cast_precision_loss, reason = "samples are floats")]
            fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
                Ok(Value(Some(value as f64)))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
                Ok(Value(Some(value)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
                // Also `+Inf` and the like, and numbers as strings.
                let number =
                    text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))?;
                Ok(Value(Some(number)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Value, A::Error> {
                Err(A::Error::invalid_type(Unexpected::Seq, &self))
            }
        }
        deserializer.deserialize_any(Number)
    }
}

/// A moment in milliseconds since 1970: an integer, also written as `1.5e12`.
struct Time(i64);

impl Wrap for Time {
    type Inner = i64;

    fn inner(self) -> i64 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Integer;
        impl Visitor<'_> for Integer {
            type Value = Time;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("milliseconds since 1970")
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Time, E> {
                let time = i64::try_from(value);
                time.map(Time).map_err(|_| E::invalid_value(Unexpected::Unsigned(value), &self))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Time, E> {
                Ok(Time(value))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Time, E> {
                #[expect(clippy::cast_possible_truncation, reason = "checked to be far inside")]
                match value.fract() == 0.0 && value.abs() < 9e15 {
                    true => Ok(Time(value as i64)),
                    false => Err(E::invalid_value(Unexpected::Float(value), &self)),
                }
            }
        }
        deserializer.deserialize_any(Integer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: &str, timestamps: &str) -> Result<Vec<(i64, f64)>, BadLine> {
        let line = format!(r#"{{"metric":{{}},"values":[{values}],"timestamps":[{timestamps}]}}"#);
        parse(line.as_bytes(), LineBounds::NONE).map(|row| row.samples)
    }

    #[test]
    fn a_line_is_one_series() {
        let line = br#"{"metric":{"__name__":"up","job":"a\u00e9"},"values":[1,2.5],"timestamps":[1700000000000,-1],"x":[{}]}"#;
        let row = parse(line, LineBounds::NONE).unwrap();
        let pairs: Vec<(&str, &str)> = row.labels.iter().map(|(n, v)| (&**n, &**v)).collect();
        assert_eq!(pairs, [("__name__", "up"), ("job", "aé")]);
        assert_eq!(row.samples, [(1_700_000_000_000, 1.0), (-1, 2.5)]);
    }

    #[test]
    fn null_is_left_out_and_what_has_no_number_is_a_string() {
        let kept =
            samples(r#"null,"NaN","Infinity","-Infinity","+Inf",1e3"#, "1,2,3,4,5,6").unwrap();
        let times: Vec<i64> = kept.iter().map(|(time, _)| *time).collect();
        assert_eq!(times, [2, 3, 4, 5, 6]);
        assert!(kept[0].1.is_nan());
        let inf = f64::INFINITY;
        assert_eq!(kept[1..].iter().map(|s| s.1).collect::<Vec<_>>(), [inf, -inf, inf, 1000.0]);
    }

    #[test]
    fn what_is_no_such_line_is_told_why() {
        for (values, timestamps, why) in [
            ("1", "1,2", "1 values and 2 timestamps"),
            ("\"x\"", "1", "expected a number"),
            ("1", "1.5", "expected milliseconds"),
            ("1", "9223372036854775808", "expected milliseconds"),
            ("[1]", "1", "expected a number"),
        ] {
            let error = samples(values, timestamps).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        for line in ["", "[]", "{", r#"{"metric":{"a":1}}"#, "{} {}"] {
            assert!(parse(line.as_bytes(), LineBounds::NONE).is_err(), "{line}");
        }
    }

    #[test]
    fn a_line_may_have_so_many_labels_and_samples_and_no_more() {
        let bounds = LineBounds { labels: 2, series: 1, samples: 3 };
        for (line, told) in [
            (r#"{"metric":{"a":"1","b":"2"},"values":[1,2,3],"timestamps":[1,2,3]}"#, None),
            (r#"{"metric":{"a":"1","b":"2","c":"3"}}"#, Some("more than 2 labels")),
            (r#"{"values":[1,2,3,4]}"#, Some("more than 3 samples (max_request_samples)")),
            (r#"{"timestamps":[1,2,3,4]}"#, Some("more than 3 samples (max_request_samples)")),
        ] {
            let error = parse(line.as_bytes(), bounds).err().map(|error| error.to_string());
            let is_told = match (&error, told) {
                (Some(error), Some(told)) => error.contains(told),
                (error, told) => error.is_none() && told.is_none(),
            };
            assert!(is_told, "{line}: {error:?}");
        }
    }

    #[test]
    fn a_line_that_nests_too_deep_is_refused_and_not_followed() {
        let deep = format!("{{\"values\":{}{}}}", "[".repeat(1 << 20), "]".repeat(1 << 20));
        assert!(parse(deep.as_bytes(), LineBounds::NONE).is_err());
        let passed = format!("{{\"x\":{}{}}}", "[".repeat(1 << 20), "]".repeat(1 << 20));
        let _ = parse(passed.as_bytes(), LineBounds::NONE);
    }
}
