//! No name that a sender chose is part of a path.

use super::tests::{NOW, open, write};
use crate::sim::{Call, Outcome, SimDisk};
use model::mutation::Mutation;
use model::{
    Context, LabelSet, Principal, RequestId, SeriesRef, SplitMix64, TenantId, TimestampMs,
};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;

/// So many tenants, each with so many metrics.
const TENANTS: u64 = 500;
const METRICS: u64 = 200;

/// Pieces of which bad names are made.
const PIECES: [&str; 14] =
    ["..", "/", "\\", "\0", "%2e%2e", "~", "etc", "passwd", ".", "CON", "é", " ", "\n", "MANIFEST"];
/// Pieces that a tenant's name may have.
const TENANT_PIECES: [&str; 10] = ["..", ".", "-", "_", "*", "'", "(", ")!", "MANIFEST", "log"];

fn made_of(pieces: &[&str], number: u64) -> String {
    let pick = |at: u64| {
        let chance = SplitMix64::at(number, at) % pieces.len() as u64;
        pieces[usize::try_from(chance).unwrap()]
    };
    (0..6).map(pick).collect::<String>() + &number.to_string()
}

#[test]
fn whatever_tenants_and_metrics_are_called_every_path_is_made_of_our_own_names() {
    let disk = SimDisk::new(1);
    let touched = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = Arc::clone(&touched);
    disk.set_hook(move |call: Call<'_>| {
        seen.lock().insert(call.path.to_owned());
        Outcome::Done
    });
    let (engine, _) = open(&disk);
    for number in 0..TENANTS {
        let mut some = Mutation::empty(Arc::new(Context {
            tenant: TenantId::parse(&made_of(&TENANT_PIECES, number)).unwrap(),
            principal: Principal::Anonymous,
            request_id: RequestId(1),
            timeout_ms: 0,
            now: TimestampMs(0),
            ring_version: 0,
        }));
        for metric in 0..METRICS {
            let name = made_of(&PIECES, number * METRICS + metric);
            let labels = LabelSet::from_pairs([("__name__", &*name), (&*name, "x")]).unwrap();
            some.push(SeriesRef::Labels(labels), [(NOW.0, 1.0)]);
        }
        write(&engine, &some);
    }
    engine.flush(NOW).unwrap();
    let touched = touched.lock();
    assert!(touched.len() > 5, "{touched:?}");
    for path in touched.iter().chain(&disk.paths()) {
        let is_ours = |part: &str| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            part.bytes().all(is_plain) && !["..", "."].contains(&part)
        };
        assert!(path.split('/').all(is_ours), "{path:?}");
        assert!(!path.contains("passwd") && !path.contains("CON"), "{path:?}");
    }
    // As many paths as files, not as names.
    assert!(touched.len() < 100, "{}", touched.len());
}
