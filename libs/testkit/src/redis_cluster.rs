use std::path::Path;
use std::time::Duration;

use servers::{Lifetime, redis};

use crate::server::Server;
use crate::{eventually, eventually_some, free_port};

const PATIENCE: Duration = Duration::from_secs(60);
const MASTERS: usize = 3;

/// Three masters and a replica of each, which takes over where its master is silent for 1.5 s.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Server>,
}

/// A private cluster, empty.
///
/// # Panics
/// Where it does not come up.
pub fn redis_cluster() -> RedisCluster {
    let node = |_| {
        let bus = free_port();
        let start = move |home: &Path, port, log: &Path| {
            redis::start_node(home, (port, bus), log, Lifetime::Bound)
        };
        Server::new("redis-node", Box::new(start), redis::is_ready)
    };
    let cluster = RedisCluster { nodes: (0..2 * MASTERS).map(node).collect() };
    let addresses: Vec<&str> = cluster.nodes.iter().map(Server::address).collect();
    redis::make_cluster(&addresses).unwrap_or_else(|error| panic!("{error:#}"));
    cluster.wait_whole();
    cluster
}

impl RedisCluster {
    /// `host:port` of every node, for `REDIS_ADDR`.
    pub fn address(&self) -> String {
        let addresses: Vec<&str> = self.nodes.iter().map(Server::address).collect();
        addresses.join(",")
    }

    /// kill -9 of whoever is the master of that key. Returns which node that was, once its replica
    /// has taken over.
    pub fn kill_master_of(&self, key: &str) -> usize {
        let victim = eventually_some(PATIENCE, "a master of the key", || {
            (0..self.nodes.len()).find(|node| self.is_master_of(*node, key))
        });
        self.nodes[victim].kill9();
        eventually(PATIENCE, "its replica takes over", || {
            (0..self.nodes.len()).any(|node| node != victim && self.is_master_of(node, key))
        });
        victim
    }

    /// Starts a node again that was killed: it becomes the replica of whoever took over.
    pub fn restart(&mut self, node: usize) {
        self.nodes[node].restart();
        self.wait_whole();
    }

    /// Has whoever is the master of that key lose everything that it holds, and the functions.
    pub fn flush_master_of(&self, key: &str) {
        let master = (0..self.nodes.len()).find(|node| self.is_master_of(*node, key));
        let master = master.expect("a master of the key");
        let flushed: Option<()> = self.ask(master, redis_cmd("FLUSHALL", &[]));
        let forgotten: Option<()> = self.ask(master, redis_cmd("FUNCTION", &["FLUSH"]));
        assert!(flushed.and(forgotten).is_some(), "it answers");
    }

    fn is_master_of(&self, node: usize, key: &str) -> bool {
        // Whoever has not the slot answers MOVED.
        let asked = self.ask::<Option<String>>(node, redis_cmd("TYPE", &[key]));
        asked.is_some() && self.role(node).as_deref() == Some("master")
    }

    fn role(&self, node: usize) -> Option<String> {
        let role: Vec<::redis::Value> = self.ask(node, redis_cmd("ROLE", &[]))?;
        ::redis::from_redis_value(role.into_iter().next()?).ok()
    }

    /// Until then a node that dies has nobody to replace it.
    fn wait_whole(&self) {
        eventually(PATIENCE, "every node knows a whole cluster", || {
            (0..self.nodes.len()).all(|node| {
                let info: Option<String> = self.ask(node, redis_cmd("CLUSTER", &["INFO"]));
                info.is_some_and(|info| {
                    info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:6")
                })
            })
        });
        eventually(PATIENCE, "three masters, each with a replica", || {
            let replications = (0..self.nodes.len())
                .filter_map(|node| self.ask::<String>(node, redis_cmd("INFO", &["replication"])));
            let (masters, replicas): (Vec<_>, Vec<_>) =
                replications.partition(|info| info.contains("role:master"));
            masters.len() == MASTERS
                && masters.iter().all(|info| info.contains("state=online"))
                && replicas.iter().all(|info| info.contains("master_link_status:up"))
        });
    }

    fn ask<T: ::redis::FromRedisValue>(&self, node: usize, command: ::redis::Cmd) -> Option<T> {
        let client = ::redis::Client::open(format!("redis://{}", self.nodes[node].address()));
        let mut connection = client.expect("an address").get_connection().ok()?;
        command.query(&mut connection).ok()
    }
}

fn redis_cmd(name: &str, arguments: &[&str]) -> ::redis::Cmd {
    let mut command = ::redis::cmd(name);
    command.arg(arguments);
    command
}
