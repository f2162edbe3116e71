//! What a writer leaves, and what it notices.

use super::*;

/// Some hundred symbols of one partition, each with one trade more.
struct Many {
    writer: Writer,
    names: Vec<String>,
    states: Vec<Tracked>,
}

impl Many {
    async fn begin(redis: &str) -> Self {
        let mut writer = Writer::connect(redis, settings(100_000)).await.expect("connected");
        let names: Vec<String> = (0..1_100).map(|number| format!("SYMBOL:{number}")).collect();
        let symbols: Vec<&str> = names.iter().map(String::as_str).collect();
        let states = writer.load(&symbols, false).await.expect("states");
        Self { writer, names, states }
    }

    /// A record of each of these symbols, from this offset on.
    async fn write(
        &mut self,
        numbers: impl IntoIterator<Item = usize>,
        offset: i64,
    ) -> anyhow::Result<speed::Written> {
        self.writer.begin_streams([0]).await.expect("known");
        let numbers: Vec<usize> = numbers.into_iter().collect();
        for (number, offset) in numbers.iter().zip(offset..) {
            let (sequence, trade) = (Sequence::of_record(offset), trade(offset));
            assert!(self.states[*number].state.apply(&trade, sequence));
            self.writer.append(0, *number as u32, &self.names[*number], sequence, &trade);
        }
        let states = self.states.iter_mut().zip(&self.names).enumerate();
        let states = states.filter(|(number, _)| numbers.contains(number));
        let mut writes: Vec<SymbolWrite<'_>> = states
            .map(|(_, (tracked, symbol))| SymbolWrite { symbol, partition: 0, tracked })
            .collect();
        let place = Place { offset: offset + numbers.len() as i64 - 1, fingerprint: 7 };
        self.writer.write(&mut writes, &[(0, place)]).await
    }
}

#[test]
fn streams_and_places_wait_for_every_symbol_of_a_large_batch() {
    let redis = testkit::redis();
    let mut person = Person::at(redis.address());
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut one = Many::begin(redis.address()).await;
        let written = one.write(0..1_100, 0).await.expect("written");
        assert_eq!((written.trades, written.refused), (1_100, vec![]));
        let place: String = person.run(&["HGET", "log:{market_ticks}", "partition.0"]);
        person.run::<()>(&["DEL", "price:{SYMBOL:3}"]);
        let error = one.write(0..1_100, 1_100).await.expect_err("one of them is lost").to_string();
        assert!(error.contains("has lost what it held"), "{error}");
        let reader = Reader::new(redis.address(), Duration::from_secs(5)).expect("an address");
        let ends = reader.ends(TOPIC).await.expect("an answer").expect("a log");
        assert_eq!(ends.newest[0], Some(Sequence::of_record(1_099)), "nothing was appended");
        let unchanged: String = person.run(&["HGET", "log:{market_ticks}", "partition.0"]);
        assert_eq!(unchanged, place);

        // Another writer is ahead with some of them.
        let mut one = Many::begin(redis.address()).await;
        let mut two = Many::begin(redis.address()).await;
        one.write([7, 550, 1_050], 10_000).await.expect("written");
        let written = two.write(0..1_100, 3_000).await.expect("written");
        assert_eq!(written.refused, [7, 550, 1_050]);
    });
}

#[test]
fn a_redis_that_went_back_before_the_first_write_is_noticed() {
    let redis = testkit::redis();
    let mut person = Person::at(redis.address());
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut log = Log::begin(redis.address(), 1_000).await;
        log.write(5).await;
        let key = ["HGET", "log:{market_ticks}", "partition.0"];
        let before: String = person.run(&key);
        log.write(5).await;
        let mut again = Log::begin(redis.address(), 1_000).await;
        let places = again.writer.places().await.expect("places");
        assert_eq!(places[&0].offset, 9);
        again.writer.told(places);
        again.writer.check().await.expect("all is there");
        person.run::<i64>(&["HSET", key[1], key[2], &before]);
        let error = again.writer.check().await.expect_err("it went back").to_string();
        assert!(error.contains("has lost what it held"), "{error}");
        let place = Place { offset: 10, fingerprint: 1 };
        let error = again.writer.write(&mut [], &[(0, place)]).await.expect_err("it went back");
        assert!(error.to_string().contains("has lost what it held"), "{error}");
    });
}

#[test]
fn keys_of_another_layout_are_another_log() {
    let redis = testkit::redis();
    let mut person = Person::at(redis.address());
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        Log::begin(redis.address(), 1_000).await.write(5).await;
        Writer::connect(redis.address(), settings(1_000)).await.expect("the same layout");
        let key = "log:{market_ticks}";
        for change in [["HSET", key, "layout", "3"].as_slice(), &["HDEL", key, "layout"]] {
            person.run::<i64>(change);
            let error = Writer::connect(redis.address(), settings(1_000)).await;
            let error = error.expect_err("not this program's").to_string();
            assert!(error.contains("laid out in another way"), "{error}");
            assert!(error.contains("processor rebuild"), "{error}");
        }
        Writer::rebuild(redis.address(), TOPIC, PARTITIONS).await.expect("rebuilt");
        Writer::connect(redis.address(), settings(1_000)).await.expect("this layout now");
    });
}

