//! The process's own figures under the names that Prometheus's client libraries use, read from
//! `/proc` at each scrape. Elsewhere than on Linux there are none.

use std::fmt::Write;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `USER_HZ`: what the kernel counts CPU time in towards user space, on every architecture in use.
const TICKS_PER_SECOND: f64 = 100.0;

pub(super) fn render(text: &mut String) {
    static START: OnceLock<Option<f64>> = OnceLock::new();
    let start = *START.get_or_init(start_time);
    let mut add = |name: &str, kind: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        }
    };
    add("process_start_time_seconds", "gauge", "When the process started, Unix time.", start);
    add("process_cpu_seconds_total", "counter", "CPU time used, user and system.", cpu_seconds());
    add("process_resident_memory_bytes", "gauge", "Memory in RAM.", resident_bytes());
    add("process_open_fds", "gauge", "Open file descriptors.", open_files());
    add("process_threads", "gauge", "Threads.", stat_field(20));
}

/// Field `number` of `/proc/self/stat`, counted from 1 as `proc(5)` does. The second is a name in
/// parentheses, which may itself hold spaces and parentheses.
fn stat_field(number: usize) -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(number - 3)?.parse().ok()
}

fn cpu_seconds() -> Option<f64> {
    Some((stat_field(14)? + stat_field(15)?) / TICKS_PER_SECOND)
}

fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024.0)
}

fn open_files() -> Option<f64> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count() as f64)
}

fn start_time() -> Option<f64> {
    let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    let age = uptime - stat_field(22)? / TICKS_PER_SECOND;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let start = now.checked_sub(Duration::try_from_secs_f64(age).ok()?)?;
    Some((start.as_secs_f64() * 100.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_knows_its_own_size_and_age() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
        let start = start_time().expect("a start");
        assert!(start <= now + 1.0 && start > now - 86_400.0, "{start} {now}");
        assert!(resident_bytes().expect("a size") > 100_000.0);
        assert!(open_files().expect("a count") >= 3.0);
        assert!(stat_field(20).expect("threads") >= 1.0);
        assert!(cpu_seconds().expect("a time") >= 0.0);
    }
}
