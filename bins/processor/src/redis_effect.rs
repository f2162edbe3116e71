use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context;
use broker::DeadLetters;
use follow::{Batch, Effect, Known, Places, Progress};
use market::{AnotherLog, Place};
use service::catalogue;
use speed::{Writer, WriterSettings};

use crate::Config;
use crate::apply::Applier;

/// While nothing trades, nothing else would notice that Redis has gone.
const IDLE_CHECK: Duration = Duration::from_secs(1);

/// Every batch to Redis, as of a position.
pub(crate) struct RedisEffect {
    redis_addr: String,
    settings: WriterSettings,
    applier: Applier,
    writer: Option<Writer>,
}

impl RedisEffect {
    pub(crate) fn new(config: &Config, partitions: i32, dead: DeadLetters) -> Self {
        Self {
            redis_addr: config.redis_addr.clone(),
            settings: WriterSettings {
                topic: config.topic.clone(),
                partitions,
                state: config.state(),
                stream_trades: config.stream_trades,
            },
            applier: Applier::new(dead),
            writer: None,
        }
    }

    fn writer(&mut self) -> anyhow::Result<&mut Writer> {
        self.writer.as_mut().context("not connected to Redis")
    }
}

impl Effect for RedisEffect {
    const NAME: &'static str = "redis";

    type Loaded = HashMap<i32, Place>;

    async fn connect(&mut self) -> anyhow::Result<()> {
        self.writer = Some(Writer::connect(&self.redis_addr, self.settings.clone()).await?);
        Ok(())
    }

    fn load(
        &self,
        _: &[i32],
    ) -> impl Future<Output = anyhow::Result<Self::Loaded>> + Send + 'static {
        let places = self.writer.as_ref().map(Writer::places);
        async { places.context("not connected to Redis")?.await }
    }

    fn places(loaded: &Self::Loaded) -> HashMap<i32, Place> {
        loaded.clone()
    }

    fn begin(&mut self, places: Self::Loaded, partitions: &[i32]) -> anyhow::Result<()> {
        let begun = places.iter().filter(|(partition, _)| partitions.contains(partition));
        self.writer()?.told(begun.map(|(partition, place)| (*partition, *place)));
        Ok(())
    }

    fn know(&mut self, anew: bool, known: &[Known]) {
        self.applier.know(anew, known);
    }

    async fn apply(&mut self, batch: &Batch) -> anyhow::Result<Option<Progress>> {
        let writer = self.writer.as_mut().context("not connected to Redis")?;
        self.applier.apply(writer, batch).await.map(progress).map(Some)
    }

    fn is_busy(&self) -> bool {
        self.applier.is_under_way()
    }

    async fn wait(&mut self) {
        if !self.applier.is_under_way() {
            return tokio::time::sleep(IDLE_CHECK).await;
        }
        self.applier.answered().await;
    }

    async fn work(&mut self) -> anyhow::Result<Progress> {
        let writer = self.writer.as_mut().context("not connected to Redis")?;
        if !self.applier.is_under_way() {
            writer.check().await?;
        }
        self.applier.settle(writer).await.map(progress)
    }

    async fn end(&mut self, _: &[i32]) -> anyhow::Result<Progress> {
        let writer = self.writer.as_mut().context("not connected to Redis")?;
        self.applier.settle(writer).await.map(progress)
    }

    fn forget(&mut self, partitions: Option<&[i32]>) {
        self.applier.forget(partitions);
        if let Some(writer) = &mut self.writer {
            writer.forget_streams(partitions);
        }
    }

    fn count_failure(&self, trouble: &anyhow::Error) {
        let reason = if trouble.is::<speed::Unavailable>() {
            self.applier.count_failure();
            "redis"
        } else {
            "kafka"
        };
        catalogue::RESETS.with("reason", reason).counter().increment(1);
    }

    fn another_log(&self, reason: String) -> AnotherLog {
        AnotherLog {
            store: "Redis",
            topic: self.settings.topic.clone(),
            reason,
            remedy: "processor rebuild",
        }
    }
}

/// What is in Redis is there for good, as far as the log's offsets are concerned: they are behind it,
/// and Redis says where the log is read from.
fn progress(places: Places) -> Progress {
    Progress { effected: places.clone(), stored: places }
}
