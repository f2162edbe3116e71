use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{RoutingInfo, SingleNodeRoutingInfo};
use redis::{Cmd, FromRedisValue, Pipeline, RedisResult, Value};

use crate::address::{self, Address, Node};
use crate::topology::Topology;

const FUNCTIONS: &str = include_str!("gostocks.lua");
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// Calls that wait for the nodes of a cluster.
const CALLS_IN_FLIGHT: usize = 256;

/// The writer's connection, to a single Redis or to all nodes of a cluster.
#[derive(Clone)]
pub(crate) enum Link {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Link {
    pub(crate) async fn connect(address: &Address) -> RedisResult<Self> {
        if address.is_cluster() {
            let client = address.cluster_client(RESPONSE_TIMEOUT)?;
            return client.get_async_connection().await.map(Self::Cluster);
        }
        let client = address.client()?;
        address::connect(&client, CONNECT_TIMEOUT, RESPONSE_TIMEOUT).await.map(Self::Single)
    }

    /// Loads the functions, on every master of a cluster: its replicas get them from it.
    pub(crate) async fn load_functions(&self) -> RedisResult<()> {
        let mut load = redis::cmd("FUNCTION");
        load.arg("LOAD").arg("REPLACE").arg(FUNCTIONS);
        self.query(&load).await
    }

    pub(crate) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        match self {
            Self::Single(connection) => command.query_async(&mut connection.clone()).await,
            Self::Cluster(connection) => command.query_async(&mut connection.clone()).await,
        }
    }

    /// Commands on keys of one slot.
    pub(crate) async fn pipeline<T: FromRedisValue>(&self, commands: &Pipeline) -> RedisResult<T> {
        match self {
            Self::Single(connection) => commands.query_async(&mut connection.clone()).await,
            Self::Cluster(connection) => commands.query_async(&mut connection.clone()).await,
        }
    }

    /// Commands on keys of one slot, as `pipeline`; of their replies, as they come, so many from
    /// `from` on.
    pub(crate) async fn replies(
        &self,
        commands: &Pipeline,
        from: usize,
        count: usize,
    ) -> RedisResult<Vec<Value>> {
        match self {
            Self::Single(link) => link.clone().req_packed_commands(commands, from, count).await,
            Self::Cluster(link) => link.clone().req_packed_commands(commands, from, count).await,
        }
    }

    /// Commands on keys of any slots: in one pipeline, or on a cluster many at once and in no
    /// order. The answers are in the commands' order.
    pub(crate) async fn all<T: FromRedisValue + Send>(
        &self,
        commands: Vec<Cmd>,
    ) -> RedisResult<Vec<T>> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        if let Self::Single(_) = self {
            let mut pipeline = Pipeline::with_capacity(commands.len());
            commands.into_iter().for_each(|command| {
                pipeline.add_command(command);
            });
            return self.pipeline(&pipeline).await;
        }
        let answers =
            stream::iter(commands).map(|command| async move { self.query(&command).await });
        answers.buffered(CALLS_IN_FLIGHT).try_collect().await
    }

    /// The masters of a cluster; `None` on a single Redis.
    pub(crate) async fn topology(&self, address: &Address) -> RedisResult<Option<Topology>> {
        let Self::Cluster(_) = self else { return Ok(None) };
        let answer = self.query(&Topology::command()).await?;
        Topology::parse(answer, address.nodes().first()).map(Some)
    }

    /// Asks one of the masters; `None` is the single Redis.
    pub(crate) async fn query_node<T: FromRedisValue>(
        &self,
        command: Cmd,
        node: Option<&Node>,
    ) -> RedisResult<T> {
        let (Self::Cluster(connection), Some(node)) = (self, node) else {
            return self.query(&command).await;
        };
        let Node { host, port } = node.clone();
        let routing = RoutingInfo::SingleNode(SingleNodeRoutingInfo::ByAddress { host, port });
        let answer = connection.clone().route_command(command, routing).await?;
        Ok(redis::from_redis_value(answer)?)
    }
}
