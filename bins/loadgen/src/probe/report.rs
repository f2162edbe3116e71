//! What was seen outside beside what the metrics say.

use std::fmt::Write;

use crate::probe::firings::Fired;
use crate::probe::plan::Plan;
use crate::probe::prices::Look;
use crate::probe::quantile;
use crate::probe::scrape::Stages;
use crate::probe::trades::Logged;

const STAGES: [&str; 6] = ["produced", "consumed", "visible", "evaluated", "fired", "published"];
const QUANTILES: [f64; 2] = [0.5, 0.99];

/// Everything that a run has brought, to be joined.
pub(crate) struct Seen<'a> {
    pub(crate) plan: &'a Plan,
    /// By trade, Unix nanoseconds.
    pub(crate) sent_at: &'a [u64],
    pub(crate) logged: &'a Logged,
    /// Numbers of the symbols that were watched, and what was seen of them.
    pub(crate) watched: &'a [usize],
    pub(crate) looks: &'a [Look],
    /// Ids of the alerts, in the plan's order, and when each was seen to have fired.
    pub(crate) alerts: &'a [i64],
    pub(crate) fired: &'a Fired,
    /// What the metrics have counted of the measured trades.
    pub(crate) metrics: &'a Stages,
}

/// One stage as seen outside, in seconds, ascending.
struct Outside {
    /// Since the trade left the feed.
    since_sent: Vec<f64>,
    /// Since the ingestor has read it.
    since_received: Vec<f64>,
}

/// What is printed, and what is to be held against a tolerance.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) text: String,
    /// What is missing or came twice: a sentence for each kind.
    pub(crate) faults: Vec<String>,
    /// The largest difference between a percentile of the metrics and one from outside, as a part
    /// of the latter.
    pub(crate) widest: f64,
}

