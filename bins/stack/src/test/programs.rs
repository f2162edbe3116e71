//! The test programs, two at a time: cargo runs one after the other, and those that wait for a killed
//! server to come back, or a group to notice, leave the machine idle meanwhile.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context, bail};

use crate::build::TestProgram;

/// Variables that each of them gets.
pub(super) type Environment<'a> = [(&'a str, &'a OsStr)];

/// Runs each of them in its package's folder, as cargo does, and keeps in `logs` what it says; that
/// is printed when it has ended. Two lanes take them in the order of their names, one from either
/// end. The error names those that failed.
pub(super) fn run(
    mut programs: Vec<TestProgram>,
    environment: &Environment<'_>,
    logs: &Path,
) -> anyhow::Result<()> {
    fs::create_dir_all(logs).with_context(|| format!("cannot create {}", logs.display()))?;
    programs.sort();
    let count = programs.len();
    let (waiting, failed) = (Mutex::new(VecDeque::from(programs)), Mutex::new(Vec::new()));
    let lane = |next: fn(&mut VecDeque<TestProgram>) -> Option<TestProgram>| {
        while let Some(program) = {
            let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            next(&mut waiting)
        } {
            if let Err(error) = run_one(&program, environment, logs) {
                eprintln!("error: {error:#}");
                failed.lock().unwrap_or_else(PoisonError::into_inner).push(program.to_string());
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| lane(VecDeque::pop_front));
        lane(VecDeque::pop_back);
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if !failed.is_empty() {
        bail!("{} of {count} test programs: {}", failed.len(), failed.join(", "));
    }
    Ok(())
}

fn run_one(
    program: &TestProgram,
    environment: &Environment<'_>,
    logs: &Path,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    eprintln!("  tests        {program} …");
    let log = logs.join(format!("{}.log", program.executable_name()?));
    let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let status = Command::new(&program.executable)
        .current_dir(&program.package)
        .env("CARGO_MANIFEST_DIR", &program.package)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()
        .with_context(|| format!("cannot start {program}"))?;
    let mut said = io::stdout().lock();
    writeln!(said, "     Running {program} ({:.1} s)", begun.elapsed().as_secs_f64())?;
    // Whatever bytes a service has written.
    said.write_all(&fs::read(&log)?)?;
    said.flush()?;
    drop(said);
    if !status.success() {
        bail!("{program}: {status}");
    }
    Ok(())
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
        let logs = folder.join("logs");
        let programs = ["pwd", "false", "env", "true"].map(|name| program(&folder, name));
        let outcome = run(programs.into(), &[("WORD", OsStr::new("a word"))], &logs);
        let said = outcome.expect_err("one has failed").to_string();
        assert!(
            said.starts_with("1 of 4 test programs: ") && said.ends_with(" test false"),
            "{said}"
        );
        let heard = |name| fs::read_to_string(logs.join(name)).expect("a log");
        assert_eq!(heard("pwd.log"), format!("{}\n", folder.display()));
        let variables = heard("env.log");
        let has = |line: &str| variables.lines().any(|variable| variable == line);
        assert!(has("WORD=a word"), "{variables}");
        assert!(has(&format!("CARGO_MANIFEST_DIR={}", folder.display())), "{variables}");
        run(Vec::new(), &[], &logs).expect("nothing fails");
    }
}
