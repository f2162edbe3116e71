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

use market::Gone;
use redis::{Cmd, ErrorKind, Pipeline, RedisResult, ServerErrorKind, Value};

use super::envelope::Envelope;
use super::write::unexpected;
use crate::link::Link;
use crate::log;
use crate::streams::StreamText;
use crate::symbol_text::{Changes, IntervalChanges, Others, SymbolText};

#[derive(Debug)]
pub(super) struct Transaction {
    pipeline: Pipeline,
    /// The log that is followed, as the first command asks.
    log: Vec<u8>,
    symbols: Vec<Symbol>,
}

/// What a text has become.
#[derive(Debug)]
struct Symbol {
    base: String,
    /// `None` where it is the one command before the price's.
    changes: Option<Box<Changes>>,
    /// Which command writes the price, all fields of which are there already.
    price: usize,
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
    /// Expects a part of a batch that nobody disputes (`Writer::is_undisputed`), and texts of which each may be
    /// in a transaction.
    pub(super) fn new(envelope: &Envelope, texts: Vec<SymbolText>) -> Self {
        let mut transaction = Self {
            pipeline: Pipeline::with_capacity(2 * texts.len() + 16),
            log: envelope.log.clone().into_bytes(),
            symbols: Vec::with_capacity(texts.len()),
        };
        transaction.add(&["MULTI"]);
        transaction.add(&["HGET", &envelope.log_key, "id"]);
        texts.into_iter().for_each(|text| transaction.symbol(text));
        envelope.streams.iter().for_each(|stream| transaction.stream(&envelope.log, stream));
        transaction.places(envelope);
        transaction.add(&["EXEC"]);
        transaction.add(&["WATCH", &envelope.presence]);
        transaction.add(&["EXISTS", &envelope.presence]);
        transaction
    }

    /// What it was made of, for a call where it did nothing.
    pub(super) fn into_texts(self) -> Vec<SymbolText> {
        let commands: Vec<&Cmd> = self.pipeline.cmd_iter().collect();
        let text = |Symbol { base, changes, price }| SymbolText {
            base,
            others: match changes {
                Some(changes) => Others::Changes(changes),
                None => Others::Piece(commands[price - 1].clone()),
            },
            price: commands[price].clone(),
        };
        self.symbols.into_iter().map(text).collect()
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
        // Its replies are of the commands after the first.
        let is_as_known = |of: &Symbol| replies.get(of.price - 1) == Some(&Value::Int(0));
        if !self.symbols.iter().all(is_as_known) {
            return Err(unexpected("Redis has lost what it held"));
        }
        Ok(Outcome::Done { is_watched: is_there })
    }

    fn add(&mut self, words: &[&str]) {
        let mut command = Cmd::with_capacity(words.len(), words.iter().map(|it| it.len()).sum());
        command.arg(words);
        self.pipeline.add_command(command);
    }

    // Each as the function does it for a writer whose claims hold (gostocks.lua).

    fn symbol(&mut self, SymbolText { base, others, price }: SymbolText) {
        let changes = match others {
            Others::Piece(piece) => {
                self.pipeline.add_command(piece);
                None
            }
            Others::Changes(changes) => {
                self.changes(&changes);
                Some(changes)
            }
        };
        self.symbols.push(Symbol { base, changes, price: self.pipeline.len() });
        self.pipeline.add_command(price);
    }

    fn changes(&mut self, Changes { recent, is_anew, pieces, intervals }: &Changes) {
        if *is_anew {
            self.add(&["DEL", recent]);
        }
        for (at, piece) in pieces {
            self.pipeline.cmd("SETRANGE").arg(recent).arg(*at).arg(&**piece);
        }
        for IntervalChanges { key, gone, candles, expired } in intervals {
            if *gone == Gone::All {
                self.add(&["UNLINK", key]);
            }
            if !candles.is_empty() {
                self.pipeline.cmd("HSET").arg(key).arg(candles);
            }
            if !expired.is_empty() {
                self.pipeline.cmd("HDEL").arg(key).arg(expired);
            }
        }
    }

    fn stream(&mut self, log: &str, stream: &StreamText) {
        let StreamText { keys: [key, end], known, retain, minimum, entries } = stream;
        let mut after = known;
        for entry in entries {
            let command = self.pipeline.cmd("XADD").arg(key).arg("MAXLEN").arg("~").arg(retain);
            command.arg(&entry.id).arg("log").arg(log).arg("after").arg(after);
            command.arg("trades").arg(entry.trades).arg("batch").arg(&**entry.bytes);
            after = &entry.last;
        }
        self.add(&["HSET", end, "log", log, "last", after]);
        if !minimum.is_empty() {
            self.add(&["XTRIM", key, "MINID", minimum]);
        }
    }

    fn places(&mut self, envelope: &Envelope) {
        let told = envelope.partitions.iter().filter(|it| it.now > it.told);
        let told: Vec<_> =
            told.map(|it| (log::place_field(it.partition), it.now.as_str())).collect();
        if !told.is_empty() {
            self.pipeline.cmd("HSET").arg(&envelope.log_key).arg(told);
        }
    }
}
