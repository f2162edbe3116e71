//! The test programs, which cargo would run one after the other: some of them wait for a killed
//! server to come back, or for a group to notice, and leave the machine idle meanwhile.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context, bail};
use servers::{bind, forget_package};

use crate::build::TestProgram;

/// How many run at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lanes {
    /// For what wants the machine to itself.
    One,
    Two,
}

/// What all of them have in common.
#[derive(Debug)]
pub(super) struct Runner<'a, Said> {
    pub(super) lanes: Lanes,
    /// Variables that each gets.
    pub(super) environment: &'a [(&'a str, &'a OsStr)],
    /// A folder for what each says.
    pub(super) logs: &'a Path,
    /// Where that is shown, too, once it has ended.
    pub(super) said: Mutex<Said>,
}

impl<Said: Write + Send> Runner<'_, Said> {
    /// Runs each of them in its package's folder, as cargo does. The error names those that failed.
    pub(super) fn run(&self, mut programs: Vec<TestProgram>) -> anyhow::Result<()> {
        let logs = self.logs;
        fs::create_dir_all(logs).with_context(|| format!("cannot create {}", logs.display()))?;
        programs.sort();
        let count = programs.len();
        let (waiting, failed) = (Mutex::new(VecDeque::from(programs)), Mutex::new(Vec::new()));
        let lane = |next: fn(&mut VecDeque<TestProgram>) -> Option<TestProgram>| {
            let next = || next(&mut lock(&waiting));
            while let Some(program) = next() {
                if let Err(error) = self.run_one(&program) {
                    eprintln!("error: {error:#}");
                    lock(&failed).push(program.to_string());
                }
            }
        };
        thread::scope(|scope| {
            // From the other end: so the longest, the whole system's, are not left to the last.
            if self.lanes == Lanes::Two {
                scope.spawn(|| lane(VecDeque::pop_back));
            }
            lane(VecDeque::pop_front);
        });
        let failed = lock(&failed);
        if !failed.is_empty() {
            bail!("{} of {count} test programs: {}", failed.len(), failed.join(", "));
        }
        Ok(())
    }

    fn run_one(&self, program: &TestProgram) -> anyhow::Result<()> {
        let begun = Instant::now();
        let log = self.logs.join(format!("{}.log", program.executable_name()?));
        eprintln!("  tests        {program}, to {}", log.display());
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new(&program.executable);
        forget_package(&mut command);
        bind(&mut command);
        let status = command
            .current_dir(&program.package)
            .env("CARGO_MANIFEST_DIR", &program.package)
            .envs(self.environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .status()
            .with_context(|| format!("cannot start {program}"))?;
        let shown = self.show(program, begun, &log);
        if !status.success() {
            bail!("{program}: {status}");
        }
        shown.with_context(|| format!("cannot show what {program} said, which passed"))
    }

    fn show(&self, program: &TestProgram, begun: Instant, log: &Path) -> anyhow::Result<()> {
        let mut said = lock(&self.said);
        writeln!(said, "     Running {program} ({:.1} s)", begun.elapsed().as_secs_f64())?;
        // Whatever bytes a service has written.
        said.write_all(&fs::read(log)?)?;
        Ok(said.flush()?)
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(folder: &Path, executable: &str) -> TestProgram {
        TestProgram {
            package: folder.to_owned(),
            name: executable.to_owned(),
            kind: "test".to_owned(),
            executable: Path::new("/usr/bin").join(executable),
        }
    }

    #[test]
    fn each_is_run_in_its_package_and_those_that_fail_are_named() {
        let temporary = tempfile::tempdir().expect("a folder");
        let folder = fs::canonicalize(temporary.path()).expect("it is there");
        for lanes in [Lanes::One, Lanes::Two] {
            let logs = folder.join(format!("{lanes:?}"));
            let environment = &[("WORD", OsStr::new("a word"))];
            let runner = Runner { lanes, environment, logs: &logs, said: Mutex::new(Vec::new()) };
            let programs = ["pwd", "false", "env", "true"].map(|name| program(&folder, name));
            let error = runner.run(programs.into()).expect_err("one has failed").to_string();
            assert!(error.starts_with("1 of 4 test programs: "), "{error}");
            assert!(error.ends_with(" test false"), "{error}");
            let log = |name| fs::read_to_string(logs.join(name)).expect("a log");
            assert_eq!(log("pwd.log"), format!("{}\n", folder.display()));
            let has = |line: &str| log("env.log").lines().any(|variable| variable == line);
            assert!(has("WORD=a word") && !has("CARGO_PKG_NAME=stack"));
            assert!(has(&format!("CARGO_MANIFEST_DIR={}", folder.display())));
            let said = runner.said.into_inner().expect("no panic");
            let said = String::from_utf8(said).expect("UTF-8");
            assert!(["pwd", "false", "env", "true"].iter().all(|name| {
                said.lines().any(|line| line.contains(&format!(" test {name} (")))
            }));
            assert!(said.contains(&log("pwd.log")) && said.contains(&log("env.log")));
        }
    }
}
