mod programs;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use servers::install::{Purpose, install, python};
use servers::kafka::Distribution;
use servers::{Lifetime, Running, cargo, kafka, port};

use crate::build::{BUILT, Built, Profile, build};
use crate::cli::Test;
use crate::paths::Paths;
use crate::test::programs::{Lanes, Runner};
use crate::ui::Ui;

const BUF: &str = "@bufbuild/buf@1.75.0";
/// What Grafana takes for a dashboard, as types, and what checks them.
const GRAFANA_TYPES: [&str; 2] = ["@grafana/grafana-foundation-sdk@0.0.21", "typescript@5.9.3"];
/// What asks the gateway all that its OpenAPI document allows and forbids.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";
const PROFILE: &str = "--profile=checks";
const PATIENCE: Duration = Duration::from_secs(60);

/// All that CI runs, cheapest first. The first step that fails ends it; of the test programs, each is
/// run.
pub(crate) fn run(paths: &Paths, options: &Test) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let ui = Ui::new();
    step("packages and downloads", || {
        install(Purpose::Test, &paths.cache, &|what| ui.say(what))?;
        Distribution::install(&paths.cache)?;
        npm_install(&buf_folder(&paths.cache), &[BUF])?;
        npm_install(&paths.cache.join("grafana-types"), &GRAFANA_TYPES)?;
        if options.all {
            // What the test looks for: see `testkit::schemathesis`.
            pip_install(&paths.cache.join("schemathesis"), &[SCHEMATHESIS])?;
        }
        Ok(())
    })?;
    step("formatting", || run_cargo(paths, &["fmt", "--all", "--check"]))?;
    step("proto", || {
        let buf = buf(&paths.cache);
        check(Command::new(&buf).args(["lint", "proto"]).current_dir(&paths.root))?;
        let format = ["format", "proto", "--diff", "--exit-code"];
        check(Command::new(&buf).args(format).current_dir(&paths.root))
    })?;
    step("lints", || {
        run_cargo(
            paths,
            &["clippy", PROFILE, "--workspace", "--all-targets", "--", "-D", "warnings"],
        )
    })?;
    let built = step("build", || build(paths, Profile::Checks, &ui, &AtomicBool::new(false)))?;
    step("tests", || tests(paths, built, options.all))?;
    // After them, for cargo builds these one by one as it runs them.
    step("examples in the docs", || run_cargo(paths, &["test", PROFILE, "--workspace", "--doc"]))?;
    ui.say(&format!("all of it passed in {:.0} s", begun.elapsed().as_secs_f64()));
    Ok(ExitCode::SUCCESS)
}

fn step<T>(name: &str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    eprintln!("==> {name}");
    let begun = Instant::now();
    let outcome = work().with_context(|| format!("{name} failed"))?;
    eprintln!("    {name}: {:.1} s", begun.elapsed().as_secs_f64());
    Ok(outcome)
}

/// The tests, with one Kafka for all of them: each test program would otherwise start its own.
fn tests(paths: &Paths, built: Built, all: bool) -> anyhow::Result<()> {
    ensure!(!built.tests.is_empty(), "cargo has built no tests");
    let server = shared_kafka(paths)?;
    let mut environment = vec![
        ("GOSTOCKS_TEST_KAFKA", OsStr::new(&server.address)),
        (BUILT, built.folder.as_os_str()),
        ("GOSTOCKS_CACHE", paths.cache.as_os_str()),
    ];
    if all {
        environment.push(("GOSTOCKS_TEST_ALL", OsStr::new("1")));
    }
    let runner = Runner {
        lanes: if all { Lanes::One } else { Lanes::Two },
        environment: &environment,
        logs: &paths.stack.join("test/logs"),
        said: Mutex::new(std::io::stdout()),
    };
    let outcome = runner.run(built.tests);
    server.process.kill();
    outcome
}

fn shared_kafka(paths: &Paths) -> anyhow::Result<Running> {
    let home = paths.stack.join("test");
    if home.exists() {
        fs::remove_dir_all(&home)?;
    }
    let distribution = Distribution::install(&paths.cache)?;
    let log = home.join("kafka.log");
    let server =
        kafka::start(&distribution, &home.join("kafka"), port::any()?, &log, Lifetime::Bound)?;
    server.wait_ready(PATIENCE, || kafka::is_ready(&server.address))?;
    Ok(server)
}

fn run_cargo(paths: &Paths, arguments: &[&str]) -> anyhow::Result<()> {
    check(cargo().args(arguments).current_dir(&paths.root))
}

pub(crate) fn check(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status =
        command.stdin(Stdio::null()).status().with_context(|| format!("cannot start {program}"))?;
    if !status.success() {
        let arguments: Vec<_> = command.get_args().map(|text| text.to_string_lossy()).collect();
        bail!("`{program} {}`: {status}", arguments.join(" "));
    }
    Ok(())
}

fn buf_folder(cache: &Path) -> PathBuf {
    cache.join("buf")
}

fn buf(cache: &Path) -> PathBuf {
    buf_folder(cache).join("node_modules/.bin/buf")
}

/// Puts exactly these packages, each with its version, in `folder`, unless they are there.
fn npm_install(folder: &Path, packages: &[&str]) -> anyhow::Result<()> {
    install_once(folder, packages, || {
        let arguments = ["install", "--no-audit", "--no-fund", "--no-package-lock", "--prefix"];
        quietly(Command::new("npm").args(arguments).arg(folder).args(packages))
    })
}

/// As [`npm_install`], of Python's packages: `folder` becomes a virtual environment.
fn pip_install(folder: &Path, packages: &[&str]) -> anyhow::Result<()> {
    install_once(folder, packages, || {
        let python = python().context("there is no Python 3")?;
        quietly(Command::new(python).args(["-m", "venv"]).arg(folder))?;
        let arguments = ["install", "--quiet", "--disable-pip-version-check"];
        quietly(Command::new(folder.join("bin/pip")).args(arguments).args(packages))
    })
}

/// Fills `folder` from nothing, unless it was filled with the same before.
fn install_once(
    folder: &Path,
    packages: &[&str],
    fill: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (stamp, wanted) = (folder.join("installed"), packages.join(" "));
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    fill().with_context(|| format!("cannot fetch {wanted}"))?;
    fs::write(stamp, wanted)?;
    Ok(())
}

/// Runs a command whose output is of interest only where it fails.
fn quietly(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        bail!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
