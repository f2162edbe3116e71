use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use serde_json::Value;
use servers::{cargo, tail};

use crate::paths::Paths;
use crate::plan::PROGRAMS;
use crate::ui::Ui;

/// Which of the workspace's profiles the services are built with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Profile {
    /// Fast, and soon built.
    Release,
    /// As the images are.
    Dist,
    /// As the tests are, which are built too.
    Checks,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Dist => "dist",
            Self::Checks => "checks",
        }
    }
}

/// Set for tests by whoever has just built every program: then nothing is built again.
pub(crate) const BUILT: &str = "GOSTOCKS_BINARIES";

/// What was built.
#[derive(Debug)]
pub(crate) struct Built {
    /// Where the programs are.
    pub(crate) folder: PathBuf,
    /// Of the profile of tests.
    pub(crate) tests: Vec<TestProgram>,
}

/// A package's unit tests of its library or of a program, or one of its integration tests. They are
/// ordered by their packages' folders.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TestProgram {
    /// Its folder.
    pub(crate) package: PathBuf,
    /// Of the target; a library and a program may have the same.
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) executable: PathBuf,
}

impl TestProgram {
    fn of(message: &Value) -> Option<Self> {
        let target = &message["target"];
        Some(Self {
            package: Path::new(message["manifest_path"].as_str()?).parent()?.to_owned(),
            name: target["name"].as_str()?.to_owned(),
            kind: target["kind"][0].as_str()?.to_owned(),
            executable: message["executable"].as_str()?.into(),
        })
    }

    /// No other has the same.
    pub(crate) fn executable_name(&self) -> anyhow::Result<&str> {
        let name = self.executable.file_name().and_then(|name| name.to_str());
        name.with_context(|| format!("cargo built {}", self.executable.display()))
    }
}

impl fmt::Display for TestProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let package = self.package.file_name().unwrap_or_default().display();
        write!(f, "{package} {} {}", self.kind, self.name)
    }
}

/// Builds the services, and with the profile of tests those too. `abandon` ends it early.
pub(crate) fn build(
    paths: &Paths,
    profile: Profile,
    ui: &Ui,
    abandon: &AtomicBool,
) -> anyhow::Result<Built> {
    let task = ui.steps("build", packages(paths, profile).unwrap_or(1));
    let log = paths.log("build");
    fs::create_dir_all(paths.logs())?;
    let mut child = command(paths, profile)
        .stdout(Stdio::piped())
        .stderr(File::create(&log)?)
        .spawn()
        .context("cannot start cargo")?;
    let messages = child.stdout.take().context("cargo's output is piped")?;
    let mut built = HashSet::new();
    let (mut folder, mut tests) = (None, Vec::new());
    for line in BufReader::new(messages).lines() {
        if abandon.load(Ordering::Relaxed) {
            child.kill()?;
            break;
        }
        let message: Value = serde_json::from_str(&line?).unwrap_or_default();
        if message["reason"] != "compiler-artifact" {
            continue;
        }
        let (target, is_test) = (&message["target"], &message["profile"]["test"]);
        if let Some(program) = message["executable"].as_str()
            && target["kind"][0] == "bin"
            && is_test == false
        {
            folder = PathBuf::from(program).parent().map(PathBuf::from);
        }
        if is_test == true {
            let test = TestProgram::of(&message);
            tests.push(test.with_context(|| format!("cargo tells of a test: {message}"))?);
        }
        if let Some(name) = target["name"].as_str() {
            task.step(name);
        }
        if let Some(package) = message["package_id"].as_str() {
            built.insert(package.to_owned());
            task.advance(built.len() as u64);
        }
    }
    if !child.wait()?.success() {
        bail!("the build failed:\n{}", tail(&log, 100));
    }
    let folder = folder.context("cargo built no program")?;
    task.done("built");
    Ok(Built { folder, tests })
}

/// The whole workspace, with the tests' profile all of its targets in one build: what only tests
/// depend on turns on features of what programs depend on, which would be compiled twice.
fn command(paths: &Paths, profile: Profile) -> Command {
    let mut command = cargo();
    command.args(["build", "--profile", profile.name(), "--quiet", "--workspace"]);
    match profile {
        Profile::Checks => command.args(["--bins", "--tests", "--examples"]),
        _ => command.args(PROGRAMS.iter().flat_map(|(_, program)| ["--bin", program])),
    };
    command.arg("--message-format=json-render-diagnostics").current_dir(&paths.root);
    command
}

/// How many packages a build has, for its bar.
fn packages(paths: &Paths, profile: Profile) -> Option<u64> {
    let mut command = cargo();
    command.args(["tree", "--quiet", "--prefix", "none", "--edges"]);
    match profile {
        Profile::Checks => command.args(["normal,build,dev", "--workspace"]),
        _ => command
            .arg("normal,build")
            .args(PROGRAMS.iter().flat_map(|(_, program)| ["--package", program])),
    };
    let output = command.current_dir(&paths.root).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let names: HashSet<&str> = text.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    Some(names.iter().filter(|name| !name.is_empty()).count() as u64)
}
