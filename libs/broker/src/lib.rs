//! The log: a Kafka-API broker, by librdkafka.
//!
//! ```text
//!  ingestor ── send ──▶ Producer ──▶ topic ──▶ Consumer ── next ──▶ processor, alert
//!             (waits while full)                  ▲  └ assigned, revoked, lost: the caller decides
//!                                                 └── effected: only then may an offset be committed
//! ```
//!
//! Only what Redpanda has too: idempotent producers, classic consumer groups, topic creation.
//! Knows nothing of what a record holds, but how many trades.

mod arrival;
mod consumer;
mod dead;
mod partition;
mod producer;
mod publisher;
mod reader;
mod statistics;
mod topic;

pub use arrival::Arrival;
pub use consumer::{Consumer, ConsumerSettings, HearsEnds, Next, Record, Start};
pub use dead::{DeadLetter, DeadLetters};
pub use partition::partition_of;
pub use producer::{DeliveryFailed, Producer, ProducerMetrics, ProducerSettings};
pub use publisher::{Publication, Publisher};
pub use reader::{TopicReader, fingerprints};
pub use topic::{TopicSpec, ensure_topic};
