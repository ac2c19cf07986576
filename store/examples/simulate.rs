//! What the compaction strategies cost: write amplification, overlap (what a read opens) and space,
//! for flushes into one window, its close, and late flushes behind it.
//!
//! `cargo run -p store --example simulate -- [flushes] [flush MiB] [late flushes] [late MiB]`
#![expect(clippy::print_stdout, reason = "it prints a table")]

use store::compaction::scaling::{Scaling, Strategy};
use store::compaction::simulate::{Load, run};
use store::config::CompactionConfig;

fn main() {
    let given: Vec<u64> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let number = |index: usize, default| given.get(index).copied().unwrap_or(default);
    let load = Load {
        flushes: number(0, 24),
        flush_bytes: number(1, 100).saturating_mul(1 << 20),
        is_closed: true,
        late_flushes: number(2, 24),
        late_bytes: number(3, 1).saturating_mul(1 << 20),
    };
    println!("strategy          WA  overlap  space MiB  compacted MiB  late MiB  sstables");
    let ucs = ["T4", "T8", "N", "L4", "L10"].map(|scaling| (Strategy::Ucs, scaling));
    let presets = [Strategy::Stcs, Strategy::Lcs, Strategy::Twcs].map(|preset| (preset, "T8"));
    for (strategy, scaling) in ucs.into_iter().chain(presets) {
        let scaling_parameters: Scaling = scaling.parse().unwrap_or(Scaling::tiered(8));
        let config =
            CompactionConfig { strategy, scaling_parameters, ..CompactionConfig::default() };
        let cost = run(&load, &config);
        let name =
            if strategy == Strategy::Ucs { format!("ucs {scaling}") } else { strategy.to_string() };
        let permille = cost.write_amplification_permille();
        println!(
            "{name:<12} {:>4}.{:02} {:>8} {:>10} {:>14} {:>9} {:>9}",
            permille / 1000,
            permille % 1000 / 10,
            cost.overlap_max,
            cost.space_max_bytes >> 20,
            cost.compacted_bytes >> 20,
            cost.late_compacted_bytes >> 20,
            cost.sstables
        );
    }
}
