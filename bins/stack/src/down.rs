use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use servers::postgresql;

use crate::catalogue::{MEMBERS, POSTGRESQL};
use crate::cli::Down;
use crate::ledger::end;
use crate::paths::Paths;
use crate::state::{Lock, State};
use crate::ui::Ui;

pub(crate) fn run(paths: &Paths, options: &Down) -> anyhow::Result<ExitCode> {
    let ui = Ui::new();
    let _lock = Lock::take(paths)?;
    let mut state = State::load(paths)?;
    let mut own = Vec::new();
    for (name, entry) in &state.entries {
        match (&entry.process, &entry.address) {
            (Some(_), _) => own.push(name.clone()),
            (None, Some(address)) => ui.say(&format!("{name} at {address} is yours: left alone")),
            (None, None) => {}
        }
    }
    if own.is_empty() {
        ui.say("nothing that `cargo stack up` started runs");
    }
    let names: Vec<&str> = own.iter().map(String::as_str).collect();
    end(&mut state, &names, &ui);
    State::default().save(paths)?;
    if options.wipe {
        wipe(paths)?;
        ui.say("the data and the logs are removed");
    }
    Ok(ExitCode::SUCCESS)
}

/// Everything under `.stack` but downloads, and PostgreSQL's data where it had to be elsewhere.
fn wipe(paths: &Paths) -> anyhow::Result<()> {
    // First: it is found by the folder that it would have liked to have.
    remove(&postgresql::home(&paths.home(POSTGRESQL))?)?;
    for member in &MEMBERS {
        remove(&paths.home(member.name))?;
    }
    remove(&paths.logs())
}

fn remove(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}
