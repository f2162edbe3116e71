use std::time::Duration;

use broker::ProducerSettings;
use feed::{BackoffSettings, FeedSettings, FeedUrl};
use service::{Configuration, Settings, parse};
use wire::tick::MAX_TRADES_PER_RECORD;

use crate::encode::GATHER_AT_MOST;

#[derive(Clone, Debug)]
pub struct Config {
    pub feed: FeedSettings,
    pub producer: ProducerSettings,
    /// Of a topic that has to be made.
    pub partitions: i32,
    pub retention: Duration,
    /// Bytes a partition.
    pub retention_bytes: Option<u64>,
    /// 1 gives a record a trade, for consumers that count records.
    pub ticks_per_record: usize,
    /// How far apart rounds are let become while the machine's cores have no rest.
    pub pace_at_most: Duration,
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// How much longer than the first wait after a refusal the longest one is.
const REFUSED_GROWTH: u32 = 10;

impl Configuration for Config {
    const METRICS_ADDR: &'static str = "127.0.0.1:9101";

    fn read(settings: &mut Settings) -> Option<Self> {
        let feed = feed(settings);
        let producer = producer(settings);
        let partitions = settings.read("KAFKA_PARTITIONS", Some("6"), parse::number(1..=10_000));
        let days = Duration::from_secs(1)..=10 * 365 * 24 * HOUR;
        let retention = settings.read("KAFKA_RETENTION", Some("168h"), parse::duration_in(days));
        let retention_bytes =
            settings.optional("KAFKA_RETENTION_BYTES", parse::number(1_048_576..=u64::MAX / 2));
        let ticks_per_record = settings.read(
            "TICKS_PER_RECORD",
            Some("1000"),
            parse::number(1..=MAX_TRADES_PER_RECORD),
        );
        let pace = Duration::ZERO..=GATHER_AT_MOST;
        let pace_at_most = settings.read("ROUND_PACE", Some("10ms"), parse::duration_in(pace));
        Some(Self {
            feed: feed?,
            producer: producer?,
            partitions: partitions?,
            retention: retention?,
            retention_bytes: retention_bytes?,
            ticks_per_record: ticks_per_record?,
            pace_at_most: pace_at_most?,
        })
    }
}

fn feed(settings: &mut Settings) -> Option<FeedSettings> {
    let url = url(settings);
    let symbols =
        settings.read("SYMBOLS", Some("AAPL,BINANCE:BTCUSDT,IC MARKETS:1"), parse::symbols);
    let milliseconds = Duration::from_millis(1);
    let silence = milliseconds * 100..=24 * HOUR;
    let silence = settings.read("FEED_SILENCE", Some("90s"), parse::duration_in(silence));
    let longest =
        settings.read("FEED_BACKOFF", Some("30s"), parse::duration_in(milliseconds..=HOUR));
    let refused =
        settings.read("FEED_REFUSED_BACKOFF", Some("30s"), parse::duration_in(milliseconds..=HOUR));
    let (longest, first_refused) = (longest?, refused?);
    let backoff = BackoffSettings {
        longest,
        first_refused,
        longest_refused: first_refused * REFUSED_GROWTH,
        ..BackoffSettings::default()
    };
    Some(FeedSettings { silence: silence?, backoff, ..FeedSettings::new(url?, symbols?) })
}

/// `FEED_URL` wins and is used as it is; the key is never added to it. Compose, which cannot say
/// "unless", names its simulated feed by `FEED_FALLBACK_URL`.
fn url(settings: &mut Settings) -> Option<FeedUrl> {
    // A wrong URL is not repeated in the sentence: it holds a token.
    let parse_url = |value: &str| FeedUrl::parse(value).map_err(|error| error.to_string());
    let url = settings.optional_or_empty("FEED_URL", parse_url);
    let key = settings.optional_or_empty("FINNHUB_API_KEY", key);
    let fallback = settings.optional("FEED_FALLBACK_URL", parse_url);
    match (url?, key?, fallback?) {
        (Some(url), _, _) => Some(url),
        (None, Some(key), _) => Some(FeedUrl::finnhub(&key)),
        (None, None, Some(url)) => Some(url),
        (None, None, None) => settings.wrong(
            "FEED_URL",
            "or FINNHUB_API_KEY is required, and neither is set (a free key: https://finnhub.io)",
        ),
    }
}

fn key(value: &str) -> Result<String, String> {
    if value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(value.to_owned());
    }
    Err("expected a key of letters and digits; the value has spaces or other characters in it"
        .to_owned())
}

