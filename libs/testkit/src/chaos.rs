//! Rounds of kills under a replayed market, each followed by the oracles' verdict.
//!
//! A round is a function of its seed: the alerts, who is killed, when and for how long. What the
//! machine adds is timing. Afterwards exactly what the log says has fired, each alert once and on
//! the right trade, every alert that was promised is there, and Redis holds what the log says.

mod script;

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::chaos::script::{Act, Script, Victim};
use crate::{
    Alerts, Exit, Pipeline, Program, Recording, Server, Wishes, eventually, private_kafka,
    private_postgresql,
};

const PATIENCE: Duration = Duration::from_secs(90);
const GROUP: &str = "processor-group";
const PARTITIONS: usize = 6;

/// Alerts before the first trade, and during each act.
const ALERTS: usize = 10_000;
const ALERTS_AN_ACT: usize = 200;

/// How long a replay takes if nothing delays it: long enough for every act to find it going on.
const REPLAY: Duration = Duration::from_secs(14);

/// Servers for any number of rounds.
#[derive(Debug)]
pub struct Chaos {
    kafka: Server,
    postgresql: Server,
    recording: Recording,
    speed: String,
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

impl Default for Chaos {
    fn default() -> Self {
        let recording = Recording::real().unwrap_or_else(Recording::random).with_copies();
        let speed = recording.period().as_secs_f64() / REPLAY.as_secs_f64();
        let (kafka, postgresql) = (private_kafka(), private_postgresql());
        Self { kafka, postgresql, recording, speed: speed.to_string() }
    }
}

impl Chaos {
    /// # Panics
    /// Where something was lost, came twice or is wrong, or a program did not come back.
    pub fn round(&mut self, seed: u64) -> Report {
        let begun = Instant::now();
        let mut random = SmallRng::seed_from_u64(seed);
        let script = Script::write(&mut random);
        let mut round = Round::begin(self, &mut random);
        for (number, act) in script.acts.iter().enumerate() {
            round.until(20 + 25 * number);
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
    way: Pipeline,
    alerts: Alerts,
    wishes: Wishes,
    /// The ids of the alerts that were promised.
    promised: Vec<i64>,
    _feed: Program,
    ingestor: Program,
    processor: Program,
    gateway: Program,
    alert: Program,
}

impl<'a> Round<'a> {
    fn begin(chaos: &'a mut Chaos, random: &mut SmallRng) -> Self {
        let way = Pipeline::new(chaos.kafka.address(), "chaos");
        let alerts = Alerts::new(chaos.kafka.address(), way.topic(), chaos.postgresql.address());
        let mut wishes = Wishes::new(&chaos.recording, random);
        let mut alert = alerts.service();
        let mut processor = way.processor(GROUP);
        let mut gateway = way.gateway(&[("ALERT_SERVICE_ADDR", &alerts.address())]);
        for program in [&mut alert, &mut processor, &mut gateway] {
            program.wait_ready();
        }
        let promised = alerts.create(wishes.by_ref().take(ALERTS));
        assert_eq!(promised.len(), ALERTS, "nothing was away yet");
        let feed = way.feed(&chaos.recording, &["--speed", &chaos.speed]);
        let ingestor = way.ingestor(&chaos.recording.symbols(), &[]);
        Self {
            chaos,
            way,
            alerts,
            wishes,
            promised,
            _feed: feed,
            ingestor,
            processor,
            gateway,
            alert,
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

    /// Alerts are asked for meanwhile.
    fn play(&mut self, act: &Act) {
        let (alerts, wishes) = (&self.alerts, self.wishes.by_ref().take(ALERTS_AN_ACT));
        let wishes: Vec<_> = wishes.collect();
        let promised = thread::scope(|scope| {
            let asking = scope.spawn(move || alerts.create(wishes));
            match act {
                Act::Kill { victims, dead } => {
                    let Self { chaos, way, alert, ingestor, processor, gateway, .. } = self;
                    let mut dying =
                        Dying { chaos, way, alerts, alert, ingestor, processor, gateway };
                    victims.iter().for_each(|victim| dying.kill(*victim));
                    thread::sleep(*dead);
                    victims.iter().for_each(|victim| dying.restart(*victim));
                }
                Act::Freeze { is_second_killed } => {
                    freeze(alerts, &mut self.alert, *is_second_killed)
                }
            }
            asking.join().expect("no panic while asking")
        });
        self.promised.extend(promised);
    }

    /// Lets the replay end, and the ingestor deliver all of it. Returns how many trades there are.
    fn finish(&mut self) -> usize {
        self.until(100);
        assert_eq!(self.ingestor.terminate(), Exit::Code(0), "the ingestor delivers what it has");
        self.way.logged().len()
    }

    /// How many alerts there are, and how many have fired.
    fn judge(&mut self) -> (usize, usize) {
        let fired = self.alerts.check("after the round");
        self.alerts.check_durable(&self.promised, "after the round");
        self.way.check_redis("after the round");
        self.way.check_prices("after the round");
        for program in [&mut self.alert, &mut self.processor, &mut self.gateway] {
            assert!(program.is_alive(), "whoever lives at the end never ended by itself");
        }
        (self.promised.len(), fired)
    }
}

/// Who can be killed.
struct Dying<'a> {
    chaos: &'a mut Chaos,
    way: &'a mut Pipeline,
    alerts: &'a Alerts,
    alert: &'a mut Program,
    ingestor: &'a mut Program,
    processor: &'a mut Program,
    gateway: &'a mut Program,
}

impl Dying<'_> {
    fn kill(&mut self, victim: Victim) {
        match victim {
            Victim::Kafka => self.chaos.kafka.kill9(),
            Victim::Postgresql => self.chaos.postgresql.kill9(),
            Victim::Redis => self.way.redis().kill9(),
            Victim::Alert => self.alert.kill9(),
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
            Victim::Alert => *self.alert = self.alerts.service(),
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
}

/// Stops the alert service in its tracks until a second one has all its partitions, then lets it
/// go on with what it thinks it has.
fn freeze(alerts: &Alerts, alert: &mut Program, is_second_killed: bool) {
    let mut second = alerts.second_service();
    second.wait_ready();
    alert.freeze();
    eventually(PATIENCE, "the second has every partition", || {
        second.series("gostocks_consumer_lag_records") == PARTITIONS
    });
    alert.thaw();
    if is_second_killed {
        second.kill9();
    } else {
        assert_eq!(second.terminate(), Exit::Code(0));
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
