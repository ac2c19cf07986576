//! Answers PromQL over HTTP: asks enough replicas, joins, evaluates.
