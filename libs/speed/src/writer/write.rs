//! A batch on its way to Redis.
//!
//! ```text
//!  append, append, … ──pack──▶ Packed ──┐
//!  states ──────────prepare──▶ states ──┴─send──▶ Sent ──settle──▶ Written
//! ```
//! While one batch is sent the next may be packed and prepared, but not sent: each says what Redis
//! has by the one before.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Instant;

use futures::future::{MaybeDone, maybe_done};
use market::Place;
use redis::{RedisError, RedisResult};
use tokio::task::JoinHandle;
use tracing::Instrument;

use super::Writer;
use super::envelope::{Envelope, PartitionText};
use super::exchange::{Exchange, Part, SYMBOLS_A_PART, exchange};
use crate::link::Link;
use crate::streams::Append;
use crate::symbol_text::SymbolText;
use crate::tracked::Tracked;
use crate::{keys, log};

/// One symbol's state as of its last trade, to be written.
#[derive(Debug)]
pub struct SymbolWrite<'a> {
    pub symbol: &'a str,
    pub partition: i32,
    pub tracked: &'a mut Tracked,
}

/// What is to be appended to the partitions' streams.
#[derive(Debug)]
pub struct Packed(Vec<Append>);

/// A batch that Redis was told of.
#[derive(Debug)]
pub struct Sent(Way);

#[derive(Debug)]
enum Way {
    /// To a single Redis.
    Called {
        appends: Vec<Append>,
        places: Vec<(i32, Place)>,
        partitions: Partitions,
        answered: MaybeDone<JoinHandle<Answered>>,
    },
    /// To a cluster, where it has arrived.
    Done(Written),
}

type Answered = RedisResult<Exchange>;

/// Whose symbols a batch has, and those whose places it tells.
type Partitions = BTreeMap<i32, Option<Place>>;

/// What became of a batch.
#[derive(Debug)]
pub struct Written {
    /// Indexes of the writes that were refused, because Redis has these symbols as of a newer
    /// position, or that followed what somebody else had written: their states must be loaded anew.
    pub refused: Vec<usize>,
    /// Entries and trades that were appended to streams.
    pub entries: u64,
    pub trades: u64,
    /// How far its partitions are followed; without those whose streams were forgotten meanwhile and
    /// that somebody else goes on with.
    pub places: Vec<(i32, Place)>,
    /// Since when all of it is there.
    pub at: Instant,
}

impl Written {
    pub(super) fn at(at: Instant, places: Vec<(i32, Place)>) -> Self {
        Self { refused: Vec::new(), entries: 0, trades: 0, places, at }
    }

    pub(super) fn count(&mut self, append: &Append) {
        self.entries += append.entries();
        self.trades += append.trades();
    }
}

impl Sent {
    /// Returns once there is an answer. May be dropped and called again at any time.
    pub async fn answered(&mut self) {
        if let Way::Called { answered, .. } = &mut self.0 {
            Pin::new(answered).await;
        }
    }
}

