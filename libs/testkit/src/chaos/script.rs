use std::fmt;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;

/// What is done to the system in a round.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) acts: [Act; 3],
}

#[derive(Debug)]
pub(super) enum Act {
    /// kill -9, all at once, and how long until they are started again.
    Kill { victims: Vec<Victim>, dead: Duration },
    /// The alert service is stopped (SIGSTOP) until a second one has taken over.
    Freeze { is_second_killed: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Victim {
    Kafka,
    Postgresql,
    Redis,
    Alert,
    Ingestor,
    Processor,
    Gateway,
}

const VICTIMS: [Victim; 7] = [
    // In this order they are started again: servers first.
    Victim::Kafka,
    Victim::Postgresql,
    Victim::Redis,
    Victim::Alert,
    Victim::Ingestor,
    Victim::Processor,
    Victim::Gateway,
];

impl Script {
    /// One dies, then two together, then one again or the alert service freezes.
    pub(super) fn write(random: &mut SmallRng) -> Self {
        let last = match random.random_bool(0.5) {
            true => Act::Freeze { is_second_killed: random.random_bool(0.5) },
            false => Act::kill(random, 1),
        };
        Self { acts: [Act::kill(random, 1), Act::kill(random, 2), last] }
    }
}

impl Act {
    fn kill(random: &mut SmallRng, count: usize) -> Self {
        let chosen: Vec<Victim> = VICTIMS.sample(random, count).copied().collect();
        let victims = VICTIMS.into_iter().filter(|victim| chosen.contains(victim)).collect();
        Self::Kill { victims, dead: Duration::from_millis(random.random_range(0..2_000)) }
    }
}

impl Victim {
    fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Postgresql => "postgresql",
            Self::Redis => "redis",
            Self::Alert => "alert",
            Self::Ingestor => "ingestor",
            Self::Processor => "processor",
            Self::Gateway => "gateway",
        }
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second, third] = &self.acts;
        write!(f, "{first}, {second}, {third}")
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill { victims, .. } => {
                let names: Vec<_> = victims.iter().map(|victim| victim.name()).collect();
                f.write_str(&names.join("+"))
            }
            Self::Freeze { is_second_killed: false } => f.write_str("alert frozen"),
            Self::Freeze { is_second_killed: true } => f.write_str("alert frozen, its heir killed"),
        }
    }
}
