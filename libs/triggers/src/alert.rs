use market::{Price, Sequence};

/// The key of an alert's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlertId(pub i64);

/// What a price must do for an alert to fire. Levels: whichever trade comes next and satisfies
/// one fires it, whatever the price was before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Condition {
    /// At or above.
    Above(Price),
    /// At or below.
    Below(Price),
}

/// What the evaluation knows of an ACTIVE alert.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Armed {
    pub id: AlertId,
    /// Rises with every change of what decides: of two generations the higher is the alert.
    pub generation: i32,
    pub condition: Condition,
    /// It fires only on trades of records at or after this offset: the row's own, or the
    /// checkpoint's next offset for a row that was in the index when the checkpoint was made
    /// (whatever it had to fire on before that, it has).
    pub armed_at: i64,
}

/// An alert and the trade that fired it. Two owners of a partition find the same ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Firing {
    pub id: AlertId,
    pub generation: i32,
    pub price: Price,
    /// Event time of the trade, Unix milliseconds.
    pub timestamp: i64,
    pub sequence: Sequence,
    /// When the trade arrived at the socket, Unix nanoseconds; 0 where that is not known.
    pub received_at: u64,
}

/// What became of an alert that was made known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Arming {
    /// Every trade from `armed_at` on is or will be seen by it.
    Armed,
    /// It has fired: on one of the recent trades just now, or when it was known before.
    Fired,
    /// It was armed too long ago for the recent trades, and is not in the index. The log must be
    /// read again `from` this offset (or from where it begins, if that is later), which lies at
    /// or before `armed_at`: [`crate::Partition::rewind`].
    Behind { from: i64 },
}
