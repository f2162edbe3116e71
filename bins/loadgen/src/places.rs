use std::net::SocketAddr;

use clap::Args;

/// Where the feed is served to what is measured, and where that writes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Places {
    /// Where to serve the feed: the ingestor's FEED_URL is `ws://` and this.
    #[arg(long, default_value = "127.0.0.1:7878", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,

    #[arg(long, env = "KAFKA_BROKERS", default_value = "localhost:9092")]
    pub(crate) kafka_brokers: String,

    #[arg(long, env = "KAFKA_TOPIC", default_value = "market_ticks")]
    pub(crate) kafka_topic: String,

    #[arg(long, env = "KAFKA_FIRINGS_TOPIC", default_value = "alert_firings")]
    pub(crate) kafka_firings_topic: String,

    /// host:port, or a redis:// URL.
    #[arg(long, env = "REDIS_ADDR", default_value = "localhost:6379")]
    pub(crate) redis_addr: String,

    #[arg(long, env = "ALERT_SERVICE_ADDR", default_value = "localhost:50051")]
    pub(crate) alert_service_addr: String,
}
