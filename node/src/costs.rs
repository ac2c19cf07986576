//! `cumae store simulate`: what each compaction strategy would cost for a given load, as a table.
//!
//! The deciders are those of the server, with its settings; files are numbers.
//!
//! Not here: the game itself (`store::compaction::simulate`).

use crate::cli::{SimulateFlags, Simulated};
use std::fmt::Write;
use store::compaction::scaling::{Scaling, Strategy};
use store::compaction::simulate::{Cost, Load, run};
use store::config::CompactionConfig;

/// What is played if nothing else is asked for.
const USUAL: [&str; 8] = ["T4", "T8", "N", "L4", "L10", "stcs", "lcs", "twcs"];

impl std::str::FromStr for Simulated {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(strategy) = text.parse::<Strategy>() {
            return Ok(Self::Named(strategy));
        }
        text.parse::<Scaling>().map(Self::Scaled).map_err(|fault| {
            format!(
                "{fault}; or a strategy: {}",
                Strategy::ALL.map(|one| one.to_string()).join(", ")
            )
        })
    }
}

/// The table, a line for each strategy.
pub(crate) fn table(configured: &CompactionConfig, flags: &SimulateFlags) -> String {
    let load = Load {
        flushes: flags.flushes,
        flush_bytes: flags.flush_size.0,
        is_closed: !flags.open,
        late_flushes: flags.late_flushes,
        late_bytes: flags.late_size.0,
    };
    let usual = || USUAL.iter().filter_map(|name| name.parse().ok()).collect();
    let asked = if flags.strategies.is_empty() { usual() } else { flags.strategies.clone() };
    let mut table =
        "strategy       WA  read opens  space MiB  compacted MiB  late MiB  sstables\n".to_owned();
    for one in asked {
        let (name, config) = settings(configured, one);
        line(&mut table, &name, &run(&load, &config));
    }
    table
}

/// The strategy's name in the table, and the settings in force but for it.
fn settings(configured: &CompactionConfig, one: Simulated) -> (String, CompactionConfig) {
    let config = configured.clone();
    match one {
        Simulated::Scaled(scaling_parameters) => {
            let name = format!("ucs {scaling_parameters}");
            (name, CompactionConfig { strategy: Strategy::Ucs, scaling_parameters, ..config })
        }
        Simulated::Named(Strategy::Ucs) => {
            settings(configured, Simulated::Scaled(config.scaling_parameters))
        }
        Simulated::Named(strategy) => {
            (strategy.to_string(), CompactionConfig { strategy, ..config })
        }
    }
}

fn line(table: &mut String, name: &str, cost: &Cost) {
    let permille = cost.write_amplification_permille();
    let _ = writeln!(
        table,
        "{name:<10} {:>3}.{:02} {:>11} {:>10} {:>14} {:>9} {:>9}",
        permille / 1000,
        permille % 1000 / 10,
        cost.overlap_max,
        cost.space_max_bytes >> 20,
        cost.compacted_bytes >> 20,
        cost.late_compacted_bytes >> 20,
        cost.sstables
    );
}
