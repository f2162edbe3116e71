use std::fmt;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, SliceRandom};

/// What is done to the system in a round.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) acts: [Act; 4],
}

#[derive(Debug)]
pub(super) enum Act {
    /// kill -9, all at once, and how long until they are started again.
    Kill { victims: Vec<Victim>, dead: Duration },
    /// Every connection to PostgreSQL ends.
    DropConnections,
    /// An alert instance is stopped (SIGSTOP) until the other one has taken over.
    Freeze { instance: usize, is_heir_killed: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Victim {
    Kafka,
    Postgresql,
    Redis,
    /// One of two.
    Alert(usize),
    Ingestor,
    Processor,
    Gateway,
}

const VICTIMS: [Victim; 8] = [
    // In this order they are started again: servers first.
    Victim::Kafka,
    Victim::Postgresql,
    Victim::Redis,
    Victim::Alert(0),
    Victim::Alert(1),
    Victim::Ingestor,
    Victim::Processor,
    Victim::Gateway,
];

impl Script {
    /// In some order: an alert instance dies, PostgreSQL dies, each alone or with another one;
    /// PostgreSQL's connections are dropped; and any two die or an alert instance freezes.
    pub(super) fn write(random: &mut SmallRng) -> Self {
        let instance = random.random_range(0..2);
        let last = match random.random_bool(0.5) {
            true => Act::Freeze {
                instance: random.random_range(0..2),
                is_heir_killed: random.random_bool(0.5),
            },
            false => {
                let two = VICTIMS.sample(random, 2).copied().collect();
                Act::kill(random, two)
            }
        };
        let mut acts = [
            Act::kill_with(random, Victim::Alert(instance)),
            Act::kill_with(random, Victim::Postgresql),
            Act::DropConnections,
            last,
        ];
        acts.shuffle(random);
        Self { acts }
    }
}

impl Act {
    fn kill_with(random: &mut SmallRng, victim: Victim) -> Self {
        let other = VICTIMS.choose(random).copied().filter(|_| random.random_bool(0.5));
        Self::kill(random, [victim].into_iter().chain(other).collect())
    }

    fn kill(random: &mut SmallRng, chosen: Vec<Victim>) -> Self {
        let victims = VICTIMS.into_iter().filter(|victim| chosen.contains(victim)).collect();
        Self::Kill { victims, dead: Duration::from_millis(random.random_range(0..2_000)) }
    }
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kafka => f.write_str("kafka"),
            Self::Postgresql => f.write_str("postgresql"),
            Self::Redis => f.write_str("redis"),
            Self::Alert(instance) => write!(f, "alert {}", instance + 1),
            Self::Ingestor => f.write_str("ingestor"),
            Self::Processor => f.write_str("processor"),
            Self::Gateway => f.write_str("gateway"),
        }
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, act) in self.acts.iter().enumerate() {
            write!(f, "{}{act}", if number == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill { victims, .. } => {
                for (number, victim) in victims.iter().enumerate() {
                    write!(f, "{}{victim}", if number == 0 { "" } else { " + " })?;
                }
                Ok(())
            }
            Self::DropConnections => f.write_str("connections dropped"),
            Self::Freeze { instance, is_heir_killed } => {
                let heir = if *is_heir_killed { ", its heir killed" } else { "" };
                write!(f, "alert {} frozen{heir}", instance + 1)
            }
        }
    }
}
