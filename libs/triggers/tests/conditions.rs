//! `CONDITIONS.md` says what fires; each row of its tables is a test.

mod row;

use market::{Price, Sequence, Trade, Volume};
use row::Row;
use triggers::{Arming, Condition, Firing, Partition, Percent, PriceRange, Repeat, Terms};

const DOCUMENT: &str = include_str!("../CONDITIONS.md");
const SYMBOL: &str = "AAPL";
const RING: usize = 64;

/// What a row says.
struct Case<'a> {
    text: &'a str,
    terms: Terms,
    trades: Vec<Placed>,
    /// Where the alert is armed.
    armed_at: i64,
    /// Event time.
    expires_at: i64,
    /// The places of the trades that fire it.
    expected: Vec<Sequence>,
}

fn price(text: &str) -> Price {
    text.parse().ok().and_then(Price::new).unwrap_or_else(|| panic!("no price: {text:?}"))
}

fn seconds(text: &str) -> i64 {
    let number = text.strip_suffix('s').and_then(|number| number.parse::<i64>().ok());
    number.unwrap_or_else(|| panic!("no time: {text:?}")) * 1_000
}

fn terms(text: &str) -> Terms {
    let percent = |text: &str| {
        let number = text.strip_suffix('%').and_then(|number| number.parse().ok());
        number.and_then(Percent::new).unwrap_or_else(|| panic!("no percent: {text:?}"))
    };
    let range = |text: &str| {
        let (lower, upper) = text.split_once("..").expect("a range");
        PriceRange::new(price(lower), price(upper)).expect("a range")
    };
    let mut words = text.split(' ');
    let (name, of) = (words.next().expect("a condition"), words.next().expect("its number"));
    let condition = match name {
        "ABOVE" => Condition::Above(price(of)),
        "BELOW" => Condition::Below(price(of)),
        "CROSSES_ABOVE" => Condition::CrossesAbove(price(of)),
        "CROSSES_BELOW" => Condition::CrossesBelow(price(of)),
        "CROSSES" => Condition::Crosses(price(of)),
        "ENTERS" => Condition::EntersRange(range(of)),
        "LEAVES" => Condition::LeavesRange(range(of)),
        "RISES" => Condition::RisesPercent(percent(of)),
        "FALLS" => Condition::FallsPercent(percent(of)),
        "TRAILING_DROP" => Condition::TrailingDrop(percent(of)),
        "TRAILING_RISE" => Condition::TrailingRise(percent(of)),
        _ => panic!("no condition: {name:?}"),
    };
    let mut repeat = None;
    while let Some(word) = words.next() {
        match (word, &mut repeat) {
            ("every", None) => repeat = Some(Repeat { cooldown: 0, hysteresis: None }),
            ("hysteresis", Some(Repeat { hysteresis, .. })) => {
                *hysteresis = words.next().map(percent);
            }
            (word, Some(Repeat { cooldown, .. })) => {
                *cooldown = u32::try_from(seconds(word)).expect("a cooldown");
            }
            _ => panic!("what is {word:?}?"),
        }
    }
    Terms::new(condition, repeat).expect("terms that are good together")
}

fn case<'a>(alert: &'a str, prices: &str) -> Case<'a> {
    let mut case = Case {
        text: alert,
        terms: terms(alert),
        trades: Vec::new(),
        armed_at: 0,
        expires_at: i64::MAX,
        expected: Vec::new(),
    };
    let (mut time, mut newest, mut place) = (1_000_000, 0, Sequence::default());
    let mut in_record = false;
    for word in prices.split(' ') {
        if word == "|" {
            case.armed_at = place.offset;
            continue;
        }
        if let Some(more) = word.strip_prefix('+') {
            time += seconds(more);
            continue;
        }
        let (is_expiry, word) = match word.strip_prefix('!') {
            Some(word) => (true, word),
            None => (false, word),
        };
        in_record |= word.starts_with('[');
        let ends = word.ends_with(']');
        let word = word.trim_start_matches('[').trim_end_matches(']');
        let (is_late, is_same) = (word.starts_with('~'), word.starts_with('='));
        let number = word.trim_start_matches(['~', '=']).trim_end_matches('*');
        if !is_late && !is_same {
            time += 1_000;
        }
        let timestamp = if is_late { newest - 1 } else { time };
        newest = newest.max(timestamp);
        if is_expiry {
            case.expires_at = timestamp;
        }
        let price = price(number);
        let trade = Trade { price, volume: Volume::ZERO, timestamp, received_at: 7 };
        case.trades.push((place, trade));
        if word.ends_with('*') {
            case.expected.push(place);
        }
        in_record &= !ends;
        place = if in_record { place.next() } else { Sequence::of_record(place.offset + 1) };
    }
    case
}

