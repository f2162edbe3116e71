use std::fmt::Display;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Where there is no bar to see, how many steps are worth a line.
const STEPS_A_LINE: u64 = 50;

/// Progress on standard error: bars on a terminal; elsewhere a line for each result, and now and
/// then for the steps to it.
#[derive(Clone, Debug)]
pub(crate) struct Ui {
    bars: MultiProgress,
    terminal: bool,
}

/// One line of progress.
#[derive(Debug)]
pub(crate) struct Task {
    name: String,
    bar: ProgressBar,
    begun: Instant,
    terminal: bool,
}

impl Ui {
    pub(crate) fn new() -> Self {
        Self { bars: MultiProgress::new(), terminal: stderr().is_terminal() }
    }

    /// Something that takes a while, nobody knows how long.
    pub(crate) fn task(&self, name: &str) -> Task {
        let bar = ProgressBar::new_spinner().with_style(style("{spinner:.cyan} {prefix:12} {msg}"));
        self.show(name, bar)
    }

    /// Something in so many steps.
    pub(crate) fn steps(&self, name: &str, count: u64) -> Task {
        let look = style("{spinner:.cyan} {prefix:12} {bar:32.cyan/blue} {pos}/{len} {msg}");
        self.show(name, ProgressBar::new(count).with_style(look))
    }

    fn show(&self, name: &str, bar: ProgressBar) -> Task {
        let bar = self.bars.add(bar).with_prefix(name.to_owned());
        if self.terminal {
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        Task { name: name.to_owned(), bar, begun: Instant::now(), terminal: self.terminal }
    }

    /// A line above the bars.
    pub(crate) fn say(&self, line: &str) {
        if self.terminal {
            // A terminal that has gone away has no reader.
            let _ = self.bars.println(line);
        } else {
            eprintln!("{line}");
        }
    }
}

impl Task {
    pub(crate) fn step(&self, message: &str) {
        self.bar.set_message(message.to_owned());
    }

    /// As [`step`](Self::step), and worth a line where there is no bar to see.
    pub(crate) fn announce(&self, message: &str) {
        self.step(message);
        if !self.terminal {
            eprintln!("  {:12} {message}", self.name);
        }
    }

    pub(crate) fn advance(&self, to: u64) {
        let told = self.bar.position() / STEPS_A_LINE;
        self.bar.set_position(to);
        if !self.terminal && to / STEPS_A_LINE > told {
            let all = self.bar.length().filter(|all| *all >= to);
            let of = all.map(|all| format!(" of {all}")).unwrap_or_default();
            eprintln!("  {:12} {to}{of}", self.name);
        }
    }

    pub(crate) fn done(self, message: impl Display) {
        let line = format!("{message} ({:.1} s)", self.begun.elapsed().as_secs_f64());
        self.bar.set_style(style("{prefix:14} {msg}"));
        self.bar.set_prefix(format!("✔ {}", self.name));
        self.bar.finish_with_message(line.clone());
        if !self.terminal {
            eprintln!("  {:12} {line}", self.name);
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if !self.bar.is_finished() {
            self.bar.abandon();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// Writes to standard output. Whoever reads it may have gone (`… | head`): that is no error.
pub(crate) fn print(text: &str) {
    let mut out = stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
