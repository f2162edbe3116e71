//! Which alerts a trade fires.
//!
//! ```text
//!                    trades of one partition, in the order of the log
//!                                        │
//!        late, or seen before? ── yes ──▶ nothing
//!                                        │
//!   Watch of its symbol: the nearest threshold on either side ── not reached ──▶ nothing
//!                                        │
//!   Ladder: the thresholds of a symbol and side, in order ──▶ those reached ──▶ Firings
//!                                        ▲
//!   Armed alerts ──▶ ahead of the log: they wait for it
//!                ──▶ a little behind it: judged by the recent trades, then put on the ladder
//!                ──▶ far behind it: judged by the log, read again from a mark of the past
//! ```
//!
//! Pure: does no I/O, reads no clock and knows no tokio. What fires is a function of the alert's
//! row and the log, and of nothing else: when an alert became known, who evaluates, and how often
//! an owner began anew leave no trace. So two owners of a partition, and one that comes after a
//! crash, find the same firings, and a fence at the store needs only to admit one of them.
//!
//! A trade that fires nothing costs two comparisons after its symbol's look-up, however many
//! alerts there are; one that fires costs a constant for each; alerts come and go in the logarithm
//! of their number. An alert takes some 50 bytes.

mod alert;
mod arming;
mod history;
mod ladder;
mod level;
mod partition;
mod recent;
mod roster;
mod symbols;

pub use alert::{AlertId, Armed, Arming, Condition, Firing};
pub use history::HistoryError;
pub use partition::Partition;
pub use symbols::SymbolKey;
