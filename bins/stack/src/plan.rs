//! Who shall run, where, and with which settings.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use servers::exporter::{self, Subject};
use servers::kafka::Distribution;
use servers::port::Held;
use servers::{Lifetime, Running, Signal, kafka, launch, postgresql, prometheus, redis};

use crate::catalogue::{
    ALERT, FEED, GATEWAY, HOST_EXPORTER, INGESTOR, KAFKA, MEMBERS, Member, POSTGRESQL,
    POSTGRESQL_EXPORTER, PROCESSOR, PROMETHEUS, REDIS, REDIS_EXPORTER, member,
};
use crate::feed::Feed;
use crate::paths::Paths;
use crate::ports::{Chooser, Ports};
use crate::scrape;
use crate::settings::{Settings, redact};
use crate::state::State;

const DEFAULT_RATE: u32 = 100;

/// The services, in the order in which they start.
pub(crate) const PROGRAMS: [(&str, &str); 5] = [
    (FEED, "loadgen"),
    (PROCESSOR, "processor"),
    (ALERT, "alert"),
    (INGESTOR, "ingestor"),
    (GATEWAY, "gateway"),
];

/// A member that shall run.
pub(crate) struct Unit {
    pub(crate) member: &'static Member,
    pub(crate) ports: Ports,
    pub(crate) run: Run,
}

pub(crate) enum Run {
    /// The user's own: used, never started, ended or wiped.
    External,
    Own {
        /// Of the settings: one that runs with others is started again.
        fingerprint: u64,
        start: Box<dyn Fn() -> anyhow::Result<Running> + Send + Sync>,
    },
}

/// Where everything is, decided before anything starts: the services are told of each other.
pub(crate) struct Layout {
    paths: Paths,
    ports: BTreeMap<&'static str, Ports>,
    /// As the user names their own server, by member.
    external: BTreeMap<&'static str, String>,
    pub(crate) feed: Feed,
    pub(crate) rate: u32,
    /// What the services read from the environment by themselves.
    inherited: Vec<String>,
    /// Where members are to listen that do not run yet.
    _held: Vec<Held>,
}

impl Layout {
    pub(crate) fn decide(
        paths: &Paths,
        settings: &Settings,
        state: &State,
        rate: Option<u32>,
    ) -> anyhow::Result<Self> {
        let mut external = BTreeMap::new();
        for (name, variable) in
            [(KAFKA, "KAFKA_BROKERS"), (REDIS, "REDIS_ADDR"), (POSTGRESQL, "DATABASE_URL")]
        {
            if let Some(value) = settings.external(variable)? {
                external.insert(name, value.to_owned());
            }
        }
        let feed = Feed::choose(settings);
        let mut chooser = Chooser::new();
        let mut ports = BTreeMap::new();
        for member in &MEMBERS {
            let given = match (external.get(member.name), &feed) {
                (Some(address), _) => Some(redact(address)),
                (None, Feed::Real { shown }) if member.name == FEED => Some(shown.clone()),
                _ => None,
            };
            let chosen = match given {
                Some(address) => Ports { address: Some(address), ..Ports::default() },
                None => chooser.choose(member, state, settings)?,
            };
            ports.insert(member.name, chosen);
        }
        let rate = rate.or(state.rate).unwrap_or(DEFAULT_RATE);
        let inherited = settings.of_services();
        let _held = chooser.held();
        Ok(Self { paths: paths.clone(), ports, external, feed, rate, inherited, _held })
    }

    pub(crate) fn grpc(&self, name: &str) -> &str {
        self.ports.get(name).and_then(|ports| ports.grpc.as_deref()).unwrap_or_default()
    }

    pub(crate) fn address(&self, name: &str) -> &str {
        self.ports.get(name).and_then(|ports| ports.address.as_deref()).unwrap_or_default()
    }

    /// As a service is to be told: the user's own words, or where ours listens.
    fn told(&self, name: &str) -> String {
        self.external.get(name).cloned().unwrap_or_else(|| self.address(name).to_owned())
    }

    /// As `DATABASE_URL` has it.
    fn database(&self) -> String {
        let ours = || postgresql::url(self.address(POSTGRESQL));
        self.external.get(POSTGRESQL).cloned().unwrap_or_else(ours)
    }

    fn port(&self, name: &str) -> anyhow::Result<u16> {
        let port = self.address(name).rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        port.with_context(|| format!("{name} has no port"))
    }

    fn unit(&self, name: &'static str, run: Run) -> anyhow::Result<Unit> {
        let member = member(name).with_context(|| format!("there is no {name}"))?;
        let ports = self.ports.get(name).cloned().unwrap_or_default();
        Ok(Unit { member, ports, run })
    }

    pub(crate) fn needs_kafka(&self) -> bool {
        !self.external.contains_key(KAFKA)
    }

    /// `distribution` is wanted where [`needs_kafka`](Self::needs_kafka).
    pub(crate) fn servers(&self, distribution: Option<Distribution>) -> anyhow::Result<Vec<Unit>> {
        let mut units = Vec::new();
        for name in [KAFKA, REDIS, POSTGRESQL] {
            if self.external.contains_key(name) {
                units.push(self.unit(name, Run::External)?);
            }
        }
        if let Some(distribution) = distribution {
            units.push(self.own(KAFKA, "", move |home, port, log| {
                kafka::start(&distribution, home, port, log, Lifetime::Detached)
            })?);
        }
        if !self.external.contains_key(REDIS) {
            units.push(self.own(REDIS, "", |home, port, log| {
                redis::start(home, port, log, Lifetime::Detached)
            })?);
        }
        if !self.external.contains_key(POSTGRESQL) {
            units.push(self.own(POSTGRESQL, "", |home, port, log| {
                postgresql::start(&postgresql::home(home)?, port, log, Lifetime::Detached)
            })?);
        }
        for (name, subject) in [
            (REDIS_EXPORTER, Subject::Redis { address: self.told(REDIS) }),
            (POSTGRESQL_EXPORTER, Subject::Postgresql { url: self.database() }),
            (HOST_EXPORTER, Subject::Host),
        ] {
            units.push(self.own(name, &format!("{subject:?}"), move |home, port, log| {
                exporter::start(name, &subject, home, port, log, Lifetime::Detached)
            })?);
        }
        let targets = self.prometheus_settings()?;
        units.push(self.own(PROMETHEUS, &targets.clone(), move |home, port, log| {
            prometheus::start(home, &targets, port, log, Lifetime::Detached)
        })?);
        Ok(units)
    }