/// A trade and where it stands.
type Placed = (Sequence, Trade);

fn read(partition: &mut Partition, trades: &[Placed]) -> Vec<Firing> {
    let mut fired = Vec::new();
    let symbol = partition.intern(SYMBOL).expect("one symbol");
    for (place, trade) in trades {
        partition.evaluate(symbol, trade, *place, &mut fired);
    }
    fired
}

impl Case<'_> {
    fn row(&self) -> Row {
        let row = Row::new(1, self.terms, Sequence::of_record(self.armed_at));
        Row { expires_at: self.expires_at, ..row }
    }

    /// The trades before and after some trade.
    fn split(&self, place: Sequence) -> (&[Placed], &[Placed]) {
        self.trades.split_at(self.trades.partition_point(|(other, _)| *other < place))
    }

    #[track_caller]
    fn check(&self, how: &str, fired: &[Firing]) {
        // As the store does; what comes after is of no version that it has.
        let is_stored = |firing: &&Firing| firing.timestamp < self.expires_at;
        let fired: Vec<&Firing> = fired.iter().take_while(is_stored).collect();
        let places: Vec<Sequence> = fired.iter().map(|firing| firing.sequence).collect();
        assert_eq!(places, self.expected, "{how}: {}", self.text);
        for (firing, generation) in fired.into_iter().zip(1..) {
            assert_eq!(firing.version.generation, generation, "{how}: {}", self.text);
            let (_, trade) = self.trades.iter().find(|(at, _)| *at == firing.sequence).expect("it");
            assert_eq!((firing.price, firing.timestamp), (trade.price, trade.timestamp));
            assert_eq!(firing.received_at, 7);
        }
    }

    fn armed_before_its_trades(&self) {
        let mut partition = Partition::new(RING);
        let armed = self.row().armed().expect("active");
        let mut fired = Vec::new();
        assert_eq!(partition.arm(SYMBOL, armed, &mut fired), Arming::Armed);
        fired.extend(read(&mut partition, &self.trades));
        self.check("armed before", &fired);
    }

    /// It is heard of after any of its trades.
    fn armed_late(&self) {
        for late in 0..=self.trades.len() {
            let mut partition = Partition::new(RING);
            assert_eq!(read(&mut partition, &self.trades[..late]), []);
            let mut fired = Vec::new();
            let armed = self.row().armed().expect("active");
            let arming = partition.arm(SYMBOL, armed, &mut fired);
            let expected = if fired.is_empty() || self.terms.repeat().is_some() {
                Arming::Armed
            } else {
                Arming::Fired
            };
            assert_eq!(arming, expected, "{}", self.text);
            fired.extend(read(&mut partition, &self.trades[late..]));
            self.check("armed late", &fired);
        }
    }

    /// A checkpoint after any record, and a start from it: of the rows, or of a snapshot.
    fn with_a_restart(&self, from_snapshot: bool) {
        let last = self.trades.last().expect("some trade").0.offset;
        for end in self.armed_at..=last {
            let (before, after) = self.split(Sequence::of_record(end));
            let mut partition = Partition::new(RING);
            let (mut row, mut fired) = (self.row(), Vec::new());
            let _ = partition.arm(SYMBOL, row.armed().expect("active"), &mut fired);
            fired.extend(read(&mut partition, before));
            partition.advance(end);
            fired.iter().for_each(|firing| row.admit(firing));
            partition.take_progress().iter().for_each(|progress| row.advance(progress));
            let mut partition = if from_snapshot {
                let bytes = row::aligned(&partition.snapshot().encode("ours"));
                let ours = Partition::from_snapshot(&bytes, RING, |label| label == "ours");
                ours.expect("a snapshot").expect("ours")
            } else {
                Partition::restore(&partition.history(), RING).expect("a history")
            };
            if let Some(armed) = row.armed() {
                let judged_to = armed.armed_at.max(Sequence::of_record(end));
                let armed = triggers::Armed { judged_to, ..armed };
                assert_eq!(partition.arm(SYMBOL, armed, &mut fired), Arming::Armed);
            }
            partition.settle();
            fired.extend(read(&mut partition, after));
            self.check(&format!("restarted at {end}"), &fired);
        }
    }
}

#[test]
fn what_the_document_says_is_what_fires() {
    let mut count = 0;
    for line in DOCUMENT.lines().filter(|line| line.starts_with("| `")) {
        // A price path holds bars, too.
        let parts: Vec<&str> = line.split('`').collect();
        let [_, alert, _, prices, _] = parts[..] else { panic!("not a row: {line:?}") };
        let case = case(alert, prices);
        case.armed_before_its_trades();
        case.armed_late();
        case.with_a_restart(false);
        case.with_a_restart(true);
        count += 1;
    }
    assert!(count > 60, "only {count} rows were found");
}
