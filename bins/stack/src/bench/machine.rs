//! On what was measured, and with what.

use std::fs;
use std::path::Path;
use std::process::Command;

use servers::kafka;

/// What stands above every figure: name and value.
pub(crate) fn facts(
    root: &Path,
    postgresql: String,
    librdkafka: &str,
) -> Vec<(&'static str, String)> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
    };
    let or_unknown = |value: Option<String>| value.unwrap_or_else(|| "unknown".to_owned());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let git =
        |arguments: &[&str]| first_line(Command::new("git").args(arguments).current_dir(root));
    let is_changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some();
    let commit = or_unknown(git(&["rev-parse", "--short", "HEAD"]));
    let memory = field(&read("/proc/meminfo"), "MemTotal");
    let memory = memory.and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    let redis = first_line(Command::new("redis-server").arg("--version"));
    let redis = redis.and_then(|line| Some(line.split("v=").nth(1)?.split(' ').next()?.to_owned()));
    vec![
        ("date", or_unknown(first_line(Command::new("date").args(["-u", "+%F %H:%M UTC"])))),
        ("commit", if is_changed { format!("{commit}, and changes") } else { commit }),
        (
            "CPU",
            format!("{}, {cores} cores", or_unknown(field(&read("/proc/cpuinfo"), "model name"))),
        ),
        (
            "memory",
            or_unknown(memory.map(|kilobytes| format!("{:.1} GB", kilobytes * 1_024.0 / 1e9))),
        ),
        ("kernel", read("/proc/sys/kernel/osrelease").trim().to_owned()),
        ("rustc", or_unknown(first_line(Command::new("rustc").arg("--version")))),
        ("Kafka", kafka::VERSION.to_owned()),
        ("Redis", or_unknown(redis)),
        ("PostgreSQL", postgresql),
        ("librdkafka", librdkafka.to_owned()),
    ]
}

/// Of what it prints; `None` where that is nothing, or it fails.
fn first_line(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().map(|line| line.trim().to_owned())
}
