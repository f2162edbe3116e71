use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use servers::cargo;
use servers::install::{Purpose, install};
use servers::kafka::Distribution;

use crate::build::{BUILT, Profile, build};
use crate::cli::Chaos;
use crate::paths::Paths;
use crate::test::check;
use crate::ui::Ui;

/// The rounds are a test, which `cargo stack test` runs a few of; this runs more, or one again.
pub(crate) fn run(paths: &Paths, options: &Chaos) -> anyhow::Result<ExitCode> {
    let ui = Ui::new();
    install(Purpose::Test, &paths.cache, &|what| ui.say(what))?;
    Distribution::install(&paths.cache)?;
    let binaries = build(paths, Profile::Release, &ui, &AtomicBool::new(false))?.folder;
    let mut command = cargo();
    command
        .args(["test", "--release", "--quiet", "--workspace", "--test", "chaos"])
        .args(["--", "--nocapture"])
        .env(BUILT, binaries)
        .env("GOSTOCKS_CACHE", &paths.cache)
        .env("GOSTOCKS_CHAOS_ROUNDS", options.rounds.to_string())
        .env("GOSTOCKS_CHAOS_ALERTS", options.alerts.to_string())
        .env("GOSTOCKS_CHAOS_SEED", options.seed.to_string())
        .current_dir(&paths.root);
    check(&mut command)?;
    Ok(ExitCode::SUCCESS)
}