#[test]
fn a_symbol_has_a_position_only_with_its_candles() {
    let redis = testkit::redis();
    let mut person = Person::at(redis.address());
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        // Left by whoever: gone with the first write.
        person.run::<i64>(&["HSET", "candles:{SYMBOL:0}:1m", "7", "garbage"]);
        let mut many = Many::begin(redis.address()).await;
        many.write([0], 0).await.expect("written");
        assert_eq!(person.run::<i64>(&["EXISTS", "candles:{SYMBOL:0}:1m"]), 0);
        let position = ["HGET", "price:{SYMBOL:0}", "position"];
        let before: String = person.run(&position);
        person.run::<()>(&["SET", "candles:{SYMBOL:0}:1s", "garbage"]);
        let presence: [String; 1] = person.run(&["KEYS", "writer:{market_ticks}:*"]);
        person.run::<i64>(&["DEL", &presence[0]]);
        // The first second is no longer the newest one.
        many.write([0], 100).await.expect_err("there is no room for a candle");
        assert_eq!(person.run::<String>(&position), before);
    });
}

#[test]
fn a_key_of_another_type_is_noticed_by_a_transaction_too() {
    let redis = testkit::redis();
    let mut person = Person::at(redis.address());
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut many = Many::begin(redis.address()).await;
        many.write([0], 0).await.expect("written");
        many.write([0], 1).await.expect("written");
        person.run::<()>(&["SET", "candles:{SYMBOL:0}:1s", "garbage"]);
        let error = many.write([0], 100).await.expect_err("there is no room for a candle");
        assert!(error.to_string().contains("wrong kind of value"), "{error}");
        // The rest is there.
        let position: String = person.run(&["HGET", "price:{SYMBOL:0}", "position"]);
        assert!(position.contains(":0000000000000000100:"), "{position}");
        let mut writer =
            Writer::connect(redis.address(), settings(1_000)).await.expect("connected");
        let error = writer.load(&["SYMBOL:0"], false).await.expect_err("it is still there");
        assert!(format!("{error:#}").contains("wrong kind of value"), "{error:#}");
    });
}

#[test]
fn after_a_break_only_what_is_retained_is_left() {
    let redis = testkit::redis();
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let reader = Reader::new(redis.address(), Duration::from_secs(5)).expect("an address");
        let mut many = Many::begin(redis.address()).await;
        let mut whole = many.states[0].state.clone();
        let mut offset = 0;
        // 1,000 steps are 700 seconds, and 15 minutes are retained.
        for gap in [1, 1_000, 1, 1_200, 700, 90_000, 300_000] {
            for loaded in [false, true] {
                for _ in 0..100 {
                    whole.apply(&trade(offset), Sequence::of_record(offset));
                    many.write([0], offset).await.expect("written");
                    offset += 2;
                }
                if loaded {
                    many = Many::begin(redis.address()).await;
                }
                offset += gap;
            }
            for candles in &whole.candles {
                let all = CandleRange { from: None, to: None, limit: usize::MAX };
                let interval = candles.spec().interval;
                let found = reader.candles(&symbol("SYMBOL:0"), interval, all).await;
                let expected: Vec<_> = candles.iter().map(|(start, it)| (start, *it)).collect();
                assert_eq!(found.expect("candles"), expected, "{interval} after {gap}");
            }
        }
    });
}

#[test]
fn a_redis_that_went_back_is_noticed() {
    let redis = testkit::redis();
    let runtime = Runtime::new().expect("a runtime");
    let client = redis::Client::open(format!("redis://{}", redis.address())).expect("an address");
    let mut connection = client.get_connection().expect("a Redis");
    for (key, field) in [
        ("price:{AAPL}", "position"),
        ("ticks:{market_ticks/0}:end", "last"),
        ("log:{market_ticks}", "partition.0"),
    ] {
        runtime.block_on(async {
            Writer::rebuild(redis.address(), TOPIC, PARTITIONS).await.expect("rebuilt");
            let mut log = Log::begin(redis.address(), 1_000).await;
            log.write(5).await;
            let before: String =
                redis::cmd("HGET").arg(key).arg(field).query(&mut connection).expect("a value");
            log.write(5).await;
            redis::cmd("HSET").arg(key).arg(field).arg(before).exec(&mut connection).expect("set");
            // One key goes back only on a cluster, or where nobody has the partition to itself.
            let log_key = "log:{market_ticks}";
            redis::cmd("HDEL").arg(log_key).arg("writer.0").exec(&mut connection).expect("deleted");
            let writers = "writer:{market_ticks}:*";
            let writers: Vec<String> =
                redis::cmd("KEYS").arg(writers).query(&mut connection).expect("writers");
            redis::cmd("DEL").arg(writers).exec(&mut connection).expect("deleted");
            log.writer.begin_streams(0..PARTITIONS).await.expect("known");
            let sequence = Sequence { offset: 50, index: 0 };
            let trade = trade(100);
            log.states[0].state.apply(&trade, sequence);
            log.writer.append(0, 0, "AAPL", sequence, &trade);
            let tracked = &mut log.states[0];
            let write = SymbolWrite { symbol: "AAPL", partition: 0, tracked };
            let place = Place { offset: 50, fingerprint: 1 };
            let refused = log.writer.write(&mut [write], &[(0, place)]).await;
            let error = refused.expect_err("it has lost something").to_string();
            assert!(error.contains("has lost what it held"), "{key}: {error}");
        });
    }
}
