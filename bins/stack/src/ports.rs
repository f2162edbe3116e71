use servers::port;

use crate::catalogue::{MEMBERS, Member};
use crate::settings::Settings;
use crate::state::{Entry, State};

/// The ports of one member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ports {
    /// `host:port`.
    pub(crate) address: Option<String>,
    pub(crate) metrics: Option<String>,
    pub(crate) grpc: Option<String>,
}

/// Chooses where each member listens: where it does if it runs; where it did, if that is still
/// free; else its default or the next free port.
#[derive(Debug)]
pub(crate) struct Chooser {
    /// Spoken for: every default, and what has been given out.
    kept: Vec<u16>,
    held: Vec<port::Held>,
}

impl Chooser {
    pub(crate) fn new() -> Self {
        let ports = |member: &Member| [member.port, member.metrics_port, member.grpc_port];
        Self { kept: MEMBERS.iter().flat_map(ports).flatten().collect(), held: Vec::new() }
    }

    /// To be kept until the members are started: some have ports from which Linux takes those of
    /// outgoing connections.
    pub(crate) fn held(self) -> Vec<port::Held> {
        self.held
    }

    pub(crate) fn choose(
        &mut self,
        member: &Member,
        state: &State,
        settings: &Settings,
    ) -> anyhow::Result<Ports> {
        let before = state.entries.get(member.name).filter(|entry| entry.process.is_some());
        if let Some(entry) = before.filter(|entry| entry.is_alive()) {
            let Entry { address, metrics, grpc, .. } = entry.clone();
            return Ok(Ports { address, metrics, grpc });
        }
        let asked = match member.name {
            crate::catalogue::GATEWAY => settings.value("PORT").and_then(|port| port.parse().ok()),
            _ => None,
        };
        let was = |pick: fn(&Entry) -> Option<&String>| {
            let address = before.and_then(pick)?;
            address.rsplit_once(':')?.1.parse().ok().filter(|port| port::is_free(*port))
        };
        let listens = asked.or(was(|entry| entry.address.as_ref())).or(member.port);
        let metrics = was(|entry| entry.metrics.as_ref()).or(member.metrics_port);
        let grpc = was(|entry| entry.grpc.as_ref()).or(member.grpc_port);
        let (address, metrics) = (self.near(listens)?, self.near(metrics)?);
        Ok(Ports { address, metrics, grpc: self.near(grpc)? })
    }

    fn near(&mut self, preferred: Option<u16>) -> anyhow::Result<Option<String>> {
        let Some(preferred) = preferred else { return Ok(None) };
        let held = port::near(preferred, &self.kept)?;
        let port = held.port;
        self.kept.push(port);
        self.held.push(held);
        Ok(Some(format!("127.0.0.1:{port}")))
    }
}
