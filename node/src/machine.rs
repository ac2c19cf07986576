//! How much memory there is: the machine's, or less if this process is held to less.

use std::fs;

/// Where the machine's memory and the bounds of control groups, new and old, are told.
const TOLD: [&str; 3] =
    ["/proc/meminfo", "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];

/// The bytes of memory that there are for this process; `None` if nobody tells.
pub(crate) fn memory_bytes() -> Option<u64> {
    TOLD.iter().filter_map(|path| bytes_of(&fs::read_to_string(path).ok()?)).min()
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

    #[test]
    fn memory_is_read_as_linux_tells_it() {
        let meminfo = "MemTotal:       16315488 kB\nMemFree:         9999 kB\n";
        assert_eq!(bytes_of(meminfo), Some(16_315_488 * 1_024));
        assert_eq!(bytes_of("536870912\n"), Some(512 << 20));
        assert_eq!(bytes_of("max\n"), None);
        assert_eq!(bytes_of("MemTotal: many\n"), None);
    }
}