    fn own(
        &self,
        name: &'static str,
        settings: &str,
        start: impl Fn(&Path, u16, &Path) -> anyhow::Result<Running> + Send + Sync + 'static,
    ) -> anyhow::Result<Unit> {
        let (home, port, log) = (self.paths.home(name), self.port(name)?, self.paths.log(name));
        let start = Box::new(move || start(&home, port, &log));
        let fingerprint = fingerprint([self.address(name), settings]);
        self.unit(name, Run::Own { fingerprint, start })
    }

    /// The clone's `prometheus.yml` for what runs here.
    fn prometheus_settings(&self) -> anyhow::Result<String> {
        let file = self.paths.root.join("prometheus.yml");
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let addresses = self.ports.iter().filter_map(|(name, ports)| {
            let member = member(name)?;
            let (default, actual) = match member.metrics_port {
                Some(port) => (port, &ports.metrics),
                None => (member.port?, &ports.address),
            };
            Some((format!("{name}:{default}"), actual.clone()?))
        });
        let rules = self.paths.root.join("grafana/rules");
        Ok(scrape::on_one_machine(&text, &addresses.collect(), &rules))
    }

    /// The services, from the programs in `binaries`.
    pub(crate) fn services(&self, binaries: &Path) -> anyhow::Result<Vec<Unit>> {
        PROGRAMS
            .iter()
            .map(|(name, program)| match &self.feed {
                Feed::Real { .. } if *name == FEED => self.unit(name, Run::External),
                _ => self.service(name, binaries.join(program).as_path()),
            })
            .collect()
    }

    fn service(&self, name: &'static str, program: &Path) -> anyhow::Result<Unit> {
        let address = self.address(name).to_owned();
        let mut arguments = Vec::new();
        let mut environment = Vec::new();
        match name {
            FEED => {
                let rate = self.rate.to_string();
                arguments.extend(["feed", "--listen", &address, "--max-symbols", "0", "--rate"]);
                arguments.push(&rate);
                return self.program(name, program, &arguments, environment);
            }
            INGESTOR => {
                environment.push(("KAFKA_BROKERS", self.told(KAFKA)));
                if self.feed == Feed::Simulated {
                    let url = format!("ws://{}", self.address(FEED));
                    environment.push(("FEED_URL", url));
                }
            }
            PROCESSOR => {
                environment.push(("KAFKA_BROKERS", self.told(KAFKA)));
                environment.push(("REDIS_ADDR", self.told(REDIS)));
            }
            ALERT => {
                environment.push(("KAFKA_BROKERS", self.told(KAFKA)));
                environment.push(("DATABASE_URL", self.database()));
                environment.push(("GRPC_PORT", self.port(name)?.to_string()));
                let is_set = |setting: &String| setting.starts_with("ALERT_SNAPSHOTS=");
                if !self.inherited.iter().any(is_set) {
                    let folder = self.paths.home(ALERT).join("snapshots");
                    environment.push(("ALERT_SNAPSHOTS", folder.display().to_string()));
                }
            }
            _ => {
                environment.push(("ALERT_SERVICE_ADDR", self.address(ALERT).to_owned()));
                environment.push(("PORT", self.port(name)?.to_string()));
                let port = self.grpc(name).rsplit_once(':').map(|(_, port)| port.to_owned());
                environment.extend(port.map(|port| ("MARKET_GRPC_PORT", port)));
                environment.push(("REDIS_ADDR", self.told(REDIS)));
            }
        }
        let metrics = self.ports.get(name).and_then(|ports| ports.metrics.clone());
        environment.extend(metrics.map(|metrics| ("METRICS_ADDR", metrics)));
        self.program(name, program, &arguments, environment)
    }

    fn program(
        &self,
        name: &'static str,
        program: &Path,
        arguments: &[&str],
        environment: Vec<(&'static str, String)>,
    ) -> anyhow::Result<Unit> {
        let told = environment.iter().flat_map(|(name, value)| [*name, value.as_str()]);
        let inherited = self.inherited.iter().map(String::as_str).filter(|_| name != FEED);
        let fingerprint = fingerprint(arguments.iter().copied().chain(told).chain(inherited));
        let (program, root, log) =
            (program.to_owned(), self.paths.root.clone(), self.paths.log(name));
        let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        let address = self.address(name).to_owned();
        let start = Box::new(move || {
            let mut command = Command::new(&program);
            command.args(&arguments).envs(environment.iter().cloned()).current_dir(&root);
            let process = launch(command, &log, Lifetime::Detached)?;
            Ok(Running {
                name,
                process,
                address: address.clone(),
                log: log.clone(),
                stop_signal: Signal::SIGTERM,
            })
        });
        self.unit(name, Run::Own { fingerprint, start })
    }
}

/// FNV-1a: the same today and after every upgrade of the compiler.
fn fingerprint<'a>(parts: impl IntoIterator<Item = &'a str>) -> u64 {
    parts
        .into_iter()
        .flat_map(|part| part.bytes().chain([0]))
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
}
