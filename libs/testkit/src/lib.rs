//! Real servers and real programs for the tests, on private ports, beside a running stack.
//!
//! Everything started here dies with the test program. A server that is missing on the machine is
//! a panic that says what installs it. All of it blocks: from an async test, call it before the
//! first `.await`, or from `spawn_blocking`.

pub mod alert_oracle;
mod alerts;
mod build;
pub mod chaos;
mod collector;
mod fixtures;
mod kafka;
pub mod oracle;
mod pipeline;
mod postgresql;
mod program;
mod random_market;
mod recording;
mod redis_cluster;
mod scratch;
mod server;
mod wait;
mod wishes;

pub use alerts::{Alerts, Change};
pub use build::binary;
pub use collector::{Collector, ExportedSpan};
pub use fixtures::{all_tests, python, replay_file, schemathesis};
pub use kafka::{Kafka, Record, kafka, private_kafka};
pub use pipeline::Pipeline;
pub use postgresql::{Postgresql, postgresql, private_postgresql};
pub use program::Program;
pub use random_market::RandomMarket;
pub use recording::Recording;
pub use redis_cluster::{RedisCluster, redis_cluster};
pub use server::{Server, redis, snapshot_redis};
pub use servers::{Exit, http};
pub use wait::{eventually, eventually_some};
pub use wishes::Wishes;

/// A free port of loopback.
pub fn free_port() -> u16 {
    servers::port::any().expect("a free port on 127.0.0.1")
}