fn producer(settings: &mut Settings) -> Option<ProducerSettings> {
    let brokers = settings.read("KAFKA_BROKERS", Some("localhost:9092"), parse::brokers);
    let topic = settings.read("KAFKA_TOPIC", Some("market_ticks"), parse::topic);
    let second = Duration::ZERO..=Duration::from_secs(1);
    let linger = settings.read("KAFKA_LINGER", Some("1ms"), parse::duration_in(second));
    let in_flight =
        settings.read("KAFKA_IN_FLIGHT", Some("10000"), parse::number(1..=1_000_000_usize));
    // librdkafka keeps records in order, and each once, up to five.
    let requests = settings.read("KAFKA_IN_FLIGHT_REQUESTS", Some("1"), parse::number(1..=5_u8));
    // librdkafka refuses a budget that is not longer than the linger.
    let budget = Duration::from_secs(2)..=15 * MINUTE;
    let delivery_timeout =
        settings.read("KAFKA_DELIVERY_TIMEOUT", Some("2m"), parse::duration_in(budget));
    Some(ProducerSettings {
        brokers: brokers?,
        topic: topic?,
        client_id: "ingestor".to_owned(),
        linger: linger?,
        in_flight_records: in_flight?,
        in_flight_requests: requests?,
        delivery_timeout: delivery_timeout?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEED: (&str, &str) = ("FEED_URL", "ws://127.0.0.1:7878");

    fn config(settings: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        service::settings_of(settings)
    }

    #[test]
    fn defaults_are_the_originals() {
        let config = config(&[("FINNHUB_API_KEY", "abc")]).expect("all good");
        assert_eq!(config.feed.url, FeedUrl::finnhub("abc"));
        assert_eq!(config.feed.symbols, ["AAPL", "BINANCE:BTCUSDT", "IC MARKETS:1"]);
        assert_eq!(config.producer.brokers, "localhost:9092");
        assert_eq!(config.producer.topic, "market_ticks");
        assert_eq!((config.partitions, config.ticks_per_record), (6, 1_000));
        assert_eq!(config.feed.silence, Duration::from_secs(90));
        assert_eq!(config.feed.backoff.longest_refused, Duration::from_secs(300));
    }

    #[test]
    fn the_url_wins_over_the_key_and_is_used_as_it_is() {
        let key = ("FINNHUB_API_KEY", "abc");
        let url = |settings: &[_]| config(settings).expect("all good").feed.url;
        assert_eq!(url(&[FEED, key]), FeedUrl::parse(FEED.1).expect("a URL"));
        assert_eq!(url(&[("FEED_URL", ""), key]), FeedUrl::finnhub("abc"));
        assert_eq!(url(&[FEED, ("FINNHUB_API_KEY", "")]).to_string(), "ws://127.0.0.1:7878/");
        let fallback = ("FEED_FALLBACK_URL", "ws://feed:7878");
        assert_eq!(url(&[FEED, fallback]).to_string(), "ws://127.0.0.1:7878/");
        assert_eq!(url(&[key, fallback]), FeedUrl::finnhub("abc"));
        let empty = ("FINNHUB_API_KEY", "");
        assert_eq!(url(&[empty, fallback]).to_string(), "ws://feed:7878/");
    }

    #[test]
    fn without_a_feed_both_ways_to_name_one_are_told() {
        let nothing = [("FEED_URL", ""), ("FINNHUB_API_KEY", " ")];
        for settings in [&[][..], &nothing] {
            let errors = config(settings).expect_err("no feed");
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert!(errors[0].starts_with("FEED_URL or FINNHUB_API_KEY is required"), "{errors:?}");
        }
    }

    #[test]
    fn each_wrong_setting_is_named_and_no_secret_repeated() {
        for (name, value) in [
            ("FEED_URL", "https://SECRET.example?token=SECRET"),
            ("FEED_URL", "ws://me:SECRET@host/?token=SECRET"),
            ("FEED_URL", "//SECRET"),
            ("FEED_FALLBACK_URL", "https://SECRET.example?token=SECRET"),
            ("FINNHUB_API_KEY", "SECRET key"),
            ("SYMBOLS", ""),
            ("SYMBOLS", "AAPL,,MSFT"),
            ("FEED_SILENCE", "0s"),
            ("FEED_BACKOFF", "soon"),
            ("FEED_REFUSED_BACKOFF", "-1s"),
            ("KAFKA_BROKERS", "no port"),
            ("KAFKA_TOPIC", "a/b"),
            ("KAFKA_PARTITIONS", "0"),
            ("KAFKA_RETENTION", "7 days"),
            ("KAFKA_RETENTION_BYTES", "1"),
            ("KAFKA_LINGER", "5"),
            ("KAFKA_LINGER", "2s"),
            ("KAFKA_IN_FLIGHT", "0"),
            ("KAFKA_IN_FLIGHT_REQUESTS", "6"),
            ("KAFKA_DELIVERY_TIMEOUT", "1s"),
            ("TICKS_PER_RECORD", "0"),
            ("TICKS_PER_RECORD", "65537"),
            ("ROUND_PACE", "21ms"),
        ] {
            let mut settings = vec![(name, value)];
            if name != "FEED_URL" {
                settings.push(FEED);
            }
            let errors = config(&settings).expect_err(name);
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert!(errors[0].starts_with(name), "{errors:?}");
            assert!(!errors[0].to_uppercase().contains("SECRET"), "{errors:?}");
        }
    }

    #[test]
    fn all_wrong_settings_are_told_at_once() {
        let wrong = [("FEED_URL", "x"), ("SYMBOLS", ","), ("KAFKA_TOPIC", " "), ("LOG", "?!")];
        assert_eq!(config(&wrong).expect_err("all wrong").len(), 4);
    }
}
