//! PostgreSQL, with the user and the database that the original's settings name.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use nix::unistd::geteuid;

use crate::Running;
use crate::install::find_program;
use crate::launch::{Lifetime, User, launch};

pub const USER: &str = "user";
pub const PASSWORD: &str = "password";
pub const DATABASE: &str = "gostocks";

/// Where Debian keeps the programs that it leaves out of PATH, newest version first.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    folders.sort_by_key(|folder| {
        let version = folder.file_name().and_then(|name| name.to_str());
        version.and_then(|version| version.parse::<u32>().ok())
    });
    let debian = folders.into_iter().rev().map(|folder| folder.join("bin").join(name));
    debian.chain(find_program(name)).find(|path| path.is_file())
}

fn command(name: &str) -> anyhow::Result<Command> {
    let path = program(name).with_context(|| format!("PostgreSQL's {name} is not installed"))?;
    Ok(Command::new(path))
}

/// The account that runs it: PostgreSQL refuses to be root. `None`: whoever runs this program.
fn account() -> anyhow::Result<Option<User>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    for name in ["postgres", "nobody"] {
        if let Some(user) = nix::unistd::User::from_name(name)? {
            return Ok(Some(User { uid: user.uid.as_raw(), gid: user.gid.as_raw() }));
        }
    }
    bail!("PostgreSQL does not run as root, and there is no user `postgres` to run it as")
}

/// Where its data goes: `preferred`, or a folder of its own under `/var/lib` where the account
/// that runs it may not enter one of the folders above `preferred` (a clone under `/root`).
pub fn home(preferred: &Path) -> anyhow::Result<PathBuf> {
    let Some(user) = account()? else { return Ok(preferred.to_owned()) };
    fs::create_dir_all(preferred)?;
    let preferred = fs::canonicalize(preferred)?;
    let above = preferred.ancestors().skip(1);
    for folder in above {
        if !may_enter(folder, user)? {
            let name = format!("gostocks-{:016x}", fingerprint(&preferred));
            return Ok(Path::new("/var/lib").join(name));
        }
    }
    Ok(preferred)
}

fn may_enter(folder: &Path, user: User) -> anyhow::Result<bool> {
    let about = fs::metadata(folder)?;
    let execute = match about {
        _ if about.uid() == user.uid => 0o100,
        _ if about.gid() == user.gid => 0o010,
        _ => 0o001,
    };
    Ok(about.permissions().mode() & execute != 0)
}

/// FNV-1a: the same for a path today and after every upgrade of the compiler.
fn fingerprint(path: &Path) -> u64 {
    let bytes = path.as_os_str().as_encoded_bytes();
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Starts PostgreSQL with its data under `home` (see [`home`]), made at the first start.
pub fn start(home: &Path, port: u16, log: &Path, lifetime: Lifetime) -> anyhow::Result<Running> {
    let account = account()?;
    fs::create_dir_all(home)?;
    if let Some(user) = account {
        chown(home, Some(user.uid), Some(user.gid))?;
    }
    let data = home.join("data");
    if !data.join("PG_VERSION").exists() {
        initialize(home, &data, account)?;
    }
    let mut command = as_account(command("postgres")?, account);
    command
        .arg("-D")
        .arg(&data)
        .args(["-c", "listen_addresses=127.0.0.1"])
        .args(["-c", &format!("port={port}")])
        .args(["-c", "unix_socket_directories="])
        .current_dir(home);
    let process = launch(command, log, lifetime)?;
    Ok(Running {
        name: "postgresql",
        process,
        address: format!("127.0.0.1:{port}"),
        log: log.to_owned(),
        // Fast shutdown: it does not wait for clients to leave.
        stop_signal: Signal::SIGINT,
    })
}

fn initialize(home: &Path, data: &Path, account: Option<User>) -> anyhow::Result<()> {
    // What an interrupted first start left behind is not a database, and `initdb` refuses it.
    if data.exists() {
        fs::remove_dir_all(data)?;
    }
    let password = home.join("password");
    fs::write(&password, PASSWORD)?;
    if let Some(user) = account {
        chown(&password, Some(user.uid), Some(user.gid))?;
    }
    let output = as_account(command("initdb")?, account)
        .arg("-D")
        .arg(data)
        .args(["-U", USER, "--auth=scram-sha-256", "--encoding=UTF8", "--no-locale"])
        .arg(format!("--pwfile={}", password.display()))
        .current_dir(home)
        .output()?;
    fs::remove_file(&password)?;
    check(&output, "initdb")
}

fn as_account(mut command: Command, account: Option<User>) -> Command {
    if let Some(user) = account {
        command.uid(user.uid).gid(user.gid);
    }
    command
}

fn check(output: &Output, program: &str) -> anyhow::Result<()> {
    if !output.status.success() {
        bail!("postgresql: {program} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Whether it takes connections.
pub fn is_ready(address: &str) -> bool {
    psql(address, "postgres", "SELECT 1").is_ok()
}

/// Makes the database if it is missing.
pub fn create_database(address: &str) -> anyhow::Result<()> {
    let exists = format!("SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'");
    if psql(address, "postgres", &exists)?.trim().is_empty() {
        psql(address, "postgres", &format!("CREATE DATABASE {DATABASE}"))?;
    }
    Ok(())
}

/// The `DATABASE_URL` of the server at `address`.
pub fn url(address: &str) -> String {
    format!("postgres://{USER}:{PASSWORD}@{address}/{DATABASE}?sslmode=disable")
}

fn psql(address: &str, database: &str, statement: &str) -> anyhow::Result<String> {
    let (host, port) = address.rsplit_once(':').context("an address is host:port")?;
    let output = command("psql")?
        .args(["-h", host, "-p", port, "-U", USER, "-d", database])
        .args(["-X", "-A", "-t", "-c", statement])
        .env("PGPASSWORD", PASSWORD)
        .env("PGCONNECT_TIMEOUT", PATIENCE.as_secs().to_string())
        .output()?;
    check(&output, "psql")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_folder_above_moves_the_data_elsewhere() {
        let folder = tempfile::tempdir().expect("a folder");
        let stranger = User { uid: 54_321, gid: 54_321 };
        let mode = |mode| {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).expect("chmod");
            may_enter(folder.path(), stranger).expect("metadata")
        };
        assert!(!mode(0o700));
        assert!(!mode(0o710));
        assert!(mode(0o711));
    }
}
