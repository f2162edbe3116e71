//! Every metric of every program: name, kind, unit, help and labels, in this one place.
//!
//! Handles are resolved once (`FEED_FRAMES.counter()`,
//! `FEED_FRAMES_REJECTED.with("reason", "json").counter()`): by the program, which hands its
//! adapters those that mean something of its own, or by the adapter for what is the same in every
//! program (the clients of the log, a consumer's lag). Names carry the base unit; durations are in seconds.

mod metric;

pub(crate) use metric::latency_buckets;
pub use metric::{Kind, Metric, WithLabels};
use metric::{catalogue, size_buckets};

catalogue! {
    // All programs.
    BUILD_INFO: gauge "gostocks_build_info" ["service", "version"] "1, labelled with the program's name and version.";
    RUNTIME_WORKERS: gauge "gostocks_runtime_workers" [] "Worker threads of the tokio runtime.";
    RUNTIME_TASKS: gauge "gostocks_runtime_tasks" [] "Tasks of the tokio runtime that have not ended.";
    RUNTIME_QUEUED: gauge "gostocks_runtime_queued_tasks" [] "Tasks that wait in the runtime's global queue for a worker.";
    RUNTIME_BUSY: counter "gostocks_runtime_busy_seconds_total" [] "Time that the runtime's workers were busy, all together.";
    RUNTIME_PARKS: counter "gostocks_runtime_parks_total" [] "Times that a worker had nothing to do and slept.";

    TRACE_SPANS: counter "gostocks_trace_spans_total" ["outcome"] "Spans that ended, by outcome: exported, failed (the collector did not take them), dropped (too many waited for it).";

    // Queues: all that have a bound.
    QUEUE: gauge "gostocks_queue_items" ["queue"] "What waits in a bounded queue: frames read and not yet encoded, records in flight, trades that gather, calls that wait for a transaction.";
    QUEUE_BOUND: gauge "gostocks_queue_bound_items" ["queue"] "How much fits in the queue. Full means that whoever fills it waits.";

    // Clients of the log: librdkafka's own figures.
    KAFKA_ROUND_TRIP: gauge "gostocks_kafka_round_trip_seconds" ["client", "quantile"] "From a request to the broker's answer, of the slowest broker, over librdkafka's window.";
    KAFKA_QUEUED: gauge "gostocks_kafka_queued_seconds" ["client", "quantile"] "That records waited in the client before they were sent, over librdkafka's window.";
    KAFKA_RECORDS: gauge "gostocks_kafka_client_records" ["client"] "Records in the client: not yet acknowledged, or fetched and not yet taken.";
    KAFKA_SENT: counter "gostocks_kafka_sent_bytes_total" ["client"] "Bytes sent to brokers.";
    KAFKA_RECEIVED: counter "gostocks_kafka_received_bytes_total" ["client"] "Bytes received from brokers.";
    KAFKA_TIMEOUTS: counter "gostocks_kafka_request_timeouts_total" ["client"] "Requests that no broker answered in time.";
    KAFKA_DISCONNECTS: counter "gostocks_kafka_disconnects_total" ["client"] "Connections to brokers that ended.";

    // Ingestor.
    FEED_FRAMES: counter "gostocks_feed_frames_total" [] "Frames read from the feed's socket.";
    FEED_BYTES: counter "gostocks_feed_bytes_total" [] "Bytes of payload in those frames.";
    FEED_FRAMES_REJECTED: counter "gostocks_feed_frames_rejected_total" ["reason"] "Frames that held nothing to be used, by reason.";
    FEED_TRADES: counter "gostocks_feed_trades_total" [] "Valid trades in the feed's frames.";
    FEED_TRADES_REJECTED: counter "gostocks_feed_trades_rejected_total" ["reason"] "Trades dropped from otherwise good frames, by reason.";
    FEED_TRADES_REPEATED: counter "gostocks_feed_trades_repeated_total" [] "Trades equal to a recent one; suspected repeats, and kept.";
    FEED_CONNECTS: counter "gostocks_feed_connects_total" [] "Connections to the feed that were opened.";
    FEED_DISCONNECTS: counter "gostocks_feed_disconnects_total" ["reason"] "Connections to the feed that ended or could not be opened, by reason.";
    FEED_CONNECTED: gauge "gostocks_feed_connected" [] "1 while connected and subscribed, else 0.";
    ROUND_PACE: gauge "gostocks_round_pace_seconds" [] "How far apart rounds of records are at least, since the machine's cores had no rest; 0 where they have.";
    RECORDS_PRODUCED: counter "gostocks_records_produced_total" [] "Records handed to the producer.";
    RECORDS_DELIVERED: counter "gostocks_records_delivered_total" [] "Records that the broker has acknowledged.";
    DELIVERY_FAILURES: counter "gostocks_delivery_failures_total" [] "Records given up after the retry budget.";
    PRODUCER_FULL: counter "gostocks_producer_full_total" [] "Times the feed had to wait for the producer.";

    // Whoever follows the log: processor, alert.
    RECORDS_CONSUMED: counter "gostocks_records_consumed_total" [] "Records read from the topic.";
    TRADES_CONSUMED: counter "gostocks_trades_consumed_total" [] "Trades in those records.";
    RECORDS_DEAD: counter "gostocks_records_dead_total" ["reason"] "Undecodable records put on the dead-letter topic, by reason.";
    BATCH_RECORDS: size_histogram "gostocks_batch_records" [] "Records in one batch.";
    BATCH_TRADES: size_histogram "gostocks_batch_trades" [] "Trades in one batch.";
    REDIS_BATCHES: counter "gostocks_redis_batches_total" ["outcome"] "Batches written to Redis, by outcome.";
    REDIS_REFUSED: counter "gostocks_redis_refused_total" [] "Symbol writes that Redis refused, having a later position.";
    REDIS_LATE: counter "gostocks_redis_late_loads_total" [] "Symbols of which all candles were loaded, because a trade was later than those in memory.";
    STREAM_ENTRIES: counter "gostocks_stream_entries_total" [] "Entries appended to the partitions' streams in Redis.";
    STREAM_TRADES: counter "gostocks_stream_trades_total" [] "Trades in those entries.";
    REDIS_WRITE: latency_histogram "gostocks_redis_write_seconds" [] "Time from sending a batch to Redis until its answer.";
    RESETS: counter "gostocks_resets_total" ["reason"] "Times the state in memory was dropped and the log read again from what is stored, by what was away.";
    CONSUMER_LAG: gauge "gostocks_consumer_lag_records" ["partition"] "Records between the last one that had its effect and the partition's end.";
    CONSUMER_LAG_SECONDS: gauge "gostocks_consumer_lag_seconds" ["partition"] "Age, since its arrival at the socket, of the oldest trade read that has not had its effect; 0 where there is none.";
    SYMBOLS: gauge "gostocks_symbols" [] "Symbols whose state is held in memory.";

    // The way of a tick.
    TICK_STAGE: latency_histogram "gostocks_tick_stage_seconds" ["stage"] "Time from a trade's arrival at the socket to a stage: produced (its producer knows that the broker has it; consumers may have it before), consumed, visible (Redis has answered), evaluated (all its alerts were looked at), fired (its firings are committed), published (they are on their topic), delivered (handed to the socket of a live stream).";
    TICK_EXCHANGE: latency_histogram "gostocks_tick_exchange_seconds" [] "Time from the exchange's stamp on a trade, in whole milliseconds of its clock, to the arrival by ours; a stamp from the future counts as 0.";

    // Alert.
    ALERTS_ARMED: gauge "gostocks_alerts_armed" [] "Alerts in the index, those that wait for the log among them.";
    INDEX_BYTES: gauge "gostocks_alert_index_bytes" [] "Memory that the index takes, roughly.";
    ALERTS_FIRED: counter "gostocks_alerts_fired_total" ["outcome"] "Firings found, by outcome: admitted, or refused because the alert had fired or changed before.";
    FIRE_COMMIT: latency_histogram "gostocks_alert_fire_commit_seconds" [] "Time to commit one transaction of firings.";
    CHECKPOINTS: counter "gostocks_alert_checkpoints_total" [] "Checkpoints stored, by round.";
    ALERTS_REWOUND: counter "gostocks_alerts_rewound_total" [] "Alerts armed so late that the log was read again for them.";
    ALERT_HEARD: latency_histogram "gostocks_alert_heard_seconds" [] "Time from the start of the transaction that made or changed an alert, by PostgreSQL's clock, until it is in its owner's index.";
    OUTBOX: gauge "gostocks_alert_outbox_firings" [] "Firings that are committed and not yet known to be published; at most 100,000 are counted.";
    OUTBOX_AGE: gauge "gostocks_alert_outbox_age_seconds" [] "Age of the oldest of them.";
    POSTGRES_ACQUIRE: latency_histogram "gostocks_postgres_acquire_seconds" [] "Time that a call waited for a connection of the pool.";
    POSTGRES_CALL: latency_histogram "gostocks_postgres_call_seconds" ["call"] "Time that a call held a connection.";
    POSTGRES_CONNECTIONS: gauge "gostocks_postgres_connections" ["state"] "Connections of the pool, in use and idle.";
    POSTGRES_CONNECTIONS_BOUND: gauge "gostocks_postgres_connections_bound" [] "How many connections the pool may have.";
    FIRINGS_PUBLISHED: counter "gostocks_alert_firings_published_total" [] "Firings put on their topic.";
    FIRINGS_PUBLISH_FAILED: counter "gostocks_alert_firings_publish_failures_total" [] "Attempts to publish that failed, and are repeated.";

    // Alert: calls.
    GRPC_REQUESTS: counter "gostocks_grpc_requests_total" ["method", "code"] "Calls answered.";
    GRPC_REQUEST: latency_histogram "gostocks_grpc_request_seconds" ["method"] "Time to answer a call.";
    GRPC_IN_FLIGHT: gauge "gostocks_grpc_in_flight" [] "Calls being answered.";

    // Gateway.
    HTTP_REQUESTS: counter "gostocks_http_requests_total" ["method", "route", "status"] "Requests answered.";
    HTTP_REQUEST: latency_histogram "gostocks_http_request_seconds" ["route"] "Time to answer a request.";
    STREAMS: gauge "gostocks_streams" [] "Live streams that are open.";
    STREAM_EVENTS: counter "gostocks_stream_events_total" [] "Events told on live streams.";
    HTTP_IN_FLIGHT: gauge "gostocks_http_in_flight" [] "Requests being answered.";
    REDIS_READ: latency_histogram "gostocks_redis_read_seconds" [] "Time to read one symbol's price from Redis.";
    ALERT_CALL: latency_histogram "gostocks_alert_call_seconds" ["method"] "Time of a call to the alert service, attempts that failed included.";
}

