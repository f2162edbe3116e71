use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Context;
use broker::TopicReader;
use store::EndOffsets;

/// Where the partitions of the topic end, asked of the broker.
#[derive(Debug)]
pub(crate) struct Ends {
    reader: Arc<TopicReader>,
}

impl Ends {
    pub(crate) fn new(reader: Arc<TopicReader>) -> Self {
        Self { reader }
    }
}

impl EndOffsets for Ends {
    async fn end_offsets(&self, partitions: &BTreeSet<i32>) -> anyhow::Result<BTreeMap<i32, i64>> {
        let (reader, partitions) = (Arc::clone(&self.reader), partitions.clone());
        // The look-up blocks.
        let ends = tokio::task::spawn_blocking(move || reader.ends(&partitions));
        ends.await.context("a look-up panicked")?
    }
}