impl Writer {
    /// Writes a batch with what was appended: `pack`, `prepare`, `send` and `settle` in one.
    ///
    /// Errors: as of `settle`.
    pub async fn write(
        &mut self,
        writes: &mut [SymbolWrite<'_>],
        places: &[(i32, Place)],
    ) -> anyhow::Result<Written> {
        let packed = self.pack();
        let sent = self.send(writes, packed, places).await?;
        self.settle(sent).await
    }

    /// Takes what was appended since the last time, to be sent.
    pub fn pack(&mut self) -> Packed {
        Packed(self.streams.pack())
    }

    /// Formats the states for `send`, which formats those that were not. May be called while the
    /// batch before is on its way. Nothing may be counted in a state from here until it is sent; one
    /// that turns out refused is to be dropped and loaded anew.
    pub fn prepare(&mut self, writes: &mut [SymbolWrite<'_>]) {
        for write in writes.iter_mut().filter(|write| write.tracked.text.is_none()) {
            let text = self.pen.text(&self.log.id, &self.state, &self.intervals, write);
            write.tracked.text = Some(Box::new(text));
        }
    }

    /// Sends a batch, what was appended with it, and that its partitions were
    /// followed up to `places`. In this order: symbols, streams, places; so a trade that is in a
    /// stream is in its symbol, and what is before a place is everywhere.
    ///
    /// The batch before it has been settled. On a cluster it has arrived when this returns.
    ///
    /// Errors: as of `settle`.
    pub async fn send(
        &mut self,
        writes: &mut [SymbolWrite<'_>],
        packed: Packed,
        places: &[(i32, Place)],
    ) -> anyhow::Result<Sent> {
        let Packed(appends) = packed;
        self.prepare(writes);
        let way = match &self.link {
            Link::Single(_) => self.call_single(writes, appends, places),
            Link::Cluster(_) => {
                let texts = writes.iter_mut().map(|write| write.tracked.take_text(None));
                let written = self.write_cluster(texts.collect(), appends, places).await;
                Way::Done(written.map_err(|error| self.unavailable(&error))?)
            }
        };
        Ok(Sent(way))
    }

    /// Waits until a batch is in Redis.
    ///
    /// Errors: [`crate::Unavailable`], also where Redis was rebuilt or has lost something meanwhile.
    pub async fn settle(&mut self, sent: Sent) -> anyhow::Result<Written> {
        let written = match sent.0 {
            Way::Done(written) => Ok(written),
            Way::Called { appends, places, partitions, answered } => {
                self.settle_single(appends, places, &partitions, answered).await
            }
        };
        let written = written.map_err(|error| self.unavailable(&error))?;
        self.told(written.places.iter().copied());
        Ok(written)
    }

    fn call_single(
        &mut self,
        writes: &mut [SymbolWrite<'_>],
        mut appends: Vec<Append>,
        places: &[(i32, Place)],
    ) -> Way {
        let partitions = partitions(writes, places);
        let is_claimed = writes.iter().all(|write| {
            let standing = self.claims.standing(write.partition);
            // What Redis does not know is looked for whatever stands.
            let is_new = write.tracked.text.as_deref().is_some_and(SymbolText::is_new);
            standing.is_some() && (is_new || write.tracked.claim == standing)
        });
        let is_undisputed = self.is_undisputed(is_claimed, &partitions, &appends);
        let parts = self.parts(writes, &partitions, &mut appends, [is_claimed, is_undisputed]);
        let link = self.link.clone();
        let calling = async move { exchange(&link, parts, is_undisputed).await };
        let (places, answered) =
            (places.to_vec(), maybe_done(tokio::spawn(calling.in_current_span())));
        Way::Called { appends, places, partitions, answered }
    }

    /// What may go by transactions before what takes calls; the last one has the appends.
    fn parts(
        &mut self,
        writes: &mut [SymbolWrite<'_>],
        partitions: &Partitions,
        appends: &mut [Append],
        [is_claimed, is_undisputed]: [bool; 2],
    ) -> Vec<Part> {
        let may_transact = |index: &usize| {
            let text = writes[*index].tracked.text.as_deref();
            is_undisputed && text.is_some_and(SymbolText::may_transact)
        };
        let (transacted, called): (Vec<usize>, Vec<usize>) =
            (0..writes.len()).partition(may_transact);
        let mut chunks: Vec<&[usize]> = transacted.chunks(SYMBOLS_A_PART).collect();
        chunks.extend(called.chunks(SYMBOLS_A_PART));
        if chunks.is_empty() {
            chunks.push(&[]);
        }
        let (last, mut parts) = (chunks.len() - 1, Vec::with_capacity(chunks.len()));
        for (number, indexes) in chunks.into_iter().enumerate() {
            let is_last = number == last;
            let appends = if is_last { &mut appends[..] } else { &mut [] };
            let envelope = self.envelope(partitions, is_claimed, appends, is_last);
            let texts = indexes.iter().map(|index| self.take_text(&mut writes[*index])).collect();
            parts.push(Part { indexes: indexes.to_vec(), texts, envelope });
        }
        parts
    }

    /// Whether what is stored is what this writer has stored, or has loaded, and will be until its
    /// presence goes.
    fn is_undisputed(&self, is_claimed: bool, partitions: &Partitions, appends: &[Append]) -> bool {
        let stands = |partition: &i32| self.claims.standing(*partition).is_some();
        let is_under = |append: &Append| {
            let claim = self.claims.standing(append.partition);
            claim.is_some_and(|claim| self.streams.is_under(append, claim))
        };
        self.may_transact
            && self.is_watched
            && is_claimed
            && partitions.keys().all(stands)
            && appends.iter().all(is_under)
    }

    async fn settle_single(
        &mut self,
        mut appends: Vec<Append>,
        places: Vec<(i32, Place)>,
        partitions: &Partitions,
        mut answered: MaybeDone<JoinHandle<Answered>>,
    ) -> RedisResult<Written> {
        Pin::new(&mut answered).await;
        let answered = Pin::new(&mut answered).take_output();
        let Exchange { answers, at, is_watched, is_refused } = answered
            .and_then(Result::ok)
            .ok_or_else(|| unexpected("a call was given up before it had an answer"))??;
        self.is_watched = is_watched;
        if is_refused {
            tracing::warn!(
                "Redis refused a transaction and took the same as a call: its user lacks a right, \
                 or memory was short; this connection goes on by calls, which cost Redis more"
            );
            self.may_transact = false;
        }
        let mut written = Written::at(at, places);
        let (mut overtaken, mut lost) = (Vec::new(), Vec::new());
        for (indexes, (refused, overlaps, lost_in_it, is_made)) in answers {
            for at in refused {
                let index = indexes.get(at).copied();
                let no_symbol = || unexpected("a call has refused what it was not told of");
                written.refused.push(index.ok_or_else(no_symbol)?);
            }
            overtaken = overlaps;
            lost.extend(lost_in_it);
            if is_made {
                self.claims.doubt_others(|partition| partitions.contains_key(&partition));
            }
        }
        for (index, partition) in partitions.keys().enumerate() {
            self.claims.answered(*partition, lost.contains(&index));
        }
        loop {
            let mut again = Vec::new();
            for (index, append) in appends.into_iter().enumerate() {
                match overtaken.iter().find(|(at, _)| *at == index) {
                    // What is not appended here is not followed by us.
                    Some(_) if self.streams.is_forgotten(&append) => {
                        written.places.retain(|(partition, _)| *partition != append.partition);
                    }
                    Some((_, end)) => again.push(self.overtaken(append, end)?),
                    None => {
                        self.streams.appended(&append);
                        written.count(&append);
                    }
                }
            }
            if overtaken.is_empty() {
                return Ok(written);
            }
            again.retain(|append| !append.is_empty());
            // It has no symbol, and with no partition but those of its places it says enough.
            let partitions = self::partitions(&[], &written.places);
            let envelope = self.envelope(&partitions, false, &mut again, true);
            let part = Part { indexes: Vec::new(), texts: Vec::new(), envelope };
            let Exchange { mut answers, is_watched, .. } =
                exchange(&self.link, vec![part], false).await?;
            let (_, (_, overlaps, lost, is_made)) =
                answers.pop().ok_or_else(|| unexpected("nothing"))?;
            self.is_watched = is_watched;
            if is_made {
                self.claims.doubt_others(|partition| partitions.contains_key(&partition));
            }
            for partition in lost.iter().filter_map(|index| partitions.keys().nth(*index)) {
                self.claims.answered(*partition, true);
            }
            overtaken = overlaps;
            appends = again;
            written.at = Instant::now();
        }
    }

    /// Makes the claims that are not made, and notes them in `appends`.
    fn envelope(
        &mut self,
        partitions: &Partitions,
        is_claimed: bool,
        appends: &mut [Append],
        is_last: bool,
    ) -> Envelope {
        let partitions = partitions.iter().map(|(partition, place)| {
            let told = self.places.get(partition).copied().map(log::encode_place);
            let now = place.filter(|_| is_last).map(log::encode_place);
            // The first call that names a partition which is not claimed makes the claim.
            let (claim, is_new) = self.claims.make(*partition);
            let claim = self.claims.text(claim);
            let (told, now) = (told.unwrap_or_default(), now.unwrap_or_default());
            PartitionText { partition: *partition, told, now, claim, is_new }
        });
        let partitions = partitions.collect();
        let streams = appends.iter_mut().map(|append| {
            append.claim = self.claims.of(append.partition);
            self.streams.text(append)
        });
        Envelope {
            log_key: keys::log(&self.log.topic),
            log: self.log.id.as_str().to_owned(),
            presence: self.presence.clone(),
            partitions,
            streams: streams.collect(),
            is_claimed,
        }
    }

    /// What was prepared, under the claims: after `envelope`, which makes them.
    fn take_text(&self, write: &mut SymbolWrite<'_>) -> SymbolText {
        write.tracked.take_text(self.claims.of(write.partition))
    }

    pub(super) fn overtaken(&mut self, append: Append, end: &str) -> RedisResult<Append> {
        let no_place = || unexpected("the end of a stream is not what GoStocks writes");
        self.streams.overtaken(append, end).ok_or_else(no_place)
    }
}

fn partitions(writes: &[SymbolWrite<'_>], places: &[(i32, Place)]) -> Partitions {
    let mut partitions: Partitions =
        places.iter().map(|(partition, place)| (*partition, Some(*place))).collect();
    for write in writes {
        partitions.entry(write.partition).or_default();
    }
    partitions
}

pub(super) fn unexpected(text: &'static str) -> RedisError {
    RedisError::from((redis::ErrorKind::UnexpectedReturnType, text))
}
