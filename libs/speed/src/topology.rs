use std::collections::HashMap;

use redis::cluster_routing::Slot;
use redis::{RedisResult, Value};

use crate::address::Node;

const SLOTS: u16 = 16_384;

/// Which master of a cluster has which slot.
#[derive(Debug)]
pub(crate) struct Topology {
    pub(crate) masters: Vec<Node>,
    owners: HashMap<Slot, usize>,
}

impl Topology {
    pub(crate) fn command() -> redis::Cmd {
        let mut command = redis::cmd("CLUSTER");
        command.arg("SLOTS");
        command
    }

    /// From what CLUSTER SLOTS answers; `asked` is who answered, whom it may leave unnamed.
    pub(crate) fn parse(answer: Value, asked: Option<&Node>) -> RedisResult<Self> {
        let mut topology = Self { masters: Vec::new(), owners: HashMap::new() };
        for range in redis::from_redis_value::<Vec<Vec<Value>>>(answer)? {
            let mut parts = range.into_iter();
            let mut next = || parts.next().unwrap_or(Value::Nil);
            let first: u16 = redis::from_redis_value(next())?;
            let last: u16 = redis::from_redis_value(next())?;
            let mut master = redis::from_redis_value::<Vec<Value>>(next())?.into_iter();
            let mut next = || master.next().unwrap_or(Value::Nil);
            let host: Option<String> = redis::from_redis_value(next())?;
            let port: u16 = redis::from_redis_value(next())?;
            let host = host.filter(|host| !host.is_empty());
            let host = host.or_else(|| asked.map(|asked| asked.host.clone()));
            let node = Node { host: host.unwrap_or_default(), port };
            let known = topology.masters.iter().position(|master| *master == node);
            let owner = known.unwrap_or_else(|| {
                topology.masters.push(node);
                topology.masters.len() - 1
            });
            let slots = (first..=last.min(SLOTS - 1)).filter_map(Slot::new);
            topology.owners.extend(slots.map(|slot| (slot, owner)));
        }
        Ok(topology)
    }

    /// Which of the masters has the key.
    pub(crate) fn owner(&self, key: &str) -> Option<usize> {
        self.owners.get(&Slot::for_key(key)).copied()
    }
}
