use std::process;
use std::thread;

use anyhow::Context;
use servers::Signal;

use crate::ledger::Ledger;
use crate::ui::Ui;

/// As a shell reports a program that SIGINT ended.
const INTERRUPTED: i32 = 130;

/// From now on Ctrl-C, SIGTERM and the terminal's closing end what this run has started, and then
/// this program; a second one ends only the program, at once.
///
/// To be called before any other thread exists: a signal goes to any thread that does not block it.
pub(crate) fn end_on_interrupt(ledger: &Ledger, ui: &Ui) -> anyhow::Result<()> {
    let signals = servers::block_signals(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP])
        .context("cannot wait for signals")?;
    let (ledger, ui) = (ledger.clone(), ui.clone());
    thread::spawn(move || {
        let _ = signals.wait();
        let waiter = ui.clone();
        thread::spawn(move || {
            let _ = signals.wait();
            waiter.say("interrupted: `cargo stack down` ends what still runs");
            process::exit(INTERRUPTED);
        });
        // Held to the end: nothing may start any more.
        let mut book = ledger.book();
        let code = if book.is_settled() { 0 } else { INTERRUPTED };
        ui.say("ending what was started here");
        if let Err(error) = book.end_started(&ui) {
            ui.say(&format!("error: {error:#}"));
            process::exit(1);
        }
        process::exit(code);
    });
    Ok(())
}