/// Upper bounds of a histogram's buckets: a fifth apart from 10 µs to 10 s for durations, powers
/// of two for sizes.
pub(crate) fn buckets(name: &str) -> Vec<f64> {
    match ALL.iter().find(|metric| metric.name == name).map(|metric| metric.kind) {
        Some(Kind::SizeHistogram) => size_buckets(),
        _ => latency_buckets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_follow_prometheus_rules() {
        let mut names = BTreeSet::new();
        for metric in ALL {
            let name = metric.name;
            assert!(names.insert(name), "{name} stands twice");
            assert!(name.starts_with("gostocks_"), "{name}");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
            assert_eq!(metric.kind == Kind::Counter, name.ends_with("_total"), "{name}");
            let latency = metric.kind == Kind::LatencyHistogram;
            assert!(!latency || name.ends_with("_seconds"), "{name}");
            assert!(metric.help.ends_with('.'), "{name}: {}", metric.help);
        }
    }

    #[test]
    fn latency_buckets_are_a_fifth_apart_from_10_us_to_10_s() {
        let buckets = latency_buckets();
        assert!((buckets[0] - 10e-6).abs() < 1e-12);
        assert!(buckets.windows(2).all(|pair| pair[1] / pair[0] < 1.21));
        assert!(*buckets.last().expect("some") >= 10.0, "{buckets:?}");
        assert!((70..80).contains(&buckets.len()), "{}", buckets.len());
    }
}
