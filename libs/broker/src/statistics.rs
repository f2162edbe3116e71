use rdkafka::statistics::Statistics;

/// How often librdkafka reports on itself.
pub(crate) const INTERVAL_MS: &str = "500";

/// Whether the idempotent producer has its id: before, every record only queues up.
pub(crate) fn has_producer_id(statistics: &Statistics) -> bool {
    statistics.eos.as_ref().is_some_and(|eos| eos.idemp_state == "Assigned")
}
