//! Scripts that test a PromQL engine: read, run against a storage, judged as upstream judges.
//!
//! A script loads series and asks queries; each `eval` is one case. An instant case is also asked
//! as a range query around its moment, and again with `@` on every selector at other moments.
//!
//! Not here: files, and who reads the report (`cumae test`, `tests/conformance.rs`).

mod answer;
mod case;
mod custom_buckets;
mod failure;
mod histograms;
mod judge;
pub mod memory;
mod run;
mod script;
mod starts;
mod variants;

pub use answer::{Answer, Data, Sample, Samples, ShownHistogram};
pub use case::{Case, Expectation, Expected, Mode};
pub use failure::Failure;
pub use run::{Ask, EngineSubject, Outcome, Report, Subject, evaluate, run};
pub use script::{Command, Script, ScriptError, parse_script};
