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
//! tests run; everything else is about asking no alert that has nothing to say. A trade that
//! concerns none costs three comparisons after its symbol's look-up, however many alerts there are;
//! one that concerns some, a logarithm for each; alerts come and go in the logarithm of their
//! number. An alert takes some 60 bytes.

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
