use std::fmt;
use std::fs;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::running::poll;

/// A process, told from any other that may later get its number by the time it started.
///
/// So a state file may be old: a recycled pid is never signalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    pub pid: u32,
    /// Clock ticks from the machine's boot to the process's start: field 22 of `/proc/PID/stat`.
    pub started: u64,
}

impl ProcessId {
    /// `None` where no such process exists.
    pub fn of(pid: u32) -> Option<Self> {
        Stat::read(pid).map(|stat| Self { pid, started: stat.started })
    }

    /// Whether it runs. A zombie is dead, and is waited for here if it is a child of ours.
    pub fn is_alive(&self) -> bool {
        match Stat::read(self.pid) {
            Some(stat) if stat.started == self.started => {
                if stat.is_dead() {
                    self.reap();
                }
                !stat.is_dead()
            }
            _ => false,
        }
    }

    /// How it ended, where it has and is a child of ours that nobody has waited for yet.
    pub fn reap(&self) -> Option<Exit> {
        match waitpid(self.as_pid(), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => Some(Exit::Code(code)),
            Ok(WaitStatus::Signaled(_, signal, _)) => Some(Exit::Signal(signal)),
            _ => None,
        }
    }

    /// Sends `signal` if the process still runs, and tells whether it did.
    pub fn signal(&self, signal: Signal) -> bool {
        self.is_alive() && kill(self.as_pid(), signal).is_ok()
    }

    /// Asks by `signal`, waits for `patience`, then kills; returns once it is dead.
    /// True where it went by itself (or had gone already).
    pub fn stop(&self, signal: Signal, patience: Duration) -> bool {
        if !self.signal(signal) {
            return true;
        }
        if poll(patience, || (!self.is_alive()).then_some(())).is_some() {
            return true;
        }
        self.kill();
        false
    }

    /// SIGKILL, and waits until it is dead.
    pub fn kill(&self) {
        self.signal(Signal::SIGKILL);
        poll(Duration::from_secs(30), || (!self.is_alive()).then_some(()));
    }

    /// Whether its program's file was replaced since it started, as by a build.
    pub fn runs_replaced_program(&self) -> bool {
        fs::read_link(format!("/proc/{}/exe", self.pid))
            .is_ok_and(|path| path.to_string_lossy().ends_with(" (deleted)"))
    }

    fn as_pid(&self) -> Pid {
        Pid::from_raw(self.pid.cast_signed())
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(Signal),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "{signal}"),
        }
    }
}

struct Stat {
    state: char,
    started: u64,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name in field 2 stands in parentheses and may itself hold spaces and parentheses.
    fn parse(text: &str) -> Option<Self> {
        let mut fields = text[text.rfind(')')? + 1..].split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let started = fields.nth(18)?.parse().ok()?;
        Some(Self { state, started })
    }

    fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_name_with_spaces_and_parentheses_is_skipped() {
        let line = "42 (a) b (c)) Z 1 42 42 0 -1 4194560 1 0 0 0 5 6 0 0 20 0 1 0 987654 0 0";
        let stat = Stat::parse(line).expect("a stat line");
        assert_eq!((stat.state, stat.started), ('Z', 987_654));
        assert!(Stat::parse("").is_none());
        assert!(Stat::parse("1 (x) S 0").is_none());
    }

    #[test]
    fn another_process_of_the_same_number_is_neither_alive_nor_signalled() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("sleep");
        let id = ProcessId::of(child.id()).expect("it runs");
        let before_it = ProcessId { started: id.started - 1, ..id };
        assert!(id.is_alive() && !before_it.is_alive());
        assert!(!before_it.signal(Signal::SIGKILL));
        before_it.kill();
        assert!(id.is_alive());
        child.kill().expect("kill");
        child.wait().expect("wait");
        assert!(!id.is_alive());
    }

    #[test]
    fn a_zombie_is_dead() {
        let mut child = Command::new("true").spawn().expect("true");
        let id = ProcessId::of(child.id()).expect("not waited for: it has a number still");
        assert!(poll(Duration::from_secs(10), || (!id.is_alive()).then_some(())).is_some());
        assert!(child.wait().is_err(), "it was waited for already");
    }

    #[test]
    fn one_that_ignores_the_signal_is_killed() {
        let script = "trap '' TERM; echo; while :; do sleep 0.05; done";
        let mut child = Command::new("sh")
            .args(["-c", script])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("sh");
        let id = ProcessId::of(child.id()).expect("it runs");
        let mut ready = [0];
        let mut stdout = child.stdout.take().expect("piped");
        std::io::Read::read_exact(&mut stdout, &mut ready).expect("the trap is set");
        assert!(!id.stop(Signal::SIGTERM, Duration::from_millis(200)));
        assert!(!id.is_alive());
        assert!(child.wait().is_err(), "it was waited for already");
    }
}
