use std::ops::Range;
use std::path::Path;

use anyhow::{Context, ensure};
use market::Symbol;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::render::push_u64;

/// Frames as a feed once sent them.
///
/// The text is kept as it is, with the places of what a replay may change: each trade, which is
/// left out where its symbol is not subscribed, and its time.
#[derive(Debug)]
pub(crate) struct Recording {
    frames: Vec<Recorded>,
}

#[derive(Debug)]
pub(crate) struct Recorded {
    text: String,
    /// Empty where the line is not a frame of trades: it is sent as it is, to everybody.
    trades: Vec<RecordedTrade>,
    /// When it was sent: the latest time of any trade up to here. Unix milliseconds.
    pub(crate) time: i64,
}

#[derive(Debug)]
struct RecordedTrade {
    symbol: Symbol,
    time: i64,
    text: Range<usize>,
    time_text: Range<usize>,
}

#[derive(Deserialize)]
struct RawFrame<'a> {
    r#type: String,
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawTrade<'a> {
    s: String,
    #[serde(borrow)]
    t: &'a RawValue,
}

impl Recording {
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("--file {}", path.display()))?;
        let recording = Self::parse(&text);
        let has_trades = recording.frames.iter().any(|frame| !frame.trades.is_empty());
        ensure!(has_trades, "--file {}: no line is a frame of trades", path.display());
        Ok(recording)
    }

    fn parse(text: &str) -> Self {
        let mut frames: Vec<Recorded> = Vec::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let trades = trades(line).unwrap_or_default();
            let time = trades.iter().map(|trade| trade.time).max();
            frames.push(Recorded { text: line.to_owned(), trades, time: time.unwrap_or(i64::MIN) });
        }
        // Lines before the first trade are due with it, others with what came before them.
        let mut latest = frames.iter().map(|f| f.time).find(|time| *time > i64::MIN).unwrap_or(0);
        for frame in &mut frames {
            latest = latest.max(frame.time);
            frame.time = latest;
        }
        Self { frames }
    }

    /// Lets neighbours change places, so that times run backwards.
    pub(crate) fn swap_neighbours(&mut self) {
        for pair in self.frames.chunks_exact_mut(2) {
            let (first, second) = pair.split_at_mut(1);
            std::mem::swap(&mut first[0].text, &mut second[0].text);
            std::mem::swap(&mut first[0].trades, &mut second[0].trades);
        }
    }

    pub(crate) fn frames(&self) -> &[Recorded] {
        &self.frames
    }

    pub(crate) fn has_symbol(&self, wanted: impl Fn(&Symbol) -> bool) -> bool {
        self.frames.iter().flat_map(|frame| &frame.trades).any(|trade| wanted(&trade.symbol))
    }
}

impl Recorded {
    pub(crate) fn is_trades(&self) -> bool {
        !self.trades.is_empty()
    }

    /// Writes the frame to `out` with its times moved by `shift` milliseconds, and with the wanted
    /// trades only. False where none is.
    pub(crate) fn render(
        &self,
        wanted: impl Fn(&Symbol) -> bool,
        shift: i64,
        out: &mut Vec<u8>,
    ) -> bool {
        out.clear();
        let text = self.text.as_bytes();
        let count = self.trades.iter().filter(|trade| wanted(&trade.symbol)).count();
        if count == self.trades.len() {
            let mut at = 0;
            for trade in &self.trades {
                out.extend_from_slice(&text[at..trade.time_text.start]);
                push_time(out, trade.time, shift, &text[trade.time_text.clone()]);
                at = trade.time_text.end;
            }
            out.extend_from_slice(&text[at..]);
            return true;
        }
        out.extend_from_slice(br#"{"data":["#);
        let mut separator: &[u8] = b"";
        for trade in self.trades.iter().filter(|trade| wanted(&trade.symbol)) {
            out.extend_from_slice(separator);
            separator = b",";
            out.extend_from_slice(&text[trade.text.start..trade.time_text.start]);
            push_time(out, trade.time, shift, &text[trade.time_text.clone()]);
            out.extend_from_slice(&text[trade.time_text.end..trade.text.end]);
        }
        out.extend_from_slice(br#"],"type":"trade"}"#);
        count > 0
    }
}

fn push_time(out: &mut Vec<u8>, time: i64, shift: i64, as_recorded: &[u8]) {
    if shift == 0 {
        out.extend_from_slice(as_recorded);
    } else {
        push_u64(out, time.saturating_add(shift).max(1).unsigned_abs());
    }
}

/// The trades of a line, if it is a frame of trades with nothing odd about any of them.
fn trades(line: &str) -> Option<Vec<RecordedTrade>> {
    let frame: RawFrame<'_> = serde_json::from_str(line).ok()?;
    if frame.r#type != "trade" {
        return None;
    }
    // Raw values are slices of the line, so their addresses are their places.
    let place = |raw: &RawValue| {
        let start = raw.get().as_ptr().addr() - line.as_ptr().addr();
        start..start + raw.get().len()
    };
    let trades = frame.data.into_iter().map(|raw| {
        let trade: RawTrade<'_> = serde_json::from_str(raw.get()).ok()?;
        let symbol = Symbol::new(&trade.s).ok()?;
        let time = trade.t.get().parse().ok().filter(|time: &i64| *time > 0)?;
        Some(RecordedTrade { symbol, time, text: place(raw), time_text: place(trade.t) })
    });
    trades.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = r#"{"data":[{"c":null,"p":1.50,"s":"A","t":1000,"v":1},{"t": 2000 ,"s":"b","p":2e0}],"type":"trade"}"#;

    #[track_caller]
    fn check(line: &str, wanted: &[&str], shift: i64, expected: Option<&str>) {
        let recording = Recording::parse(line);
        let mut out = Vec::new();
        let wanted = |symbol: &Symbol| wanted.contains(&symbol.as_str());
        let sent = recording.frames()[0].render(wanted, shift, &mut out);
        let found = sent.then(|| String::from_utf8(out).unwrap());
        assert_eq!(found.as_deref(), expected);
    }

    #[test]
    fn a_replay_changes_nothing_but_what_it_must() {
        check(TWO, &["A", "B"], 0, Some(TWO));
        let shifted = TWO.replace("1000", "1500").replace(" 2000 ", " 2500 ");
        check(TWO, &["A", "B"], 500, Some(&shifted));
        let only_b = r#"{"data":[{"t": 2000 ,"s":"b","p":2e0}],"type":"trade"}"#;
        check(TWO, &["B"], 0, Some(only_b));
        check(TWO, &["C"], 0, None);
    }

    #[test]
    fn lines_that_are_not_trades_are_sent_as_they_are() {
        for line in ["not json", r#"{"type":"ping"}"#, r#"{"data":[{"p":1}],"type":"trade"}"#] {
            check(line, &[], 500, Some(line));
        }
    }

    #[test]
    fn frames_are_due_in_the_order_of_the_file() {
        let frame =
            |time: u32| format!(r#"{{"data":[{{"p":1,"s":"A","t":{time}}}],"type":"trade"}}"#);
        let lines = ["x", &frame(10), "", "y", &frame(30), &frame(20), &frame(40)].join("\n");
        let mut recording = Recording::parse(&lines);
        let times = |recording: &Recording| -> Vec<_> {
            recording.frames().iter().map(|frame| frame.time).collect()
        };
        assert_eq!(times(&recording), [10, 10, 10, 30, 30, 40]);
        recording.swap_neighbours();
        assert_eq!(times(&recording), [10, 10, 10, 30, 30, 40]);
        assert_eq!(recording.frames()[1].text, "x");
    }
}
