//! Everything that the stack is made of, in one table, in the order in which `status` lists it.

use servers::{exporter, http, kafka, postgresql, prometheus, redis};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Server,
    Service,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Service => "service",
        }
    }
}

pub(crate) struct Member {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Where it listens if nobody else does.
    pub(crate) port: Option<u16>,
    /// Where it serves `/metrics` and `/readyz` if nobody else does, as in `prometheus.yml`.
    pub(crate) metrics_port: Option<u16>,
    /// Where it serves gRPC beside what it serves at `port`.
    pub(crate) grpc_port: Option<u16>,
    /// Whether one that listens at this address (else serves metrics at that one) takes work.
    pub(crate) is_ready: fn(address: &str) -> bool,
}

pub(crate) const KAFKA: &str = "kafka";
pub(crate) const REDIS: &str = "redis";
pub(crate) const POSTGRESQL: &str = "postgresql";
pub(crate) const PROMETHEUS: &str = "prometheus";
pub(crate) const REDIS_EXPORTER: &str = "redis-exporter";
pub(crate) const POSTGRESQL_EXPORTER: &str = "postgresql-exporter";
pub(crate) const HOST_EXPORTER: &str = "host-exporter";
pub(crate) const FEED: &str = "feed";
pub(crate) const INGESTOR: &str = "ingestor";
pub(crate) const PROCESSOR: &str = "processor";
pub(crate) const ALERT: &str = "alert";
pub(crate) const GATEWAY: &str = "gateway";

pub(crate) const MEMBERS: [Member; 12] = [
    server(KAFKA, 9092, kafka::is_ready),
    server(REDIS, 6379, redis::is_ready),
    // 5433, as the original's settings have it: 5432 often belongs to another PostgreSQL.
    server(POSTGRESQL, 5433, postgresql::is_ready),
    server(PROMETHEUS, 9090, prometheus::is_ready),
    server(REDIS_EXPORTER, 9121, exporter::is_ready),
    server(POSTGRESQL_EXPORTER, 9187, exporter::is_ready),
    server(HOST_EXPORTER, 9100, exporter::is_ready),
    Member {
        name: FEED,
        kind: Kind::Service,
        port: Some(7878),
        metrics_port: None,
        grpc_port: None,
        is_ready: |address| std::net::TcpStream::connect(address).is_ok(),
    },
    service(INGESTOR, None, 9101),
    service(PROCESSOR, None, 9102),
    service(ALERT, Some(50051), 9103),
    Member { grpc_port: Some(50052), ..service(GATEWAY, Some(8080), 9104) },
];

const fn server(name: &'static str, port: u16, is_ready: fn(&str) -> bool) -> Member {
    let (port, metrics_port, grpc_port) = (Some(port), None, None);
    Member { name, kind: Kind::Server, port, metrics_port, grpc_port, is_ready }
}

const fn service(name: &'static str, port: Option<u16>, metrics_port: u16) -> Member {
    Member {
        name,
        kind: Kind::Service,
        port,
        metrics_port: Some(metrics_port),
        grpc_port: None,
        is_ready: |metrics| http::get(metrics, "/readyz").is_ok_and(|(status, _)| status == 200),
    }
}

pub(crate) fn member(name: &str) -> Option<&'static Member> {
    // A constant's borrow is promoted: the table lives as long as the program.
    const TABLE: &[Member; 12] = &MEMBERS;
    TABLE.iter().find(|member| member.name == name)
}

impl Member {
    /// Asks it whether it takes work: at its metrics where it has them, else where it listens.
    pub(crate) fn answers(&self, address: Option<&str>, metrics: Option<&str>) -> bool {
        let asked = if self.metrics_port.is_some() { metrics } else { address };
        // Several brokers, as KAFKA_BROKERS may name: any of them speaks for all.
        asked.is_some_and(|list| list.split(',').any(|address| (self.is_ready)(address.trim())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ports_are_given_once() {
        let mut names: Vec<&str> = MEMBERS.iter().map(|member| member.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), MEMBERS.len());
        let ports = |member: &Member| [member.port, member.metrics_port, member.grpc_port];
        let mut all: Vec<u16> = MEMBERS.iter().flat_map(ports).flatten().collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
