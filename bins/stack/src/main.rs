//! `cargo stack …`: brings the real servers and the services up on one machine, and runs the tests.
//!
//! ```text
//! up      settings ─▶ plan (who, where) ─▶ install, build ─▶ start what is not running ─▶ ready
//! down    .stack/state.json ─▶ stop exactly those processes
//! ```
//! What was started stands in `.stack/state.json` by process id and start time, so that any later
//! command finds it and none ever stops a stranger.

mod bench;
mod build;
mod catalogue;
mod chaos;
mod cli;
mod down;
mod feed;
mod first_price;
mod ledger;
mod logs;
mod paths;
mod plan;
mod ports;
mod scrape;
mod settings;
mod signals;
mod state;
mod status;
mod test;
mod ui;
mod up;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command};
use crate::paths::Paths;

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let outcome = Paths::locate().and_then(|paths| match command {
        Command::Up(options) => up::run(&paths, &options),
        Command::Down(options) => down::run(&paths, &options),
        Command::Status(options) => status::run(&paths, &options),
        Command::Logs(options) => logs::run(&paths, &options),
        Command::Test(options) => test::run(&paths, &options),
        Command::Chaos(options) => chaos::run(&paths, &options),
        Command::Bench(options) => bench::run(&paths, &options),
    });
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
