//! The rights that README.md says a user of Redis needs are enough, and are all that it has.

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
    // By calls, and then in transactions.
    for records in [1, 50, 2_000] {
        log.write(records).await;
    }
    log.writer.check().await.expect("all is there");
    log.writer.load(&SYMBOLS.map(|(name, _)| name), true).await.expect("states");
    let places = log.writer.places().await.expect("places");
    assert_eq!(places.len(), PARTITIONS as usize);
    // As one that takes over.
    let taken_over = Log::begin(&processor, 1_000).await;
    let mut writer = taken_over.writer;
    writer.begin_streams(0..PARTITIONS).await.expect("known");

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
