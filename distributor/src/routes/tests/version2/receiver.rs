//! The receiver rules of prometheus/compliance, restated.
