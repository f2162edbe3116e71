//! What must be on the machine, and Debian's packages that bring it.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use nix::unistd::geteuid;

use crate::{kafka, postgresql};

/// What the machine is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Build and run the stack.
    Run,
    /// Also run every test.
    Test,
    /// Also run every benchmark.
    Bench,
}

struct Requirement {
    /// As a person would name it.
    what: &'static str,
    purpose: Purpose,
    present: fn(cache: &Path) -> bool,
    packages: &'static [&'static str],
}

const REQUIREMENTS: &[Requirement] = &[
    Requirement {
        what: "a C compiler with make (cc, c++, make)",
        purpose: Purpose::Run,
        present: |_| ["cc", "c++", "make"].iter().all(|name| find_program(name).is_some()),
        packages: &["gcc", "g++", "libc6-dev", "make"],
    },
    Requirement {
        what: "Redis 7 or newer (redis-server, redis-cli)",
        purpose: Purpose::Run,
        present: |_| {
            is_at_least(7, "redis-server", "--version", "v=") && find_program("redis-cli").is_some()
        },
        packages: &["redis-server"],
    },
    Requirement {
        what: "PostgreSQL (postgres, initdb, psql)",
        purpose: Purpose::Run,
        present: |_| {
            ["postgres", "initdb", "psql"].iter().all(|name| postgresql::program(name).is_some())
        },
        packages: &["postgresql"],
    },
    Requirement {
        what: "Prometheus (prometheus)",
        purpose: Purpose::Run,
        present: |_| find_program("prometheus").is_some(),
        packages: &["prometheus"],
    },
    Requirement {
        what: "Prometheus's exporters (prometheus-redis-exporter, -postgres-exporter, -node-exporter)",
        purpose: Purpose::Run,
        present: |_| {
            ["redis", "postgres", "node"]
                .iter()
                .all(|of| find_program(&format!("prometheus-{of}-exporter")).is_some())
        },
        packages: &[
            "prometheus-redis-exporter",
            "prometheus-postgres-exporter",
            "prometheus-node-exporter",
        ],
    },
    Requirement {
        what: "Java 17 or newer (java)",
        purpose: Purpose::Run,
        present: |_| is_at_least(17, "java", "-version", "version \""),
        packages: &["default-jre-headless"],
    },
    Requirement {
        what: "Maven (mvn), which fetches Apache Kafka",
        purpose: Purpose::Run,
        present: |cache| {
            kafka::Distribution::cached(cache).is_some() || find_program("mvn").is_some()
        },
        packages: &["maven"],
    },
    Requirement {
        what: "kcat",
        purpose: Purpose::Test,
        present: |_| find_program("kcat").is_some(),
        packages: &["kcat"],
    },
    Requirement {
        what: "curl",
        purpose: Purpose::Test,
        present: |_| find_program("curl").is_some(),
        packages: &["curl"],
    },
    Requirement {
        what: "the protobuf compiler (protoc)",
        purpose: Purpose::Test,
        present: |_| find_program("protoc").is_some(),
        packages: &["protobuf-compiler"],
    },
    Requirement {
        what: "Python 3 with its modules websockets and protobuf",
        purpose: Purpose::Test,
        present: |_| python().is_some(),
        packages: &["python3", "python3-websockets", "python3-protobuf"],
    },
    Requirement {
        what: "Python's venv, into which schemathesis is fetched",
        purpose: Purpose::Test,
        present: |_| python().is_some_and(|python| has_modules(&python, "ensurepip, venv")),
        packages: &["python3-venv"],
    },
    Requirement {
        what: "Node's npm, which fetches buf",
        purpose: Purpose::Test,
        present: |_| find_program("npm").is_some(),
        packages: &["nodejs", "npm"],
    },
    Requirement {
        what: "wrk",
        purpose: Purpose::Bench,
        present: |_| find_program("wrk").is_some(),
        packages: &["wrk"],
    },
];

/// Services that Debian starts by itself once installed, at the next boot at the latest.
const UNITS: &[&str] = &[
    "redis-server",
    "postgresql",
    "prometheus",
    "prometheus-node-exporter",
    "prometheus-postgres-exporter",
    "prometheus-redis-exporter",
];

const POLICY: &str = "/usr/sbin/policy-rc.d";

/// The first Python that has the modules which the tests need: the system's own before one that
/// a version manager puts in PATH.
pub fn python() -> Option<PathBuf> {
    let candidates = [Some(PathBuf::from("/usr/bin/python3")), find_program("python3")];
    candidates
        .into_iter()
        .flatten()
        .find(|python| has_modules(python, "websockets, google.protobuf"))
}

/// Whether a program of that name says, after `mark`, that it is of that version or a newer one.
fn is_at_least(wanted: u32, name: &str, argument: &str, mark: &str) -> bool {
    find_program(name).is_some()
        && Command::new(name).arg(argument).stdin(Stdio::null()).output().is_ok_and(|output| {
            let said = [output.stdout, output.stderr].concat();
            major(&String::from_utf8_lossy(&said), mark).is_some_and(|major| major >= wanted)
        })
}

/// The number that stands right after `mark`.
fn major(said: &str, mark: &str) -> Option<u32> {
    let (_, version) = said.split_once(mark)?;
    let end = version.find(|it: char| !it.is_ascii_digit()).unwrap_or(version.len());
    version[..end].parse().ok()
}

