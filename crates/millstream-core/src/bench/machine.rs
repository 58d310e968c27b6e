//! What the kernel says of processes. Zero where there is no `/proc`.

use std::{collections::HashMap, fs};

/// The kernel's `USER_HZ`, which is 100 on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// One process as `/proc/<pid>/stat` has it.
struct Stat {
    parent: u32,
    /// Ticks of its own.
    own: u64,
    /// Ticks of children that have ended.
    ended: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything; what follows its last parenthesis does not.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    Some(Stat { parent: fields.get(1)?.parse().ok()?, own: ticks(11) + ticks(12), ended: ticks(13) + ticks(14) })
}

/// The parent of a process.
pub fn parent(pid: u32) -> Option<u32> {
    stat(pid).map(|stat| stat.parent)
}

/// CPU seconds of a process and all below it, ended ones included.
pub fn tree_cpu(root: u32) -> f64 {
    let names = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.file_name());
    let pids = names.filter_map(|name| name.to_str()?.parse::<u32>().ok());
    let stats: HashMap<u32, Stat> = pids.filter_map(|pid| Some((pid, stat(pid)?))).collect();
    let below = |pid: u32| {
        let line = std::iter::successors(Some(pid), |pid| stats.get(pid).map(|stat| stat.parent));
        line.take_while(|pid| *pid > 1).any(|pid| pid == root)
    };
    let ticks: u64 = stats.iter().filter(|(pid, _)| below(**pid)).map(|(_, stat)| stat.own + stat.ended).sum();
    ticks as f64 / TICKS_PER_SECOND
}

/// CPU seconds of this process.
pub fn own_cpu() -> f64 {
    stat(std::process::id()).map_or(0.0, |stat| stat.own as f64 / TICKS_PER_SECOND)
}

/// Resident memory of a process, in MB.
pub fn rss_mb(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

/// The load average of the last minute.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_ascii_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(0.0)
}

/// Its processors and its memory.
pub fn described() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let value = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(':'));
        line.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let memory = value("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) / 1_048_576.0;
    format!("{cores} cores ({}), {memory:.0} GiB", value("/proc/cpuinfo", "model name"))
}
