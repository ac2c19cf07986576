//! How much memory there is: the machine's, or less if this process is held to less; and that what is
//! freed of it is kept for a while.

use std::fs;
use std::hint::black_box;

/// What is smaller comes out of the allocator's heaps; of what is free at the end of a heap, twice as
/// much is kept.
const LARGE_BYTES: usize = 8 << 20;

/// Where the machine's memory and the bounds of control groups, new and old, are told.
const TOLD: [&str; 3] =
    ["/proc/meminfo", "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];

/// The bytes of memory that there are for this process; `None` if nobody tells.
pub(crate) fn memory_bytes() -> Option<u64> {
    TOLD.iter().filter_map(|path| bytes_of(&fs::read_to_string(path).ok()?)).min()
}

/// Has the allocator keep what queries free for the next one: as glibc begins, it gives everything
/// above 128 KiB back to the kernel, which clears each page anew when it is wanted again. Both of its
/// bounds rise with the first large piece that is freed (mallopt(3), `M_MMAP_THRESHOLD`), so that
/// every process comes to this sooner or later. Does nothing with other allocators.
pub(crate) fn keep_what_is_freed() {
    drop(black_box(Vec::<u8>::with_capacity(LARGE_BYTES)));
}

/// The number in a file that says it in kilobytes on a line of its own, or in bytes and nothing else.
fn bytes_of(text: &str) -> Option<u64> {
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    match total {
        Some(total) => total.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1_024),
        None => text.trim().parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[test]
    fn what_is_freed_is_there_again_without_the_kernel() {
        let faults = || {
            let stat = fs::read_to_string("/proc/thread-self/stat").unwrap();
            let (_, behind) = stat.rsplit_once(')').unwrap();
            behind.split_whitespace().nth(7).unwrap().parse::<u64>().unwrap()
        };
        let columns = || drop(black_box((0..100).map(|_| vec![1_u8; 1 << 16]).collect::<Vec<_>>()));
        keep_what_is_freed();
        columns();
        let before = faults();
        (0..10).for_each(|_| columns());
        let again = faults() - before;
        assert!(again < 1_600, "a page in ten at most: {again} of 16,000");
    }

    #[test]
    fn memory_is_read_as_linux_tells_it() {
        let meminfo = "MemTotal:       16315488 kB\nMemFree:         9999 kB\n";
        assert_eq!(bytes_of(meminfo), Some(16_315_488 * 1_024));
        assert_eq!(bytes_of("536870912\n"), Some(512 << 20));
        assert_eq!(bytes_of("max\n"), None);
        assert_eq!(bytes_of("MemTotal: many\n"), None);
    }
}
