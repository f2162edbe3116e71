//! The rights that README.md says a user of Redis needs are enough for a single one.

use super::undisputed::calls;
use super::*;

const README: &str = include_str!("../../../../README.md");

/// Makes the README's user of that name.
fn make(person: &mut Person, user: &str) {
    let begin = format!("redis-cli ACL SETUSER {user} ");
    let line = README.lines().find_map(|line| line.strip_prefix(&begin)).expect("the README's");
    let mut words = vec!["ACL", "SETUSER", user];
    words.extend(line.split(' ').map(|word| word.trim_matches('\'')));
    let () = person.run(&words);
}

async fn check(redis: &str) {
    let mut person = Person::at(redis);
    let address = |user: &str| {
        make(&mut person, user);
        format!("redis://{user}:secret@{redis}")
    };
    let [processor, gateway] = ["processor", "gateway"].map(address);
    let reader = Reader::new(&gateway, Duration::from_secs(5)).expect("an address");
    let mut log = Log::begin(&processor, 1_000).await;
    // Calls, also one that has much to forget; then transactions.
    for records in [1, 50, 2_000] {
        log.write(records).await;
    }
    let before = calls(&mut person, "exec");
    for _ in 0..3 {
        log.write(3).await;
    }
    assert!(calls(&mut person, "exec") >= before + 3, "transactions");
    log.writer.check().await.expect("all is there");
    log.writer.load(&SYMBOLS.map(|(name, _)| name), true).await.expect("states");
    let places = log.writer.places().await.expect("places");
    assert_eq!(places.len(), PARTITIONS as usize);
    // Another that takes over ends the first one's presence.
    let presence = |person: &mut Person| person.run::<Vec<String>>(&["KEYS", "writer:*"]);
    let first = presence(&mut person);
    let taken_over = Log::begin(&processor, 1_000).await;
    let (mut writer, mut states) = (taken_over.writer, taken_over.states);
    writer.begin_streams(0..PARTITIONS).await.expect("known");
    let end = log.trades[0].last().expect("a trade").1;
    let next = Sequence::of_record(end.offset + 1);
    assert!(states[0].state.apply(&trade(1_000_000), next));
    let (symbol_of, partition) = SYMBOLS[0];
    let mut writes = [SymbolWrite { symbol: symbol_of, partition, tracked: &mut states[0] }];
    let place = Place { offset: next.offset, fingerprint: 7 };
    writer.write(&mut writes, &[(partition, place)]).await.expect("written");
    assert!(first.len() == 1 && presence(&mut person) != first);

    reader.ping().await.expect("an answer");
    assert_eq!(reader.symbols().await.expect("names").len(), SYMBOLS.len());
    assert_eq!(reader.states(&spec()).await.expect("states").len(), SYMBOLS.len());
    let name = symbol(SYMBOLS[0].0);
    assert!(reader.price(&name).await.expect("an answer").is_some());
    assert!(reader.recent(&name).await.expect("an answer").is_some());
    let all = CandleRange { from: None, to: None, limit: usize::MAX };
    let candles = reader.candles(&name, "1s".parse().expect("an interval"), all).await;
    assert!(!candles.expect("candles").is_empty());
    let ends = reader.ends(TOPIC).await.expect("an answer").expect("a log");
    assert!(!reader.range(TOPIC, 0, None, 10).await.expect("entries").is_empty());
    reader.oldest(TOPIC, 0).await.expect("an answer");
    let mut tail = reader.tail(TOPIC, &ends.log, &[None, None]);
    assert!(!tailed(&mut tail, 0, 1).await.is_empty());

    let refused = |user: &str, command: &[&str]| {
        let client = redis::Client::open(format!("redis://{user}:secret@{redis}"));
        let mut link = client.expect("an address").get_connection().expect("a Redis");
        let answer = redis::cmd(command[0]).arg(&command[1..]).query::<()>(&mut link);
        let code = answer.expect_err("it may not").code().map(str::to_owned);
        assert_eq!(code.as_deref(), Some("NOPERM"), "{user}: {command:?}");
    };
    for user in ["processor", "gateway"] {
        refused(user, &["GET", "another"]);
        refused(user, &["FLUSHALL"]);
        refused(user, &["CONFIG", "GET", "*"]);
        refused(user, &["ACL", "LIST"]);
    }
    refused("gateway", &["HSET", "price:{AAPL}", "price", "1"]);
    refused("gateway", &["FUNCTION", "FLUSH"]);
    Writer::rebuild(&processor, TOPIC, PARTITIONS).await.expect("rebuilt");
}

#[test]
fn the_users_that_the_readme_makes_may_do_what_they_have_to_and_no_more() {
    let redis = testkit::redis();
    Runtime::new().expect("a runtime").block_on(check(redis.address()));
}
