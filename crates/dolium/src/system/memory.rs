//! How much memory the process may use: the machine's, or what a control group leaves it.

use std::fs;

/// Where control groups say their limit: version 2, and version 1.
const LIMITS: [&str; 2] = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];

/// Bytes of memory; 0 where the system does not say.
pub(crate) fn available() -> u64 {
    let machine = total(&fs::read_to_string("/proc/meminfo").unwrap_or_default());
    let limit = LIMITS.iter().find_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok());
    limit.map_or(machine, |limit: u64| limit.min(machine))
}

/// The total of `/proc/meminfo`, which is in KiB.
fn total(text: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.map_or(0, |kib| kib.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn total_is_read_in_bytes() {
        assert_eq!(total("MemTotal:       24576 kB\nMemFree:  1 kB\n"), 24 << 20);
        assert_eq!(total("nothing"), 0);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_machine_has_memory() {
        assert!(available() > 64 << 20);
    }
}
