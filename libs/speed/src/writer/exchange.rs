//! A batch's exchange with a single Redis, in parts.
//!
//! ```text
//!  parts ──while nobody disputes them──▶ a transaction each, one after the other
//!     └──those that are left──▶ a call each: all but the last at once, then the last
//! ```
//! The last has streams and places, which say that the symbols are there: so it is done when the
//! others have been. What only the function can do is in the last parts.

use std::collections::VecDeque;
use std::time::Instant;

use redis::{Cmd, Pipeline, RedisResult};
use tracing::Instrument;

use super::envelope::Envelope;
use super::transaction::{Outcome, Transaction};
use crate::link::Link;
use crate::span;
use crate::symbol_text::SymbolText;

/// A part keeps Redis from serving anyone else; past this many symbols it would be felt.
pub(super) const SYMBOLS_A_PART: usize = 500;

/// What Redis does at once.
#[derive(Debug)]
pub(super) struct Part {
    /// Which of the batch's writes the texts are.
    pub(super) indexes: Vec<usize>,
    pub(super) texts: Vec<SymbolText>,
    pub(super) envelope: Envelope,
}

#[derive(Debug)]
pub(super) struct Exchange {
    /// What the calls were answered, each with its part's indexes; the last one has the streams.
    pub(super) answers: Vec<(Vec<usize>, Answer)>,
    /// When the last answer came.
    pub(super) at: Instant,
    /// Whether the presence is there and watched.
    pub(super) is_watched: bool,
    /// A transaction was refused, and the call was not.
    pub(super) is_refused: bool,
}

/// Which symbols of a call were refused, where the streams end that somebody else has appended to,
/// to which of the partitions the claim was lost, and whether the presence was made.
pub(super) type Answer = (Vec<usize>, Vec<(usize, String)>, Vec<usize>, bool);

impl Part {
    fn may_transact(&self) -> bool {
        self.texts.iter().all(SymbolText::may_transact)
    }

    fn into_call(self) -> (Vec<usize>, Cmd) {
        (self.indexes, self.envelope.call(&self.texts))
    }
}

/// `is_undisputed`: the presence is watched, and as long as it is there nobody else writes.
pub(super) async fn exchange(
    link: &Link,
    parts: Vec<Part>,
    is_undisputed: bool,
) -> RedisResult<Exchange> {
    let mut done = Exchange {
        answers: Vec::new(),
        at: Instant::now(),
        is_watched: is_undisputed,
        is_refused: false,
    };
    let mut left = VecDeque::from(parts);
    while done.is_watched
        && let Some(part) = left.pop_front_if(|part| part.may_transact())
    {
        let Part { indexes, texts, envelope } = part;
        let transaction = Transaction::new(&envelope, texts);
        let outcome = transaction.run(link).instrument(span::of("EXEC")).await?;
        done.is_watched = matches!(outcome, Outcome::Done { is_watched: true });
        // The call's own error says why, if that is refused as well.
        done.is_refused = matches!(outcome, Outcome::Refused);
        if let Outcome::Done { .. } = outcome {
            done.at = Instant::now();
        } else {
            left.push_front(Part { indexes, texts: transaction.into_texts(), envelope });
        }
    }
    match left.pop_back() {
        None => Ok(done),
        Some(last) => call(link, left, last, done).instrument(span::of("FCALL")).await,
    }
}

/// From the last call on the presence is watched.
async fn call(
    link: &Link,
    first: VecDeque<Part>,
    last: Part,
    before: Exchange,
) -> RedisResult<Exchange> {
    let (mut indexes, first): (Vec<_>, Vec<_>) = first.into_iter().map(Part::into_call).unzip();
    let mut answers = link.all::<Answer>(first).await?;
    let presence = last.envelope.presence.clone();
    let (of_last, last) = last.into_call();
    let mut pipeline = Pipeline::with_capacity(4);
    pipeline.add_command(last);
    pipeline.cmd("UNWATCH").ignore().cmd("WATCH").arg(&presence).ignore();
    pipeline.cmd("EXISTS").arg(&presence);
    let (answer, is_watched): (Answer, bool) = link.pipeline(&pipeline).await?;
    indexes.push(of_last);
    answers.push(answer);
    let answers = indexes.into_iter().zip(answers).collect();
    Ok(Exchange { answers, at: Instant::now(), is_watched, ..before })
}
