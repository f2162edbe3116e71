use market::{Price, Sequence};

use crate::Terms;

/// The key of an alert's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlertId(pub i64);

/// Which of an alert's states is meant. The later one is the alert.
///
/// Two numbers, since a program that has found a firing goes on with the next generation before
/// the firing is stored: if somebody changes the row meanwhile, what was found must not be taken
/// for the changed alert's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Raised by every change of what decides, other than firing. At most [`Version::MOST`].
    pub revision: u32,
    /// Raised by every such change, and by every firing of an alert that fires again.
    pub generation: i32,
}

impl Version {
    /// The most revisions of one alert.
    pub const MOST: u32 = (1 << 23) - 1;
}

/// What the evaluation knows of an ACTIVE alert: its row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Armed {
    pub id: AlertId,
    pub version: Version,
    pub terms: Terms,
    /// What it does so far is to be judged from this trade on, as the rest here says that it stood
    /// before.
    pub armed_at: Sequence,
    /// It was judged up to this trade by whoever made the checkpoint that the partition was
    /// restored from; `armed_at` where it was not.
    pub judged_to: Sequence,
    /// It has fired, and cannot again before a price has gone back.
    pub latched: bool,
    /// It sees no trade of an earlier time, Unix milliseconds. `i64::MIN`: it sees all.
    pub asleep_until: i64,
    /// For percents: the price that they count from, where it is known.
    pub reference: Option<Price>,
}

/// An alert and the trade that fired it. Two owners of a partition find the same ones.
///
/// Of expiries the index knows nothing: the trade may be at or after the alert's. Whoever stores
/// firings has to refuse those, as it does those of versions that are no more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Firing {
    pub id: AlertId,
    pub version: Version,
    pub price: Price,
    /// What a percent was counted from.
    pub reference: Option<Price>,
    /// Event time of the trade, Unix milliseconds.
    pub timestamp: i64,
    pub sequence: Sequence,
    /// When the trade arrived at the socket, Unix nanoseconds; 0 where that is not known.
    pub received_at: u64,
}

/// How an alert that has not fired stands from some trade on: its row may be moved there, and
/// fires as before. Who holds the row in an older state, or reads the log from further back, finds
/// the same firings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    pub id: AlertId,
    pub version: Version,
    pub armed_at: Sequence,
    pub latched: bool,
    pub reference: Option<Price>,
}

/// What became of an alert that was made known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Arming {
    /// Every trade from `armed_at` on is or will be seen by it; on some of the recent ones it may
    /// have fired just now.
    Armed,
    /// It has fired, and does not again: on one of the recent trades just now, or when it was
    /// known before.
    Fired,
    /// What it has not been judged by begins before the recent trades, and it is not in the index.
    /// The log must be read again: [`crate::Partition::rewind`] to its `judged_to`.
    Behind,
    /// There are more symbols than a partition can tell apart: it is not in the index.
    TooManySymbols,
}