fn has_modules(python: &Path, modules: &str) -> bool {
    Command::new(python)
        .args(["-c", &format!("import {modules}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// A program of that name in PATH.
pub fn find_program(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(name)).find(|path| {
        fs::metadata(path)
            .is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
    })
}

/// Installs what is missing, with Debian's packages. `report` hears what is being done.
///
/// # Errors
/// Without root or apt: all that is missing, named at once. `cache` is where Kafka's jars are.
pub fn install(purpose: Purpose, cache: &Path, report: &dyn Fn(&str)) -> anyhow::Result<()> {
    let missing = missing(purpose, cache);
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().flat_map(|need| need.packages).copied().collect();
    if !geteuid().is_root() || find_program("apt-get").is_none() {
        let what: Vec<&str> = missing.iter().map(|need| need.what).collect();
        bail!("{}", instructions(&what, &packages));
    }
    report(&format!("installing {}", packages.join(", ")));
    let newcomers: Vec<&str> = UNITS.iter().copied().filter(|unit| !has_unit(unit)).collect();
    let quiet = NoStarts::begin()?;
    // A list that could not be refreshed may still do.
    let refreshed = apt_get(&["update"]);
    let installed = apt_get(&[&["install", "--no-install-recommends"], &packages[..]].concat());
    drop(quiet);
    disable(&newcomers);
    if let Err(error) = installed {
        return Err(match refreshed {
            Ok(()) => error,
            Err(before) => error.context(before),
        });
    }
    let still: Vec<&str> = self::missing(purpose, cache).iter().map(|need| need.what).collect();
    if !still.is_empty() {
        bail!("the packages are installed, and yet missing: {}", still.join("; "));
    }
    Ok(())
}

fn missing(purpose: Purpose, cache: &Path) -> Vec<&'static Requirement> {
    REQUIREMENTS
        .iter()
        .filter(|need| need.purpose == Purpose::Run || need.purpose == purpose)
        .filter(|need| !(need.present)(cache))
        .collect()
}

fn instructions(what: &[&str], packages: &[&str]) -> String {
    format!(
        "missing on this machine:\n  - {}\nOn Debian or Ubuntu:\n  sudo apt-get install -y {}\n\
         then run this again. (As root, with apt, it installs them itself.)",
        what.join("\n  - "),
        packages.join(" ")
    )
}

fn apt_get(arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("apt-get")
        .args(["-y", "-q", "-o", "DPkg::Lock::Timeout=300"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .context("cannot start apt-get")?;
    if !output.status.success() {
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().rev().take(15).collect();
        let lines: Vec<&str> = lines.into_iter().rev().collect();
        bail!("apt-get {} failed:\n{}", arguments.join(" "), lines.join("\n"));
    }
    Ok(())
}

/// While it lives, Debian's packages start no service: each would take its default port.
/// Their agreed way to ask is the program `policy-rc.d`; 101 means "no".
struct NoStarts {
    had_one: bool,
}

impl NoStarts {
    fn begin() -> anyhow::Result<Self> {
        let policy = Path::new(POLICY);
        let had_one = policy.exists();
        if had_one {
            fs::rename(policy, Self::aside())?;
        }
        let guard = Self { had_one };
        fs::write(policy, "#!/bin/sh\nexit 101\n")?;
        fs::set_permissions(policy, fs::Permissions::from_mode(0o755))?;
        Ok(guard)
    }

    fn aside() -> PathBuf {
        PathBuf::from(format!("{POLICY}.gostocks"))
    }
}

impl Drop for NoStarts {
    fn drop(&mut self) {
        let _ =
            if self.had_one { fs::rename(Self::aside(), POLICY) } else { fs::remove_file(POLICY) };
    }
}

fn has_unit(unit: &str) -> bool {
    ["/lib/systemd/system", "/usr/lib/systemd/system", "/etc/systemd/system"]
        .iter()
        .any(|folder| Path::new(folder).join(format!("{unit}.service")).exists())
}

/// Keeps the services that came with the packages from starting at the next boot. One that was
/// there before is its owner's business.
fn disable(units: &[&str]) {
    for unit in units.iter().filter(|unit| has_unit(unit)) {
        // Without systemd there is nothing that would start it.
        let _ = Command::new("systemctl")
            .args(["--quiet", "disable", unit])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_stands_after_its_mark() {
        let java =
            "Picked up JAVA_TOOL_OPTIONS: -Xss512k\nopenjdk version \"17.0.15\" 2025-04-15\n";
        assert_eq!(major(java, "version \""), Some(17));
        assert_eq!(major("java version \"1.8.0_402\"\n", "version \""), Some(1));
        assert_eq!(major("openjdk version \"21\" 2023-09-19", "version \""), Some(21));
        assert_eq!(major("Redis server v=7.0.15 sha=00000000:0", "v="), Some(7));
        assert_eq!(major("Redis server v=unstable", "v="), None);
        assert_eq!(major("no version here", "v="), None);
    }

    #[test]
    fn a_program_that_is_not_there_is_of_no_version() {
        assert!(!is_at_least(0, "gostocks-no-such-program", "--version", "v="));
    }

    #[test]
    fn what_is_missing_is_named_once_and_completely() {
        let text = instructions(&["Redis (redis-server)", "kcat"], &["redis-server", "kcat"]);
        assert!(text.contains("- Redis (redis-server)\n  - kcat\n"), "{text}");
        assert!(text.contains("sudo apt-get install -y redis-server kcat\n"), "{text}");
    }

    #[test]
    fn a_program_is_found_in_path_only_if_it_can_be_run() {
        assert!(find_program("sh").is_some());
        assert!(find_program("no-such-program").is_none());
        assert!(find_program("").is_none(), "a folder is not a program");
    }
}
