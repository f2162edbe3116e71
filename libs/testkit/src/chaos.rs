//! Rounds of kills under a replayed market, each followed by the oracles' verdict.
//!
//! Two alert instances share a replay of 20,000 trades a second. A round is a function of its seed:
//! the alerts, what their users do, who is killed, when and for how long. What the machine adds is
//! timing. Afterwards exactly what the log says has fired, each alert once and on
//! the right trade, every alert that was promised is there, and Redis holds what the log says.

mod script;

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::chaos::script::{Act, Script, Victim};
use crate::{
    Alerts, Change, Exit, Pipeline, Program, Recording, Server, Wishes, eventually, private_kafka,
    private_postgresql,
};

const PATIENCE: Duration = Duration::from_secs(90);
const GROUP: &str = "processor-group";
const PARTITIONS: usize = 6;

/// During each act: alerts that are made, and that are paused, resumed, armed anew or deleted.
const ALERTS_AN_ACT: usize = 200;
const CHANGES_AN_ACT: usize = 100;

/// Of the alerts, those that a price of the replay can reach.
const NEAR: f64 = 0.03;

/// How long a replay takes if nothing delays it: long enough for every act to find it going on.
const REPLAY: Duration = Duration::from_secs(16);
const TRADES_A_SECOND: usize = 20_000;

/// Servers for any number of rounds.
#[derive(Debug)]
pub struct Chaos {
    kafka: Server,
    postgresql: Server,
    recording: Recording,
    speed: String,
    alerts: usize,
}

/// What happened in a round.
#[derive(Debug)]
pub struct Report {
    script: Script,
    alerts: usize,
    fired: usize,
    trades: usize,
    took: Duration,
}

impl Chaos {
    /// `alerts` there are before the first trade of each round.
    pub fn new(alerts: usize) -> Self {
        let recording = Recording::real().unwrap_or_else(Recording::walk);
        let symbols = REPLAY.as_secs() as usize * TRADES_A_SECOND / recording.trades().len();
        let recording = recording.spread(symbols);
        let speed = recording.period().as_secs_f64() / REPLAY.as_secs_f64();
        let (kafka, postgresql) = (private_kafka(), private_postgresql());
        Self { kafka, postgresql, recording, speed: speed.to_string(), alerts }
    }

    /// # Panics
    /// Where something was lost, came twice or is wrong, or a program did not come back.
    pub fn round(&mut self, seed: u64) -> Report {
        let begun = Instant::now();
        let mut random = SmallRng::seed_from_u64(seed);
        let script = Script::write(&mut random);
        let mut round = Round::begin(self, random);
        for (number, act) in script.acts.iter().enumerate() {
            round.until(15 + 20 * number);
            round.play(act);
        }
        let trades = round.finish();
        let (alerts, fired) = round.judge();
        Report { script, alerts, fired, trades, took: begun.elapsed() }
    }
}

/// Everything that runs in a round.
struct Round<'a> {
    chaos: &'a mut Chaos,
    random: SmallRng,
    way: Pipeline,
    alerts: Alerts,
    wishes: Wishes,
    /// The ids of the alerts that were promised.
    promised: Vec<i64>,
    _feed: Program,
    ingestor: Program,
    processor: Program,
    gateway: Program,
    instances: [Program; 2],
}

impl<'a> Round<'a> {
    fn begin(chaos: &'a mut Chaos, mut random: SmallRng) -> Self {
        let way = Pipeline::new(chaos.kafka.address(), "chaos");
        let alerts = Alerts::new(chaos.kafka.address(), way.topic(), chaos.postgresql.address());
        let alerts = alerts.with_both_asked();
        let mut wishes = Wishes::new(&chaos.recording, &mut random);
        let mut instances = [alerts.service(), alerts.second_service()];
        let mut processor = way.processor(GROUP);
        let mut gateway = way.gateway(&[("ALERT_SERVICE_ADDR", &alerts.address())]);
        for program in instances.iter_mut().chain([&mut processor, &mut gateway]) {
            program.wait_ready();
        }
        let most = chaos.alerts;
        let promised = alerts.create_many(wishes.mostly_far(NEAR, most));
        assert_eq!(promised.len(), most, "nothing was away yet");
        alerts.audit();
        let feed = way.feed(&chaos.recording, &["--max-symbols", "0", "--speed", &chaos.speed]);
        let ingestor = way.ingestor(&chaos.recording.symbols(), &[]);
        Self {
            chaos,
            random,
            way,
            alerts,
            wishes,
            promised,
            _feed: feed,
            ingestor,
            processor,
            gateway,
            instances,
        }
    }

    /// Waits until the ingestor has seen so many hundredths of the replay, which begins anew with
    /// each ingestor.
    fn until(&self, percent: usize) {
        let wanted = self.chaos.recording.trades().len() * percent / 100;
        eventually(PATIENCE, &format!("{percent} % of the replay"), || {
            self.ingestor.metric("gostocks_feed_trades_total") as usize >= wanted
        });
    }

