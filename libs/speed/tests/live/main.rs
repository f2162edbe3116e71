//! What the writer leaves and what the reader and a tail make of it, on a real Redis and on a real
//! cluster.

mod claims;
mod one;
mod parts;
mod rights;
mod undisputed;
mod writing;

use std::time::Duration;

use market::{CandleSpec, Interval, Place, Price, Sequence, StateSpec, Symbol, Trade, Volume};
use speed::{
    CandleRange, Reader, StreamEntry, SymbolWrite, Tail, TailError, Tracked, Writer, WriterSettings,
};
use tokio::runtime::Runtime;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);
const TOPIC: &str = "market_ticks";
const PARTITIONS: i32 = 2;
const SYMBOLS: [(&str, i32); 3] = [("AAPL", 0), ("IC MARKETS:1", 1), ("}ODD{", 1)];
const BEGIN: i64 = 1_610_064_000_000;

fn spec() -> StateSpec {
    let interval = |name: &str| name.parse::<Interval>().expect("an interval");
    let candles = [("1s", 900), ("1m", 1_440), ("1d", 366)];
    let candles = candles.map(|(name, retain)| CandleSpec { interval: interval(name), retain });
    StateSpec { candles: candles.to_vec(), recent: 5 }
}

fn settings(stream_trades: u64) -> WriterSettings {
    WriterSettings { topic: TOPIC.into(), partitions: PARTITIONS, state: spec(), stream_trades }
}

/// A writer and what it has written.
struct Log {
    writer: Writer,
    states: Vec<Tracked>,
    /// By partition.
    trades: [Vec<(String, Sequence, Trade)>; PARTITIONS as usize],
}

impl Log {
    async fn begin(redis: &str, stream_trades: u64) -> Self {
        let mut writer = Writer::connect(redis, settings(stream_trades)).await.expect("connected");
        let names = SYMBOLS.map(|(name, _)| name);
        let states = writer.load(&names, false).await.expect("nothing yet");
        Self { writer, states, trades: [vec![], vec![]] }
    }

    /// A batch of so many records a partition, two trades each and 700 ms apart.
    async fn write(&mut self, records: usize) -> speed::Written {
        self.writer.begin_streams(0..PARTITIONS).await.expect("known");
        let before = self.states.iter().map(|it| it.state.as_of).collect::<Vec<_>>();
        for partition in 0..PARTITIONS {
            let mine = SYMBOLS.iter().enumerate().filter(|(_, (_, of))| *of == partition);
            let mine: Vec<_> = mine.map(|(number, (name, _))| (number, *name)).collect();
            for _ in 0..records {
                let trades = &mut self.trades[partition as usize];
                let offset = trades.len() as i64 / 2;
                let (number, name) = mine[offset as usize % mine.len()];
                for index in 0..2 {
                    let sequence = Sequence { offset, index };
                    let trade = trade(offset * 2 + i64::from(index));
                    assert!(self.states[number].state.apply(&trade, sequence));
                    self.writer.append(partition, number as u32, name, sequence, &trade);
                    trades.push((name.to_owned(), sequence, trade));
                }
            }
        }
        let place = |trades: &Vec<(String, Sequence, Trade)>| {
            Some(Place { offset: trades.last()?.1.offset, fingerprint: 7 })
        };
        let places = (0..).zip(&self.trades).filter_map(|(at, trades)| Some((at, place(trades)?)));
        let places: Vec<_> = places.collect();
        let mut writes: Vec<_> = self.states.iter_mut().zip(before).zip(SYMBOLS).collect();
        let mut writes: Vec<_> = writes
            .iter_mut()
            .filter(|((tracked, before), _)| tracked.state.as_of != *before)
            .map(|((tracked, _), (symbol, partition))| SymbolWrite {
                symbol,
                partition: *partition,
                tracked,
            })
            .collect();
        self.writer.write(&mut writes, &places).await.expect("written")
    }
}

fn trade(step: i64) -> Trade {
    Trade {
        price: Price::new(100.0 + (step % 7) as f64).expect("a price"),
        volume: Volume::new(0.25).expect("a volume"),
        timestamp: BEGIN + step * 700,
        received_at: 1,
    }
}

/// Runs commands as a person would.
struct Person(redis::Connection);

impl Person {
    fn at(redis: &str) -> Self {
        let client = redis::Client::open(format!("redis://{redis}")).expect("an address");
        Self(client.get_connection().expect("a Redis"))
    }

