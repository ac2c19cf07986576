//! What a flush frees goes back to the kernel.
//!
//! glibc keeps what is freed in the middle of its heaps: the chunks of a memtable lie between labels
//! that live on, so without this a process holds the memory of the largest memtable it ever had. What
//! queries have freed goes too, though it is kept for the next one on purpose (`node`'s `machine`): it
//! is cleared anew once a flush, which is seldom.
//!
//! This is the only module of the crate with a call that the compiler cannot check.

#![expect(
    unsafe_code,
    reason = "a function of the C library that the standard library does not name"
)]

/// Gives the free pages of all heaps back. Takes milliseconds, in which other threads may wait for
/// memory. Does nothing with other allocators.
pub(crate) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::malloc_trim(0);
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    use std::ffi::c_int;

    // SAFETY: the declaration is that of malloc_trim(3). It takes a number and no pointer, is
    // thread-safe, and touches nothing that is allocated.
    unsafe extern "C" {
        /// Gives pages back but for `pad` bytes at the top; 1 if there were any.
        pub(super) safe fn malloc_trim(pad: usize) -> c_int;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;

    /// Pieces of different sizes, each filled with a byte of its own.
    fn pieces(count: usize) -> Vec<Vec<u8>> {
        let byte = |at: usize| u8::try_from(at % 251).unwrap();
        (0..count).map(|at| vec![byte(at); 1 + at * 37 % 3_000]).collect()
    }

    #[test]
    fn what_lives_keeps_its_bytes_whoever_allocates_meanwhile() {
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        for _ in 0..20 {
                            let (kept, freed) = (pieces(2_000), pieces(2_000));
                            drop(black_box(freed));
                            assert_eq!(kept, pieces(2_000));
                        }
                    })
                })
                .collect();
            while workers.iter().any(|worker| !worker.is_finished()) {
                give_back();
            }
        });
    }

    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[test]
    fn what_lay_between_things_that_live_on_is_the_kernels_again() {
        let resident_kib = || {
            let told = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
            let line = told.lines().find(|line| line.starts_with("Anonymous:")).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
        };
        let mut pieces: Vec<Option<Vec<u8>>> = (0..20_000).map(|_| Some(vec![1; 8_000])).collect();
        let most = resident_kib();
        for (at, piece) in pieces.iter_mut().enumerate() {
            if at % 50 > 0 {
                *piece = None;
            }
        }
        give_back();
        let given = most.saturating_sub(resident_kib());
        // Other tests of this process take and give meanwhile.
        assert!(given > 60_000, "{given} KiB of the 156,000 that were freed");
        assert_eq!(pieces.iter().flatten().count(), 400);
    }
}
