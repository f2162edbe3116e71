use market::AnotherLog;
use redis::RedisResult;

use crate::address::Address;
use crate::link::Link;
use crate::log::{self, Log, LogId};
use crate::{Unavailable, keys};

/// Of the keys and of what stands in them. A Redis that was filled under another one is rebuilt.
const LAYOUT: &str = "5";
/// Stands before the log id while a rebuild deletes what was held.
const REBUILDING: &str = "rebuilding:";

/// Why a log cannot be followed.
pub(crate) enum Refusal {
    Unavailable(Unavailable),
    AnotherLog(AnotherLog),
    Foreign(String),
}

impl From<Refusal> for anyhow::Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unavailable(error) => error.into(),
            Refusal::AnotherLog(error) => error.into(),
            Refusal::Foreign(text) => anyhow::Error::msg(text),
        }
    }
}

/// Which log Redis follows; none yet: this one, under a new id.
pub(crate) async fn follow(
    link: &Link,
    address: &Address,
    topic: &str,
    partitions: i32,
) -> Result<Log, Refusal> {
    let key = keys::log(topic);
    let fresh = LogId::mint(None);
    let mut layout = redis::cmd("HMGET");
    layout.arg(&key).arg("id").arg("layout");
    let stored: RedisResult<(Option<String>, Option<String>)> = link.query(&layout).await;
    let (id, layout) = stored.map_err(|error| Refusal::Unavailable(address.unavailable(&error)))?;
    if id.is_some() && layout.as_deref() != Some(LAYOUT) {
        let layout = layout.map_or_else(|| "an older one".into(), |layout| format!("{layout:?}"));
        let reason = format!("its keys are laid out in another way ({layout}, not {LAYOUT:?})");
        return Err(Refusal::AnotherLog(log::another(topic, reason)));
    }
    // Two processors that start at once agree on whose id came first.
    let mut pipeline = redis::pipe();
    pipeline
        .atomic()
        .hset_nx(&key, "id", fresh.as_str())
        .ignore()
        .hset_nx(&key, "partitions", partitions)
        .ignore()
        .hset_nx(&key, "layout", LAYOUT)
        .ignore()
        .hget(&key, "id")
        .hget(&key, "partitions");
    let answer: RedisResult<(String, i32)> = link.pipeline(&pipeline).await;
    let (id, stored) = answer.map_err(|error| Refusal::Unavailable(address.unavailable(&error)))?;
    if id.starts_with(REBUILDING) {
        let reason = "it is being rebuilt; where that was cut short, run `processor rebuild` again";
        return Err(Refusal::Unavailable(address.away(reason)));
    }
    let Some(id) = LogId::parse(&id) else {
        return Err(Refusal::Foreign(format!("{key} holds id = {id:?}, not a log id")));
    };
    if id == fresh {
        tracing::info!(topic, log = %id, "Redis begins to follow the topic");
    }
    if stored != partitions {
        let reason = format!("it had {stored} partitions and has {partitions} now");
        return Err(Refusal::AnotherLog(log::another(topic, reason)));
    }
    Ok(Log { id, topic: topic.into() })
}

/// Forgets everything that Redis holds of the topic, and follows it from its start under a new log
/// id. Returns how many symbols were forgotten.
pub(crate) async fn rebuild(
    link: &Link,
    address: &Address,
    topic: &str,
    partitions: i32,
) -> RedisResult<usize> {
    let key = keys::log(topic);
    let previous: Option<String> = link.query(redis::cmd("HGET").arg(&key).arg("id")).await?;
    let previous = previous.as_deref().map(|id| id.trim_start_matches(REBUILDING));
    let id = LogId::mint(previous.and_then(LogId::parse).as_ref());
    let partitions = partitions.to_string();
    let begin = async |id: &str| {
        let mut pipeline = redis::pipe();
        pipeline
            .atomic()
            .del(&key)
            .hset(&key, "layout", LAYOUT)
            .hset_multiple(&key, &[("id", id), ("partitions", &partitions)]);
        link.pipeline::<()>(&pipeline).await
    };
    // Nobody may write while keys are deleted: an id that no writer can have. It keeps the
    // number, so that a rebuild that was cut short is made good by the next.
    begin(&format!("{REBUILDING}{id}")).await?;
    let forgotten = forget(link, address).await?;
    // Until its presence was deleted, a writer may have told places all the same.
    begin(id.as_str()).await?;
    Ok(forgotten)
}

/// Deletes every key but the log's; returns how many symbols there were.
async fn forget(link: &Link, address: &Address) -> RedisResult<usize> {
    let masters = match link.topology(address).await? {
        None => vec![None],
        Some(topology) => topology.masters.into_iter().map(Some).collect(),
    };
    let mut forgotten = 0;
    for pattern in keys::ALL {
        for master in &masters {
            let mut cursor = 0_u64;
            loop {
                let mut scan = redis::cmd("SCAN");
                scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(1_000);
                let (next, keys): (u64, Vec<Vec<u8>>) =
                    link.query_node(scan, master.as_ref()).await?;
                forgotten += if pattern == keys::SYMBOLS { keys.len() } else { 0 };
                let unlink = |key: &Vec<u8>| {
                    let mut unlink = redis::cmd("UNLINK");
                    unlink.arg(key);
                    unlink
                };
                link.all::<i64>(keys.iter().map(unlink).collect()).await?;
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
        }
    }
    Ok(forgotten)
}