    fn run<T: redis::FromRedisValue>(&mut self, words: &[&str]) -> T {
        redis::cmd(words[0]).arg(&words[1..]).query(&mut self.0).expect("done")
    }
}

fn flattened(entries: &[StreamEntry]) -> Vec<(String, Sequence, Trade)> {
    let mut trades = Vec::new();
    for entry in entries {
        let names: Vec<&str> = entry.batch.symbols().collect();
        let packed = entry.batch.trades();
        trades.extend(packed.map(|it| (names[it.symbol].to_owned(), it.sequence, it.trade)));
    }
    trades
}

/// Waits until the tail has so many trades of a partition.
async fn tailed(tail: &mut Tail, partition: i32, count: usize) -> Vec<StreamEntry> {
    let mut entries = Vec::new();
    while flattened(&entries).len() < count {
        match timeout(PATIENCE, tail.next()).await.expect("an entry in time") {
            Ok(entry) if entry.partition == partition => entries.push(entry),
            Ok(_) | Err(TailError::Unavailable(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    entries
}

fn symbol(name: &str) -> Symbol {
    Symbol::new(name).expect("a symbol")
}

async fn check_reader(redis: &str) {
    let reader = Reader::new(redis, Duration::from_secs(5)).expect("an address");
    assert_eq!(reader.ends(TOPIC).await.expect("an answer"), None, "it follows nothing yet");
    assert!(reader.symbols().await.expect("an answer").is_empty());
    let mut log = Log::begin(redis, 1_000_000).await;
    let written = log.write(300).await;
    assert_eq!((written.refused.len(), written.entries, written.trades), (0, 2, 1_200));

    let mut names: Vec<_> = SYMBOLS.map(|(name, _)| symbol(name)).to_vec();
    names.sort();
    assert_eq!(reader.symbols().await.expect("names"), names);
    let mut states = reader.states(&spec()).await.expect("states");
    states.sort_by(|one, two| one.symbol.cmp(&two.symbol));
    assert_eq!(states.len(), SYMBOLS.len());
    for ((name, partition), Tracked { state, .. }) in SYMBOLS.iter().zip(&log.states) {
        let snapshot = states.iter().find(|it| it.symbol.as_str() == *name).expect("it is there");
        assert_eq!(snapshot.position.partition, *partition);
        assert_eq!(Some(snapshot.position.sequence), state.as_of);
        assert_eq!((snapshot.state.latest, snapshot.state.day), (state.latest, state.day));
        assert!(snapshot.state.recent.iter().eq(state.recent.iter()));
        let price = reader.price(&symbol(name)).await.expect("an answer").expect("a price");
        assert_eq!(Some(price.price), state.latest.map(|latest| latest.price.get()));
        assert_eq!(price.as_of.as_ref(), Some(&snapshot.position));
        let recent = reader.recent(&symbol(name)).await.expect("an answer").expect("trades");
        assert_eq!(recent, state.recent.iter().copied().collect::<Vec<_>>());
        for candles in &state.candles {
            let all = CandleRange { from: None, to: None, limit: usize::MAX };
            let interval = candles.spec().interval;
            let found = reader.candles(&symbol(name), interval, all).await.expect("candles");
            let expected: Vec<_> = candles.iter().map(|(start, it)| (start, *it)).collect();
            assert_eq!(found, expected, "{name} {interval}");
        }
    }
    check_candle_ranges(&reader, &log).await;

    let ends = reader.ends(TOPIC).await.expect("an answer").expect("a log");
    let expected = log.trades.iter().map(|trades| trades.last().map(|it| it.1));
    assert_eq!(ends.newest, expected.collect::<Vec<_>>());
    let mut from_start = reader.tail(TOPIC, &ends.log, &[None, None]);
    let mut from_end = reader.tail(TOPIC, &ends.log, &ends.newest);
    let middle = Sequence { offset: 100, index: 0 };
    for records in [1, 20, 3_000] {
        log.write(records).await;
    }
    for partition in 0..PARTITIONS {
        let expected = &log.trades[partition as usize];
        let entries = reader.range(TOPIC, partition, None, 1_000).await.expect("entries");
        assert_eq!(&flattened(&entries), expected, "partition {partition} from its start");
        assert!(entries.iter().all(|entry| entry.batch.len() <= 4_096 && entry.log == ends.log));
        let after = entries.windows(2).all(|pair| pair[1].after == Some(pair[0].last()));
        assert!(after && entries[0].after.is_none(), "each names the one before");
        let some = reader.range(TOPIC, partition, Some(middle), 1).await.expect("an entry");
        assert!(some[0].last() > middle && some[0].after < Some(middle));
        assert_eq!(reader.oldest(TOPIC, partition).await.expect("an answer"), None);
        let all = tailed(&mut from_start, partition, expected.len()).await;
        assert_eq!(&flattened(&all), expected, "tailed from the start");
        from_start = reader.tail(TOPIC, &ends.log, &[None, None]);
        let new = tailed(&mut from_end, partition, expected.len() - 600).await;
        assert_eq!(flattened(&new), expected[600..], "tailed from the end");
        from_end = reader.tail(TOPIC, &ends.log, &ends.newest);
    }
    Writer::rebuild(redis, TOPIC, PARTITIONS).await.expect("rebuilt");
    loop {
        match timeout(PATIENCE, from_end.next()).await.expect("it is told in time") {
            Err(TailError::AnotherLog) => break,
            Ok(entry) => assert_eq!(entry.log, ends.log),
            Err(error) => panic!("{error}"),
        }
    }
    let anew = reader.ends(TOPIC).await.expect("an answer").expect("a log");
    assert!(anew.log > ends.log && anew.newest == [None, None]);
    assert!(reader.symbols().await.expect("an answer").is_empty(), "all is forgotten");
}

async fn check_candle_ranges(reader: &Reader, log: &Log) {
    let seconds: Vec<_> =
        log.states[0].state.candles[0].iter().map(|(start, candle)| (start, *candle)).collect();
    let interval = log.states[0].state.candles[0].spec().interval;
    let (first, last) = (seconds[0].0, seconds[seconds.len() - 1].0);
    let check = async |from, to, limit, expected: &[_]| {
        let range = CandleRange { from, to, limit };
        let found = reader.candles(&symbol("AAPL"), interval, range).await.expect("candles");
        assert_eq!(found, expected, "{range:?}");
    };
    check(None, None, 3, &seconds[seconds.len() - 3..]).await;
    check(Some(first), None, 3, &seconds[..3]).await;
    check(Some(first + 1), None, 1, &seconds[1..2]).await;
    check(None, Some(seconds[2].0), 9, &seconds[..2]).await;
    check(Some(first), Some(last + 1), 10_000, &seconds).await;
    check(Some(first), Some(seconds[3].0), 10, &seconds[..3]).await;
    check(Some(0), Some(last), 2, &seconds[..2]).await;
    check(Some(last), Some(first), 2, &[]).await;
    check(Some(i64::MIN / 2), Some(i64::MAX), 1, &seconds[..1]).await;
}

#[test]
fn a_reader_finds_what_was_written() {
    let redis = testkit::redis();
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(check_reader(redis.address()));
}

#[test]
fn a_reader_finds_what_was_written_to_a_cluster() {
    let cluster = testkit::redis_cluster();
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(check_reader(&format!("redis-cluster://{}", cluster.address())));
}

#[test]
fn a_tail_goes_on_after_a_restart() {
    let mut redis = testkit::redis();
    let runtime = Runtime::new().expect("a runtime");
    let entered = runtime.enter();
    let reader = Reader::new(redis.address(), Duration::from_secs(5)).expect("an address");
    drop(entered);
    let mut log = runtime.block_on(Log::begin(redis.address(), 1_000_000));
    runtime.block_on(log.write(10));
    let ends = runtime.block_on(reader.ends(TOPIC)).expect("an answer").expect("a log");
    let mut tail = {
        let _entered = runtime.enter();
        reader.tail(TOPIC, &ends.log, &[None, None])
    };
    let before = runtime.block_on(tailed(&mut tail, 0, 20));
    redis.stop();
    redis.restart();
    // Whoever wrote it is gone, too: another one goes on where the streams end.
    let mut again = runtime.block_on(Log::begin(redis.address(), 1_000_000));
    again.trades = log.trades;
    runtime.block_on(again.write(10));
    let after = runtime.block_on(tailed(&mut tail, 0, 20));
    let all = [before, after].concat();
    assert_eq!(flattened(&all), again.trades[0]);
}

#[test]
fn a_tail_goes_on_after_its_master_was_replaced() {
    let cluster = testkit::redis_cluster();
    let runtime = Runtime::new().expect("a runtime");
    let reader = Reader::new(&cluster.address(), Duration::from_secs(5)).expect("an address");
    let mut log = runtime.block_on(Log::begin(&cluster.address(), 1_000_000));
    runtime.block_on(log.write(10));
    let ends = runtime.block_on(reader.ends(TOPIC)).expect("an answer").expect("a log");
    let mut tail = {
        let _entered = runtime.enter();
        reader.tail(TOPIC, &ends.log, &[None, None])
    };
    let before = runtime.block_on(tailed(&mut tail, 0, 20));
    // Replicas have all of it: a few milliseconds are plenty.
    std::thread::sleep(Duration::from_millis(500));
    cluster.kill_master_of(&format!("ticks:{{{TOPIC}/0}}"));
    let names = SYMBOLS.map(|(name, _)| name);
    // One that connects before the cluster has another master is to connect again, as the processor does.
    let (again, states) = testkit::eventually_some(PATIENCE, "a writer has all states", || {
        let connected = runtime.block_on(Writer::connect(&cluster.address(), settings(1_000_000)));
        let mut again = connected.ok()?;
        let states = runtime.block_on(again.load(&names, false)).ok()?;
        Some((again, states))
    });
    let as_of = |states: &[Tracked]| states.iter().map(|it| it.state.as_of).collect::<Vec<_>>();
    assert_eq!(as_of(&states), as_of(&log.states));
    let mut again = Log { writer: again, states, trades: log.trades };
    runtime.block_on(again.write(10));
    let after = runtime.block_on(tailed(&mut tail, 0, 20));
    assert_eq!(flattened(&[before, after].concat()), again.trades[0]);
}

#[test]
fn recent_trades_go_round_their_ring() {
    let redis = testkit::redis();
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let reader = Reader::new(redis.address(), PATIENCE).expect("an address");
        let mut log = Log::begin(redis.address(), 1_000).await;
        for (round, records) in [1, 2, 1, 9, 1, 3, 1, 40, 1, 1].into_iter().enumerate() {
            assert!(log.write(records).await.refused.is_empty());
            let states = log.states.iter().map(|tracked| &tracked.state).zip(SYMBOLS);
            for (state, (name, _)) in states.filter(|(state, _)| state.as_of.is_some()) {
                let stored = reader.recent(&symbol(name)).await.expect("an answer");
                let expected: Vec<_> = state.recent.iter().copied().collect();
                assert_eq!(stored.expect("trades"), expected, "{name}, round {round}");
            }
            // Loaded again it goes on where it was.
            if round % 2 == 0 {
                let loaded = log.writer.load(&SYMBOLS.map(|(name, _)| name), false).await;
                log.states = loaded.expect("loaded");
            }
        }
    });
}

#[test]
fn whoever_is_past_the_retention_is_told_so() {
    let redis = testkit::redis();
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let reader = Reader::new(redis.address(), Duration::from_secs(5)).expect("an address");
        let mut log = Log::begin(redis.address(), 100).await;
        for _ in 0..10 {
            log.write(20).await;
        }
        let oldest = reader.oldest(TOPIC, 0).await.expect("an answer").expect("some have gone");
        let entries = reader.range(TOPIC, 0, None, 100).await.expect("entries");
        let kept = flattened(&entries);
        assert!((100..150).contains(&kept.len()), "{}", kept.len());
        assert!(log.trades[0].ends_with(&kept));
        assert_eq!(log.trades[0][400 - kept.len() - 1].1, oldest);
        let ends = reader.ends(TOPIC).await.expect("an answer").expect("a log");
        let cursor = Sequence { offset: 3, index: 1 };
        let mut tail = reader.tail(TOPIC, &ends.log, &[Some(cursor), None]);
        let first = &tailed(&mut tail, 0, 1).await[0];
        assert!(first.after > Some(cursor), "what is between is missing");
    });
}