    /// Meanwhile users ask for alerts, and change theirs.
    fn play(&mut self, act: &Act) {
        let wishes: Vec<_> = self.wishes.by_ref().take(ALERTS_AN_ACT).collect();
        let changes: Vec<Change> = (0..CHANGES_AN_ACT).map(|_| self.some_change()).collect();
        let Self { chaos, way, alerts, instances, ingestor, processor, gateway, .. } = self;
        let alerts = &*alerts;
        let promised = thread::scope(|scope| {
            let asking = scope.spawn(move || alerts.create(wishes));
            let changing = scope.spawn(move || alerts.change(changes));
            let mut victims =
                Victims { chaos, way, alerts, instances, ingestor, processor, gateway };
            match act {
                Act::Kill { victims: dying, dead } => {
                    dying.iter().for_each(|victim| victims.kill(*victim));
                    thread::sleep(*dead);
                    dying.iter().for_each(|victim| victims.restart(*victim));
                }
                Act::DropConnections => alerts.drop_connections(),
                Act::Freeze { instance, is_heir_killed } => {
                    victims.freeze(*instance, *is_heir_killed);
                }
            }
            changing.join().expect("no panic while changing");
            asking.join().expect("no panic while asking")
        });
        self.promised.extend(promised);
    }

    fn some_change(&mut self) -> Change {
        let changes = [Change::Pause, Change::Resume, Change::Rearm, Change::Delete];
        let id = self.promised[self.random.random_range(0..self.promised.len())];
        changes[self.random.random_range(0..changes.len())](id)
    }

    /// Lets the replay end, and the ingestor deliver all of it. Returns how many trades there are.
    fn finish(&mut self) -> usize {
        self.until(100);
        assert_eq!(self.ingestor.terminate(), Exit::Code(0), "the ingestor delivers what it has");
        self.way.logged().len()
    }

    /// How many alerts there are, and how many firings.
    fn judge(mut self) -> (usize, usize) {
        let fired = self.alerts.check("after the round");
        let conditions = "SELECT count(DISTINCT alerts.condition)
            FROM firings JOIN alerts ON alerts.id = firings.alert_id";
        assert_eq!(self.alerts.execute(conditions), "11", "each condition was put to the test");
        self.alerts.check_durable(&self.promised, "after the round");
        self.way.check_redis("after the round");
        self.way.check_prices("after the round");
        let programs = self.instances.iter_mut().chain([&mut self.processor, &mut self.gateway]);
        for program in programs {
            assert!(program.is_alive(), "whoever lives at the end never ended by itself");
        }
        self.alerts.drop_database();
        (self.promised.len(), fired)
    }
}

/// Who can be killed.
struct Victims<'a> {
    chaos: &'a mut Chaos,
    way: &'a mut Pipeline,
    alerts: &'a Alerts,
    instances: &'a mut [Program; 2],
    ingestor: &'a mut Program,
    processor: &'a mut Program,
    gateway: &'a mut Program,
}

impl Victims<'_> {
    fn kill(&mut self, victim: Victim) {
        match victim {
            Victim::Kafka => self.chaos.kafka.kill9(),
            Victim::Postgresql => self.chaos.postgresql.kill9(),
            Victim::Redis => self.way.redis().kill9(),
            Victim::Alert(instance) => self.instances[instance].kill9(),
            Victim::Ingestor => self.ingestor.kill9(),
            Victim::Processor => self.processor.kill9(),
            Victim::Gateway => self.gateway.kill9(),
        }
    }

    fn restart(&mut self, victim: Victim) {
        match victim {
            Victim::Kafka => self.chaos.kafka.restart(),
            Victim::Postgresql => self.chaos.postgresql.restart(),
            Victim::Redis => self.way.redis().restart(),
            Victim::Alert(0) => self.instances[0] = self.alerts.service(),
            Victim::Alert(_) => self.instances[1] = self.alerts.second_service(),
            Victim::Ingestor => {
                *self.ingestor = self.way.ingestor(&self.chaos.recording.symbols(), &[]);
            }
            Victim::Processor => *self.processor = self.way.processor(GROUP),
            Victim::Gateway => {
                let address = self.alerts.address();
                *self.gateway = self.way.gateway(&[("ALERT_SERVICE_ADDR", &address)]);
            }
        }
    }

    /// Stops an alert instance in its tracks until the other one has all its partitions, then lets
    /// it go on with what it thinks it has.
    fn freeze(&mut self, instance: usize, is_heir_killed: bool) {
        let heir = 1 - instance;
        self.instances[instance].freeze();
        eventually(PATIENCE, "the other instance has every partition", || {
            self.instances[heir].partitions().len() == PARTITIONS
        });
        self.instances[instance].thaw();
        if is_heir_killed {
            self.kill(Victim::Alert(heir));
            self.restart(Victim::Alert(heir));
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { script, alerts, fired, trades, took } = self;
        write!(
            f,
            "{script}: {trades} trades, {alerts} alerts, {fired} fired as the log says, {:.0} s",
            took.as_secs_f64()
        )
    }
}
