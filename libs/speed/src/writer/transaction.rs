//! What a call of the function would do, as plain commands: a call costs Redis more, since every word
//! of it goes through Lua.
//!
//! ```text
//!  WATCH presence, EXISTS presence ──there──▶ MULTI, commands, EXEC, WATCH, EXISTS ─▶ …
//!                                                       └── nothing done: the call instead
//! ```
//! Only for a writer that nobody disputes: its presence says that its claims hold, and where it has
//! gone since it was watched, Redis executes nothing of the transaction. But what one of its commands
//! cannot do, a transaction does not stop at (both as
//! <https://redis.io/docs/latest/develop/using-commands/transactions/> has it).

use redis::{Cmd, ErrorKind, Pipeline, RedisResult, ServerErrorKind, Value};

use super::write::unexpected;
use crate::link::Link;

#[derive(Debug)]
pub(super) struct Transaction {
    pipeline: Pipeline,
    /// The log that is followed, as the first command asks.
    log: Vec<u8>,
    /// Which of its commands write a symbol's price, all fields of which are there already.
    prices: Vec<usize>,
}

/// What has become of a transaction. But for the first, nothing of it was done.
#[derive(Debug)]
pub(super) enum Outcome {
    /// And whether the presence is there and watched.
    Done { is_watched: bool },
    /// The presence had gone.
    Overtaken,
    /// Redis would not take one of the commands, or the end: for want of memory or of a right.
    Refused,
}

impl Transaction {
    /// `None` where the call does what takes a function.
    pub(super) fn of(call: &Cmd, presence: &str) -> Option<Self> {
        let words: Vec<&[u8]> = call
            .args_iter()
            .map(|word| match word {
                redis::Arg::Simple(word) => Some(word),
                _ => None,
            })
            .collect::<Option<_>>()?;
        let keys = 3 + number(words.get(2)?)?;
        let mut call = Words { keys: words.get(3..keys)?.iter(), args: words.get(keys..)?.iter() };
        let mut commands = Commands { pipeline: Pipeline::new(), count: 0, prices: Vec::new() };
        commands.pipeline.cmd("MULTI");
        let log = commands.batch(&mut call)?.to_vec();
        let Commands { mut pipeline, prices, .. } = commands;
        pipeline.cmd("EXEC");
        pipeline.cmd("WATCH").arg(presence);
        pipeline.cmd("EXISTS").arg(presence);
        Some(Self { pipeline, log, prices })
    }

    pub(super) async fn run(&self, link: &Link) -> RedisResult<Outcome> {
        let replies = link.replies(&self.pipeline, self.pipeline.len() - 3, 3).await?;
        let [done, watched, is_there]: [Value; 3] = replies
            .try_into()
            .map_err(|_| unexpected("a transaction has another number of replies"))?;
        watched.extract_error()?;
        let is_there = redis::from_redis_value(is_there.extract_error()?)?;
        let replies = match done.extract_error() {
            Ok(Value::Array(replies)) => replies,
            Ok(_) => return Ok(Outcome::Overtaken),
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::ExecAbort) => {
                return Ok(Outcome::Refused);
            }
            Err(error) => return Err(error),
        };
        // Whoever deleted the log's key, or a price, may have deleted more. (The price is there again.)
        match replies.first() {
            Some(Value::BulkString(log)) if *log == self.log => {}
            Some(Value::BulkString(_)) => {
                return Err(unexpected("Redis follows another log than the writer"));
            }
            _ => return Err(unexpected("Redis has lost what it held")),
        }
        let is_as_known = |command: &usize| replies.get(*command) == Some(&Value::Int(0));
        if !self.prices.iter().all(is_as_known) {
            return Err(unexpected("Redis has lost what it held"));
        }
        Ok(Outcome::Done { is_watched: is_there })
    }
}

/// The keys and the arguments of a call, in their order.
struct Words<'a> {
    keys: std::slice::Iter<'a, &'a [u8]>,
    args: std::slice::Iter<'a, &'a [u8]>,
}

impl<'a> Words<'a> {
    fn key(&mut self) -> Option<&'a [u8]> {
        self.keys.next().copied()
    }

    fn next(&mut self) -> Option<&'a [u8]> {
        self.args.next().copied()
    }

    fn number(&mut self) -> Option<usize> {
        number(self.args.next()?)
    }

    fn take(&mut self, count: usize) -> Option<&'a [&'a [u8]]> {
        let (taken, rest) = self.args.as_slice().split_at_checked(count)?;
        self.args = rest.iter();
        Some(taken)
    }
}