#[test]
fn what_somebody_else_wrote_is_an_error_and_no_end() {
    let redis = testkit::redis();
    let runtime = Runtime::new().expect("a runtime");
    let client = redis::Client::open(format!("redis://{}", redis.address())).expect("an address");
    let mut connection = client.get_connection().expect("a Redis");
    let mut run = |words: &[&str]| {
        redis::cmd(words[0]).arg(&words[1..]).exec(&mut connection).expect("done");
    };
    runtime.block_on(async {
        let reader = Reader::new(redis.address(), Duration::from_secs(5)).expect("an address");
        let mut log = Log::begin(redis.address(), 1_000).await;
        log.write(5).await;
        let ends = reader.ends(TOPIC).await.expect("an answer").expect("a log");
        let mut tail = reader.tail(TOPIC, &ends.log, &ends.newest);
        run(&["XADD", "ticks:{market_ticks/0}", "5-1", "hello", "world"]);
        let foreign = timeout(PATIENCE, tail.next()).await.expect("in time");
        assert!(matches!(foreign, Err(TailError::Foreign { .. })), "{foreign:?}");
        run(&["XADD", "ticks:{market_ticks/0}", "5-2", "log", ends.log.as_str(), "batch", "x"]);
        let foreign = timeout(PATIENCE, tail.next()).await.expect("in time");
        assert!(matches!(foreign, Err(TailError::Foreign { .. })), "{foreign:?}");
        assert!(reader.range(TOPIC, 0, None, 10).await.is_err());
        run(&["SET", "recent:{AAPL}", "garbage"]);
        assert!(reader.recent(&symbol("AAPL")).await.is_err());
        assert!(reader.state(&symbol("AAPL"), &spec()).await.is_err());
        let range = CandleRange { from: None, to: None, limit: 1 };
        assert!(reader.candles(&symbol("AAPL"), Interval::MINUTE, range).await.is_ok());
        run(&["HSET", "candles:{AAPL}:1m", &(BEGIN - 60_000).to_string(), "1 2 3"]);
        assert!(reader.candles(&symbol("AAPL"), Interval::MINUTE, range).await.is_err());
        run(&["DEL", "candles:{AAPL}:1m"]);
        run(&["HSET", "price:{AAPL}", "candles", "1m 1 2 3"]);
        assert!(reader.candles(&symbol("AAPL"), Interval::MINUTE, range).await.is_err());
        assert!(log.writer.load(&["AAPL"], false).await.is_err());
    });
}

