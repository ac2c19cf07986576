//! How a tenant wants OTLP metrics translated. Plain data; `distributor::otlp` goes by it.

/// What becomes of the names of metrics and labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Translation {
    /// Other characters become `_`; units and types are put behind a metric's name.
    #[default]
    UnderscoreEscapingWithSuffixes,
    /// Names stay as they are; units and types are put behind a metric's name.
    NoUtf8EscapingWithSuffixes,
    /// Other characters become `_`.
    UnderscoreEscapingWithoutSuffixes,
    /// Names stay as they are.
    NoTranslation,
}

impl Translation {
    /// Whether characters that plain names do not have become `_`.
    #[must_use]
    pub fn escapes(self) -> bool {
        matches!(
            self,
            Self::UnderscoreEscapingWithSuffixes | Self::UnderscoreEscapingWithoutSuffixes
        )
    }

    /// Whether units and types are put behind a metric's name.
    #[must_use]
    pub fn adds_suffixes(self) -> bool {
        matches!(self, Self::UnderscoreEscapingWithSuffixes | Self::NoUtf8EscapingWithSuffixes)
    }
}

/// How OTLP metrics are translated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtlpSettings {
    /// Names.
    pub translation: Translation,
    /// Resource attributes that become labels of every series.
    pub promote_resource_attributes: Vec<String>,
    /// Whether the scope's name, version, schema and attributes become labels of every series.
    pub promote_scope_metadata: bool,
    /// Whether `target_info` has the attributes too that `job` and `instance` are made of.
    pub keep_identifying_resource_attributes: bool,
    /// Whether histograms become native ones with custom buckets, instead of classic ones.
    pub convert_histograms_to_nhcb: bool,
    /// Whether points that count from the one before are taken, as they are.
    pub allow_delta_temporality: bool,
}