fn number(word: &&[u8]) -> Option<usize> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// As the function of the same name in gostocks.lua, for a writer whose claims hold.
struct Commands {
    pipeline: Pipeline,
    count: usize,
    prices: Vec<usize>,
}

impl Commands {
    fn add(&mut self, words: &[&[u8]]) {
        self.add_with(words, &[]);
    }

    fn add_with(&mut self, words: &[&[u8]], more: &[&[u8]]) {
        let bytes = words.iter().chain(more).map(|word| word.len()).sum();
        let mut command = Cmd::with_capacity(words.len() + more.len(), bytes);
        words.iter().chain(more).for_each(|word| {
            command.arg(word);
        });
        self.pipeline.add_command(command);
        self.count += 1;
    }

    /// Returns the log.
    fn batch<'a>(&mut self, call: &mut Words<'a>) -> Option<&'a [u8]> {
        let (log_key, _presence) = (call.key()?, call.key()?);
        let (log, partitions) = (call.next()?, call.number()?);
        self.add(&[b"HGET", log_key, b"id"]);
        let (symbols, streams, is_claimed) = (call.number()?, call.number()?, call.next()?);
        if is_claimed != b"1" {
            return None;
        }
        let mut places = Vec::new();
        for _ in 0..partitions {
            let [partition, told, now, _claim, is_new] = call.take(5)? else { return None };
            if !is_new.is_empty() {
                return None;
            }
            // Both of fixed width.
            if now > told {
                places.push([b"partition.", *partition].concat());
                places.push(now.to_vec());
            }
        }
        (0..symbols).try_for_each(|_| self.symbol(call))?;
        (0..streams).try_for_each(|_| self.stream(log, call))?;
        if !places.is_empty() {
            let places: Vec<&[u8]> = places.iter().map(Vec::as_slice).collect();
            self.add_with(&[b"HSET", log_key], &places);
        }
        Some(log)
    }

    fn symbol(&mut self, call: &mut Words<'_>) -> Option<()> {
        let (price, ring) = (call.key()?, call.key()?);
        let [position, base, fields @ ..] = call.take(9)? else { return None };
        if base.is_empty() {
            return None;
        }
        match call.next()? {
            b"" => self.piece(ring, call)?,
            forgets => self.changes(ring, forgets == b"1", call)?,
        }
        let [last, time, volume, received_at, stamp, day, candles] = fields else { return None };
        self.prices.push(self.count);
        self.add(&[
            b"HSET",
            price,
            b"price",
            last,
            b"timestamp",
            time,
            b"volume",
            volume,
            b"received_at",
            received_at,
            b"price_position",
            stamp,
            b"day",
            day,
            b"candles",
            candles,
            b"position",
            position,
        ]);
        Some(())
    }

    fn piece(&mut self, ring: &[u8], call: &mut Words<'_>) -> Option<()> {
        let [at, piece] = call.take(2)? else { return None };
        self.add(&[b"SETRANGE", ring, at, piece]);
        Some(())
    }

    fn changes(&mut self, ring: &[u8], forgets: bool, call: &mut Words<'_>) -> Option<()> {
        if forgets {
            self.add(&[b"DEL", ring]);
        }
        let pieces = call.number()?;
        (0..pieces).try_for_each(|_| self.piece(ring, call))?;
        for _ in 0..call.number()? {
            let key = call.key()?;
            let (words, expired, gone) = (call.number()?, call.number()?, call.next()?);
            match gone {
                b"" => {}
                b"*" => self.add(&[b"UNLINK", key]),
                // To find which those are takes a function.
                _ => return None,
            }
            let (candles, expired) = (call.take(words)?, call.take(expired)?);
            if !candles.is_empty() {
                self.add_with(&[b"HSET", key], candles);
            }
            if !expired.is_empty() {
                self.add_with(&[b"HDEL", key], expired);
            }
        }
        Some(())
    }

    fn stream(&mut self, log: &[u8], call: &mut Words<'_>) -> Option<()> {
        let (stream, end) = (call.key()?, call.key()?);
        let (known, length, minimum) = (call.next()?, call.next()?, call.next()?);
        if known.is_empty() {
            return None;
        }
        let mut after = known;
        for _ in 0..call.number()? {
            let [_first, last, id, trades, bytes] = call.take(5)? else { return None };
            self.add(&[
                b"XADD", stream, b"MAXLEN", b"~", length, id, b"log", log, b"after", after,
                b"trades", trades, b"batch", bytes,
            ]);
            after = last;
        }
        self.add(&[b"HSET", end, b"log", log, b"last", after]);
        if !minimum.is_empty() {
            self.add(&[b"XTRIM", stream, b"MINID", minimum]);
        }
        Some(())
    }
}
