use std::net::SocketAddr;
use std::time::Duration;

use market::CandleSpec;
use service::{Configuration, Settings, parse};

#[derive(Debug)]
pub struct Config {
    /// `GATEWAY_HOST` and `PORT`.
    pub address: SocketAddr,
    /// `GATEWAY_HOST` and `MARKET_GRPC_PORT`.
    pub grpc_address: SocketAddr,
    /// May hold a password: not to be logged.
    pub redis_addr: String,
    /// Whose streams are tailed.
    pub topic: String,
    /// As the processor keeps them.
    pub candles: Vec<CandleSpec>,
    /// Past this age a price is called stale.
    pub stale_after: Duration,
    /// How long one read may take before Redis counts as away.
    pub redis_timeout: Duration,
    /// `host:port` of the alert service.
    pub alert_service_addr: String,
    /// How long one call to the alert service may take, retries included.
    pub alert_timeout: Duration,
    /// How long one request may take in all.
    pub request_timeout: Duration,
    /// The origins whose pages may read answers; `*` stands for any.
    pub cors_origins: Vec<String>,
    pub connections: usize,
    pub connections_per_client: Option<usize>,
    /// How long a connection may go without a whole head of a request.
    pub idle_timeout: Duration,
}

impl Configuration for Config {
    const METRICS_ADDR: &'static str = "127.0.0.1:9104";

    fn read(settings: &mut Settings) -> Option<Self> {
        let timeouts = Duration::from_millis(1)..=Duration::from_secs(300);
        let host = settings.read("GATEWAY_HOST", Some("127.0.0.1"), parse::host);
        let port = settings.read("PORT", Some("8080"), parse::port);
        let grpc_port = settings.read("MARKET_GRPC_PORT", Some("50052"), parse::port);
        let redis_addr = settings.read("REDIS_ADDR", Some("localhost:6379"), parse::redis_addr);
        let topic = settings.read("KAFKA_TOPIC", Some("market_ticks"), parse::topic);
        let candles = settings.read("CANDLES", Some(market::CANDLES), market::parse_candle_specs);
        let ages = Duration::from_millis(1)..=Duration::from_secs(10 * 365 * 86_400);
        let stale_after = settings.read("STALE_AFTER", Some("60s"), parse::duration_in(ages));
        let redis_timeout =
            settings.read("REDIS_TIMEOUT", Some("1s"), parse::duration_in(timeouts.clone()));
        let alert_service_addr =
            settings.read("ALERT_SERVICE_ADDR", Some("localhost:50051"), parse::address);
        let alert_timeout =
            settings.read("ALERT_TIMEOUT", Some("3s"), parse::duration_in(timeouts.clone()));
        let request_timeout =
            settings.read("REQUEST_TIMEOUT", Some("5s"), parse::duration_in(timeouts.clone()));
        let cors_origins = settings.optional("CORS_ORIGINS", parse::origins);
        let connections =
            settings.read("HTTP_CONNECTIONS", Some("16384"), parse::number(1..=1_000_000));
        let connections_per_client =
            settings.optional("HTTP_CONNECTIONS_PER_CLIENT", parse::number(1..=1_000_000));
        let idle_timeout =
            settings.read("HTTP_IDLE_TIMEOUT", Some("30s"), parse::duration_in(timeouts));
        Some(Self {
            address: SocketAddr::new(host?, port?),
            grpc_address: SocketAddr::new(host?, grpc_port?),
            redis_addr: redis_addr?,
            topic: topic?,
            candles: candles?,
            stale_after: stale_after?,
            redis_timeout: redis_timeout?,
            alert_service_addr: alert_service_addr?,
            alert_timeout: alert_timeout?,
            request_timeout: request_timeout?,
            cors_origins: cors_origins?.unwrap_or_default(),
            connections: connections?,
            connections_per_client: connections_per_client?,
            idle_timeout: idle_timeout?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_the_originals() {
        let config: Config = service::settings_of(&[]).expect("all good");
        assert_eq!(config.address.to_string(), "127.0.0.1:8080");
        assert_eq!(config.grpc_address.to_string(), "127.0.0.1:50052");
        assert_eq!(config.redis_addr, "localhost:6379");
        assert_eq!(config.alert_service_addr, "localhost:50051");
        assert!(config.cors_origins.is_empty() && config.connections_per_client.is_none());
    }

    #[test]
    fn each_wrong_setting_gets_its_sentence() {
        for (name, value, sentence) in [
            ("PORT", "0", "PORT: expected a port from 1 to 65535, found \"0\""),
            ("PORT", "", "PORT is empty: give it a value, or remove it"),
            (
                "MARKET_GRPC_PORT",
                "x",
                "MARKET_GRPC_PORT: expected a port from 1 to 65535, found \"x\"",
            ),
            (
                "GATEWAY_HOST",
                "all",
                "GATEWAY_HOST: expected an IP address to listen on, such as 127.0.0.1 or 0.0.0.0, \
                 found \"all\"",
            ),
            (
                "REDIS_ADDR",
                "redis",
                "REDIS_ADDR: expected host:port, or a redis:// URL; for a cluster host:port,host:port, \
                 or a redis-cluster:// URL, found \"redis\"",
            ),
            ("REDIS_TIMEOUT", "0s", "REDIS_TIMEOUT: expected from 1ms to 300s, found \"0s\""),
            (
                "ALERT_SERVICE_ADDR",
                "http://alert",
                "ALERT_SERVICE_ADDR: expected host:port, such as localhost:50051, found \
                 \"http://alert\"",
            ),
            ("ALERT_TIMEOUT", "6m", "ALERT_TIMEOUT: expected from 1ms to 300s, found \"6m\""),
            (
                "REQUEST_TIMEOUT",
                "5",
                "REQUEST_TIMEOUT: expected a duration such as 250ms, 5s or 1m, found \"5\"",
            ),
            (
                "CORS_ORIGINS",
                "https://desk.example, desk.example/page",
                "CORS_ORIGINS: expected * or origins such as https://desk.example, separated by \
                 commas, found \"desk.example/page\"",
            ),
            (
                "HTTP_CONNECTIONS",
                "0",
                "HTTP_CONNECTIONS: expected a whole number from 1 to 1000000, found \"0\"",
            ),
        ] {
            let errors = service::settings_of::<Config>(&[(name, value)]).expect_err(name);
            assert_eq!(errors, [sentence]);
        }
    }
}
