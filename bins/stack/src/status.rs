use std::net::TcpStream;
use std::process::ExitCode;

use serde::Serialize;

use crate::catalogue::{FEED, MEMBERS, Member};
use crate::cli::Status;
use crate::paths::Paths;
use crate::state::{Entry, State};
use crate::ui::print;

/// One line of `status --json`.
#[derive(Debug, Serialize)]
struct Row<'a> {
    name: &'a str,
    kind: &'a str,
    /// Where it listens; null for one that only works.
    address: Option<&'a str>,
    /// `host:port` of its `/metrics`.
    metrics: Option<&'a str>,
    /// The program's own, while it runs.
    pid: Option<u32>,
    /// `running`; `dead`: it ended, or was ended, without `down`; `stopped`; `external`: the user's
    /// own.
    state: &'static str,
    /// Whether it takes work; null where that cannot be asked.
    ready: Option<bool>,
}

pub(crate) fn run(paths: &Paths, options: &Status) -> anyhow::Result<ExitCode> {
    let state = State::load(paths)?;
    if options.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&rows(&state))?));
    } else {
        print(&format!("{}\n", table(&state)));
    }
    Ok(ExitCode::SUCCESS)
}

fn rows(state: &State) -> Vec<Row<'_>> {
    MEMBERS.iter().map(|member| row(member, state.entries.get(member.name))).collect()
}

fn row<'a>(member: &Member, entry: Option<&'a Entry>) -> Row<'a> {
    let row = |state| Row {
        name: member.name,
        kind: member.kind.as_str(),
        address: entry.and_then(|entry| entry.address.as_deref()),
        metrics: entry.and_then(|entry| entry.metrics.as_deref()),
        pid: None,
        state,
        ready: None,
    };
    let Some(entry) = entry else {
        return row("stopped");
    };
    match entry.process {
        None => {
            // Its own protocol may want a password that is not ours to use.
            let reachable = entry.address.as_deref().filter(|_| member.name != FEED).map(|list| {
                list.split(',').any(|address| TcpStream::connect(address.trim()).is_ok())
            });
            Row { ready: reachable, ..row("external") }
        }
        Some(process) if process.is_alive() => {
            let ready = member.answers(entry.address.as_deref(), entry.metrics.as_deref());
            Row { pid: Some(process.pid), ready: Some(ready), ..row("running") }
        }
        Some(_) => Row { ready: Some(false), ..row("dead") },
    }
}

/// For people.
pub(crate) fn table(state: &State) -> String {
    let head = ["NAME", "KIND", "STATE", "ADDRESS", "METRICS", "PID"].map(str::to_owned);
    let mut lines = vec![head];
    for row in rows(state) {
        let state = match (row.state, row.ready) {
            ("running", Some(false)) => "not ready",
            (state, _) => state,
        };
        let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
        let pid = row.pid.map(|pid| pid.to_string());
        lines.push([
            row.name.to_owned(),
            row.kind.to_owned(),
            state.to_owned(),
            or_dash(row.address),
            or_dash(row.metrics),
            or_dash(pid.as_deref()),
        ]);
    }
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    lines
        .iter()
        .map(|line| {
            let cells: Vec<String> =
                line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            format!("{}\n", cells.join("  ").trim_end())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::Ports;

    #[test]
    fn every_member_has_its_line_even_when_nothing_runs() {
        let state = State::default();
        let rows = rows(&state);
        let names: Vec<&str> = rows.iter().map(|row| row.name).collect();
        let expected = [
            "kafka",
            "redis",
            "postgresql",
            "prometheus",
            "redis-exporter",
            "postgresql-exporter",
            "host-exporter",
            "feed",
            "ingestor",
            "processor",
            "alert",
            "gateway",
        ];
        assert_eq!(names, expected);
        for row in rows {
            assert_eq!((row.state, row.pid), ("stopped", None), "{}", row.name);
        }
    }

    #[test]
    fn a_process_of_the_past_is_dead() {
        let process = servers::ProcessId { pid: 1, started: u64::MAX };
        let entry = Entry::own(process, servers::Signal::SIGTERM, Ports::default(), 0);
        let row = row(&MEMBERS[0], Some(&entry));
        assert_eq!((row.state, row.pid, row.ready), ("dead", None, Some(false)));
    }
}
