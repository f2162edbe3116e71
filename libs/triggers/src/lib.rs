//! Which alerts a trade fires.
//!
//! ```text
//!                    trades of one partition, in the order of the log
//!                                        │
//!        late, or seen before? ── yes ──▶ nothing
//!                                        │
//!   Watch of its symbol: the nearest bound on either side, the next to wake ── not reached ──▶ nothing
//!                                        │
//!   Book of its symbol: ladders, trails, sleepers ──▶ the alerts that it concerns
//!                                        │
//!   Standing of each: fires, or waits for something else ──▶ Firings, Progress
//!                                        ▲
//!   Armed alerts ──▶ ahead of the log: they wait for it
//!                ──▶ a little behind it: judged by the recent trades, then put in the book
//!                ──▶ far behind it: judged by the log, read again from a mark of the past
//! ```
//!
//! Pure: does no I/O, reads no clock and knows no tokio. What fires is a function of the alert's
//! row and the log, and of nothing else: when an alert became known, who evaluates, and how often
//! an owner began anew leave no trace. So two owners of a partition, and one that comes after a
//! crash, find the same firings, and a fence at the store needs only to admit one of them.
//!
//! What fires is said in one module, [`standing`](crate), and in `CONDITIONS.md`, whose table the
//! tests run; everything else is about asking no alert that has nothing to say.
//!
//! What it costs, of n alerts of a symbol:
//!
//! - A trade that concerns none: six comparisons after its symbol's look-up, in one cache line, and
//!   a place in the ring, however many alerts there are.
//! - A trade that concerns some: O(log n) for each. A trailing alert's is amortized, for a pairing
//!   heap may have put off its work.
//! - A range that the price jumps over without entering is moved to its other side, each time: a
//!   trade that fires nothing and yet costs O(log n) for each such range. So is a crossing that the
//!   price passes the other way, but what comes next of it is a firing.
//! - An alert that comes or goes: O(log n) to find its place. Where a chunk of a ladder is split or
//!   joined, the directory of n / 256 chunks is moved up, which happens to one in a hundred; and an
//!   alert whose best price no other has seen moves up the symbol's list of such prices.
//! - One that comes late: as many of the recent trades of its symbol as it has missed.
//!
//! An alert takes 44 to 64 bytes wherever it waits, asleep too; up to 80 while it is ahead of the
//! log, and up to 112 if it trails a best price that it shares with no other.

mod alarms;
mod alert;
mod arming;
mod book;
mod condition;
mod heap;
mod history;
mod ids;
mod ladder;
mod partition;
mod recent;
mod repeats;
mod roster;
mod sealed;
mod side;
mod slot;
mod snapshot;
mod standing;
mod symbols;
mod trail;

pub use alert::{AlertId, Armed, Arming, Firing, Progress, Version};
pub use condition::{Condition, Percent, PriceRange, Repeat, Terms, TermsError};
pub use history::HistoryError;
pub use partition::Partition;
pub use snapshot::{Snapshot, SnapshotError};
pub use symbols::SymbolKey;
