use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, IntoConnectionInfo, RedisError, RedisResult,
};

use crate::Unavailable;

/// Where Redis is, as `REDIS_ADDR` says: `host:port` or a `redis://` URL for a single one; for a
/// cluster some of its nodes, `host:port,host:port` or `redis-cluster://[user:password@]host:port,…`.
#[derive(Clone)]
pub(crate) struct Address {
    /// Without a password.
    public: String,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Single {
        url: String,
    },
    /// Before each node's `host:port`: `redis://`, and the credentials.
    Cluster {
        prefix: String,
        nodes: Vec<String>,
    },
}

impl Address {
    pub(crate) fn new(text: &str) -> Self {
        let (scheme, rest) = text.split_once("://").unwrap_or(("redis", text));
        let is_cluster = scheme == "redis-cluster" || rest.contains(',');
        let kind = if is_cluster {
            let (credentials, nodes) = match rest.rsplit_once('@') {
                Some((credentials, nodes)) => (format!("{credentials}@"), nodes),
                None => (String::new(), rest),
            };
            let nodes = nodes.trim_end_matches('/').split(',').map(|it| it.trim().to_owned());
            Kind::Cluster { prefix: format!("redis://{credentials}"), nodes: nodes.collect() }
        } else {
            Kind::Single { url: format!("{scheme}://{rest}") }
        };
        Self { public: public(text), kind }
    }

    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self.kind, Kind::Cluster { .. })
    }

    /// The nodes of the cluster that the address names.
    pub(crate) fn nodes(&self) -> Vec<Node> {
        let Kind::Cluster { nodes, .. } = &self.kind else { return Vec::new() };
        let node = |text: &String| {
            let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
            let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            Node { host, port: port.parse().unwrap_or(6379) }
        };
        nodes.iter().map(node).collect()
    }

    /// Of a single Redis.
    pub(crate) fn client(&self) -> RedisResult<Client> {
        match &self.kind {
            Kind::Single { url } => Client::open(url.as_str()),
            Kind::Cluster { prefix, nodes } => Client::open(format!("{prefix}{}", nodes[0])),
        }
    }

    /// A node of the cluster, or the single Redis.
    pub(crate) fn node_client(&self, node: &Node) -> RedisResult<Client> {
        match &self.kind {
            Kind::Single { url } => Client::open(url.as_str()),
            Kind::Cluster { prefix, .. } => {
                let host = if node.host.contains(':') {
                    format!("[{}]", node.host)
                } else {
                    node.host.clone()
                };
                Client::open(format!("{prefix}{host}:{}", node.port))
            }
        }
    }

    /// Each try takes `patience` at most, and all of them together three times that.
    pub(crate) fn cluster_client(&self, patience: Duration) -> RedisResult<ClusterClient> {
        let urls = match &self.kind {
            Kind::Single { url } => vec![url.clone()],
            Kind::Cluster { prefix, nodes } => {
                nodes.iter().map(|node| format!("{prefix}{node}")).collect()
            }
        };
        let infos: RedisResult<Vec<_>> =
            urls.into_iter().map(IntoConnectionInfo::into_connection_info).collect();
        ClusterClientBuilder::new(infos?)
            .connection_timeout(patience)
            .response_timeout(patience)
            .overall_response_timeout(Some(patience))
            .retries(3)
            .min_retry_wait(20)
            .max_retry_wait(500)
            .build()
    }

    pub(crate) fn unavailable(&self, error: &RedisError) -> Unavailable {
        let reason = match error.kind() {
            ErrorKind::AuthenticationFailed => "authentication failed".to_owned(),
            _ => error.to_string(),
        };
        self.away(reason)
    }

    pub(crate) fn away(&self, reason: impl Into<String>) -> Unavailable {
        Unavailable { address: self.public.clone(), reason: reason.into() }
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.public)
    }
}

/// One server of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// A connection of its own; `answer` bounds how long one answer may take.
pub(crate) async fn connect(
    client: &Client,
    connect: Duration,
    answer: Duration,
) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(connect))
        .set_response_timeout(Some(answer));
    client.get_multiplexed_async_connection_with_config(&config).await
}

/// The address without its password.
fn public(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((credentials, host)) => {
            let scheme = credentials.split_once("://").map_or("", |(scheme, _)| scheme);
            if scheme.is_empty() { host.into() } else { format!("{scheme}://{host}") }
        }
        None => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, cluster: Option<&[&str]>, public: &str) {
        let address = Address::new(text);
        assert_eq!(address.public, public);
        match (&address.kind, cluster) {
            (Kind::Single { url }, None) => assert!(url.starts_with("redis://"), "{url}"),
            (Kind::Cluster { prefix, nodes }, Some(expected)) => {
                let urls: Vec<_> = nodes.iter().map(|node| format!("{prefix}{node}")).collect();
                assert_eq!(urls, expected);
            }
            _ => panic!("{text} is taken for something else"),
        }
        assert_eq!(address.is_cluster(), cluster.is_some());
    }

    #[test]
    fn a_list_or_a_scheme_makes_a_cluster() {
        check("localhost:6379", None, "localhost:6379");
        check("redis://me:SECRET@host/1", None, "redis://host/1");
        check("a:1,b:2", Some(&["redis://a:1", "redis://b:2"]), "a:1,b:2");
        check("redis-cluster://a:1", Some(&["redis://a:1"]), "redis-cluster://a:1");
        check(
            "redis-cluster://me:SECRET@a:1,b:2",
            Some(&["redis://me:SECRET@a:1", "redis://me:SECRET@b:2"]),
            "redis-cluster://a:1,b:2",
        );
    }
}