#[test]
fn a_tail_is_not_stopped_by_entries_of_others() {
    let redis = testkit::redis();
    let mut person = Person::at(redis.address());
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let reader = Reader::new(redis.address(), Duration::from_secs(5)).expect("an address");
        let mut log = Log::begin(redis.address(), 1_000).await;
        log.write(5).await;
        let ends = reader.ends(TOPIC).await.expect("an answer").expect("a log");
        let key = "ticks:{market_ticks/0}";
        type Entry = (String, std::collections::HashMap<String, Vec<u8>>);
        let stored: Vec<Entry> = person.run(&["XRANGE", key, "-", "+"]);
        let batch = &stored[0].1["batch"];
        let mut add = |id: &str, log: &str| {
            let mut add = redis::cmd("XADD");
            add.arg(key).arg(id).arg("log").arg(log).arg("after").arg("");
            add.arg("trades").arg(10).arg("batch").arg(batch);
            add.exec(&mut person.0).expect("added");
        };
        // A writer that has not noticed a rebuild, on a cluster: what it leaves goes with the
        // first entry of the new log, whose ids begin anew.
        let id = &stored[0].0;
        let delete = || {
            redis::cmd("DEL").arg(key).exec(&mut Person::at(redis.address()).0).expect("deleted");
        };
        delete();
        add(id, &"0".repeat(32));
        let mut tail = reader.tail(TOPIC, &ends.log, &[None, ends.newest[1]]);
        let nothing = timeout(Duration::from_millis(500), tail.next()).await;
        assert!(nothing.is_err(), "neither an entry nor an end: {nothing:?}");
        delete();
        add(id, ends.log.as_str());
        assert_eq!(tailed(&mut tail, 0, 10).await.len(), 1);
        // Ids that no entry of ours has.
        for id in ["90-0", "91-0"] {
            person.run::<String>(&["XADD", key, id, "hello", "world"]);
            let foreign = timeout(PATIENCE, tail.next()).await.expect("in time");
            assert!(matches!(foreign, Err(TailError::Foreign { .. })), "{foreign:?}");
            let again = timeout(Duration::from_millis(1_500), tail.next()).await;
            assert!(again.is_err(), "said once: {again:?}");
        }
    });
}