impl Seen<'_> {
    pub(crate) fn report(&self) -> Report {
        let mut report = Report::default();
        let visible = self.visible(&mut report.faults);
        let published = self.published(&mut report.faults);
        self.count(&mut report);
        let line = "stage       since it left      since it was read  metrics            difference       trades\n\
                    \x20           p50 ms    p99 ms   p50 ms    p99 ms   p50 ms    p99 ms   p50     p99      outside   metrics\n";
        report.text.push_str(line);
        let read =
            self.outside(self.plan.measured().map(|trade| (trade, self.logged.received_at[trade])));
        report.row("read", Some(&read), &[]);
        let consumed =
            self.outside(self.plan.measured().map(|trade| (trade, self.logged.at[trade])));
        let (visible, published) = (self.outside(visible), self.outside(published));
        for stage in STAGES {
            let outside = match stage {
                "consumed" => Some(&consumed),
                "visible" => Some(&visible),
                "published" => Some(&published),
                // Nobody outside sees these.
                _ => None,
            };
            report.row(stage, outside, self.metrics.buckets(stage));
        }
        report
    }

    fn outside(&self, seen: impl IntoIterator<Item = (usize, u64)>) -> Outside {
        let (mut since_sent, mut since_received) = (Vec::new(), Vec::new());
        for (trade, at) in seen {
            let (sent_at, received_at) = (self.sent_at[trade], self.logged.received_at[trade]);
            if at > 0 && sent_at > 0 && received_at > 0 {
                since_sent.push(seconds(sent_at, at));
                since_received.push(seconds(received_at, at));
            }
        }
        since_sent.sort_unstable_by(f64::total_cmp);
        since_received.sort_unstable_by(f64::total_cmp);
        Outside { since_sent, since_received }
    }

    /// Since when the measured trades of the watched symbols were visible: with a trade all those
    /// of its symbol before it are.
    fn visible(&self, faults: &mut Vec<String>) -> Vec<(usize, u64)> {
        let mut visible = Vec::new();
        // By number of the symbol, its place among those watched.
        let mut places = vec![None; self.plan.symbols.len()];
        for (place, symbol) in self.watched.iter().enumerate() {
            places[*symbol] = Some(place);
        }
        let mut trades = vec![Vec::new(); self.watched.len()];
        for trade in 0..self.plan.trades() {
            if let Some(place) = places[self.plan.symbol_of(trade)] {
                trades[place].push(trade);
            }
        }
        let mut next = vec![0; self.watched.len()];
        for look in self.looks {
            let Some(last) = look.volume.and_then(|volume| self.plan.trade(volume)) else {
                continue;
            };
            let (trades, next) = (&trades[look.symbol], &mut next[look.symbol]);
            while let Some(trade) = trades.get(*next).filter(|trade| **trade <= last) {
                if self.plan.measured().contains(trade) {
                    visible.push((*trade, look.at));
                }
                *next += 1;
            }
        }
        let unseen: usize = trades.iter().zip(&next).map(|(all, seen)| all.len() - seen).sum();
        if unseen > 0 {
            faults.push(format!("{unseen} trades of watched symbols never showed in Redis"));
        }
        visible
    }

    fn published(&self, faults: &mut Vec<String>) -> Vec<(usize, u64)> {
        let spikes = self.plan.spikes().iter().zip(self.alerts);
        let fired: Vec<_> =
            spikes.filter_map(|(trade, alert)| Some((*trade, *self.fired.get(alert)?))).collect();
        if fired.len() < self.alerts.len() {
            let missing = self.alerts.len() - fired.len();
            faults.push(format!("{missing} of {} firings were not seen", self.alerts.len()));
        }
        fired
    }

    /// The sentence above the table.
    fn count(&self, report: &mut Report) {
        let planned = self.plan.trades();
        let logged = self.logged.at.iter().filter(|at| **at > 0).count();
        if logged < planned {
            report.faults.push(format!("{} trades are not on the topic", planned - logged));
        }
        if self.logged.repeated > 0 {
            report.faults.push(format!("{} trades came twice", self.logged.repeated));
        }
        let measured = self.plan.measured().len();
        for stage in ["produced", "consumed", "visible"] {
            let counted = self.metrics.count(stage);
            if counted != measured as f64 {
                let fault = format!("{counted} trades {stage} by the metrics, of {measured}");
                report.faults.push(fault);
            }
        }
        let _ = writeln!(
            report.text,
            "{planned} trades sent, {logged} on the topic; {measured} measured; {} of {} symbols \
             watched in Redis; {} alerts, {} firings seen\n",
            self.watched.len(),
            self.plan.symbols.len(),
            self.alerts.len(),
            self.fired.len(),
        );
    }
}

impl Report {
    fn row(&mut self, stage: &str, outside: Option<&Outside>, buckets: &[(f64, f64)]) {
        let of = |samples: Option<&Vec<f64>>| {
            QUANTILES.map(|q| {
                let samples = samples.filter(|samples| !samples.is_empty())?;
                Some(quantile::of_samples(samples, q))
            })
        };
        let sent = of(outside.map(|outside| &outside.since_sent));
        let received = of(outside.map(|outside| &outside.since_received));
        let metrics = QUANTILES.map(|q| quantile::of_buckets(buckets, q));
        let mut line = format!("{stage:<10}");
        for value in sent.into_iter().chain(received).chain(metrics) {
            match value {
                // Writing to a String cannot fail.
                Some(value) => {
                    let _ = write!(line, " {:>8.3}", value * 1e3);
                }
                None => line.push_str("        –"),
            }
        }
        for (outside, metrics) in sent.into_iter().zip(metrics) {
            match outside.zip(metrics) {
                Some((outside, metrics)) => {
                    let difference = (metrics - outside) / outside;
                    self.widest = self.widest.max(difference.abs());
                    let _ = write!(line, " {:>+6.1} %", difference * 1e2);
                }
                None => line.push_str("        –"),
            }
        }
        let seen = outside.map_or(0, |outside| outside.since_sent.len());
        let counted = buckets.last().map_or(0.0, |(_, count)| *count);
        let _ = write!(line, " {seen:>9} {counted:>9}");
        self.text.push_str(&line);
        self.text.push('\n');
    }
}

fn seconds(from: u64, to: u64) -> f64 {
    std::time::Duration::from_nanos(to.saturating_sub(from)).as_secs_f64()
}
