//! A thread's rank, and its slice: for how long it runs before the system looks who else wants to.
//!
//! Who wakes interrupts at once whoever has a longer slice (Linux 6.12 and later). Among equals it may
//! wait for the next tick of the system's clock, whatever the ranks are.
//!
//! This is the only module of the crate with a call that the compiler cannot check.

#![expect(unsafe_code, reason = "a system call that neither the standard library nor rustix names")]

use std::io;

/// The thread's policy stays what it is (`SCHED_FLAG_KEEP_POLICY`): somebody may have chosen one for all.
const KEEP_POLICY: u64 = 0x08;

/// Gives the calling thread a rank (`nice`) and a slice, in nanoseconds. Systems before 6.12 know no
/// slices, and set the rank.
///
/// # Errors
/// What the system says: it may forbid the call, or the rank.
pub(crate) fn set(rank: i32, slice_ns: u64) -> io::Result<()> {
    let attributes = libc::sched_attr {
        size: u32::try_from(size_of::<libc::sched_attr>()).unwrap_or(0),
        sched_policy: 0,
        sched_flags: KEEP_POLICY,
        sched_nice: rank,
        sched_priority: 0,
        sched_runtime: slice_ns,
        sched_deadline: 0,
        sched_period: 0,
    };
    let (itself, no_flags): (libc::pid_t, libc::c_uint) = (0, 0);
    // SAFETY: sched_setattr(2) reads as many bytes behind the pointer as their first field says, which
    // is the size of what lives there until the call returns. It writes none.
    let done =
        unsafe { libc::syscall(libc::SYS_sched_setattr, itself, &raw const attributes, no_flags) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The calling thread's rank and slice. A system that knows no slices says 0.
    fn get() -> (i32, u64) {
        let mut attributes = [0_u64; 6];
        let size = u32::try_from(size_of_val(&attributes)).unwrap();
        // SAFETY: sched_getattr(2) writes at most `size` bytes behind the pointer, and so many are there.
        let done = unsafe {
            libc::syscall(libc::SYS_sched_getattr, 0, attributes.as_mut_ptr(), size, 0_u32)
        };
        assert_eq!(done, 0);
        let [_, _, rank_and_priority, slice_ns, ..] = attributes;
        (i32::from_ne_bytes(rank_and_priority.to_ne_bytes()[..4].try_into().unwrap()), slice_ns)
    }

    proptest! {
        #[test]
        fn a_thread_has_the_rank_and_the_slice_that_it_was_given(by in 0_i32..20, ms in 1_u64..100) {
            let rank = (get().0 + by).min(19);
            let had = std::thread::spawn(move || {
                set(rank, ms * 1_000_000).unwrap();
                get()
            });
            let (of_rank, of_slice) = had.join().unwrap();
            prop_assert_eq!(of_rank, rank);
            prop_assert!(of_slice == ms * 1_000_000 || of_slice == 0, "{}", of_slice);
        }
    }

    #[test]
    fn a_rank_that_does_not_exist_is_refused_or_the_last_one() {
        std::thread::spawn(|| {
            set(19, 1_000_000).unwrap();
            let last = set(1_000, 1_000_000);
            assert!(last.is_err() || get().0 == 19);
        })
        .join()
        .unwrap();
    }
}
