use std::time::Instant;

use broker::DeadLetters;
use follow::{Batch, Known, now};
use market::SymbolState;
use service::catalogue;
use speed::{SymbolWrite, Writer};

use crate::meters::Meters;
use crate::states::{States, Touched};

/// After so many batches, or trades, old candles are dropped from memory.
const BATCHES_TO_COOL: u64 = 256;
const TRADES_TO_COOL: usize = 1_000_000;

/// Folds batches into the symbols' states and writes them.
///
/// After an error its states are of no more use: `forget` them, and read the log again from what
/// Redis has.
pub(crate) struct Applier {
    states: States,
    dead: DeadLetters,
    meters: Meters,
    batch_number: u64,
    /// Since old candles were dropped last.
    warm_batches: u64,
    warm_trades: usize,
    touched: Vec<Touched>,
    /// Where in `touched` each symbol number stands, in this batch.
    places: Vec<u32>,
}

impl Applier {
    pub(crate) fn new(dead: DeadLetters) -> Self {
        Self {
            states: States::default(),
            dead,
            meters: Meters::new(),
            batch_number: 0,
            warm_batches: 0,
            warm_trades: 0,
            touched: Vec::new(),
            places: Vec::new(),
        }
    }

    pub(crate) fn know(&mut self, anew: bool, known: &[Known]) {
        self.states.know(anew, known);
    }

    pub(crate) fn forget(&mut self, partitions: Option<&[i32]>) {
        self.states.forget(partitions);
    }

    pub(crate) fn count_failure(&self) {
        self.meters.failed.increment(1);
    }

    /// Once it returns, the batch is in Redis and its dead letters are on their topic.
    pub(crate) async fn apply(&mut self, writer: &mut Writer, batch: &Batch) -> anyhow::Result<()> {
        self.batch_number += 1;
        self.states.take(batch, self.batch_number, &mut self.touched);
        self.number_places();
        self.load(writer, batch).await?;
        self.fold(batch);
        self.append(writer, batch).await?;
        self.bury(batch).await?;
        self.write(writer, batch).await?;
        self.states.put_back(&mut self.touched);
        self.warm_batches += 1;
        self.warm_trades += batch.trades.len();
        if self.warm_batches >= BATCHES_TO_COOL || self.warm_trades >= TRADES_TO_COOL {
            self.states.cool();
            (self.warm_batches, self.warm_trades) = (0, 0);
        }
        self.meters.symbols.set(self.states.held() as f64);
        self.meters.count(batch, now());
        Ok(())
    }

    fn number_places(&mut self) {
        self.places.resize(self.states.len(), 0);
        for (place, touched) in (0..).zip(&self.touched) {
            self.places[touched.number as usize] = place;
        }
    }

    /// Loads the states that are missing, and all of those whose old candles a trade changes.
    async fn load(&mut self, writer: &mut Writer, batch: &Batch) -> anyhow::Result<()> {
        let missing: Vec<usize> =
            (0..self.touched.len()).filter(|index| self.touched[*index].state.is_none()).collect();
        self.load_some(writer, &missing, false).await?;
        let mut late = Vec::new();
        for gathered in &batch.trades {
            let index = self.places[gathered.symbol as usize] as usize;
            let state = self.touched[index].state.as_ref();
            let is_new = |state: &SymbolState| Some(gathered.sequence) > state.as_of;
            if state.is_some_and(|state| !state.reaches(gathered.trade.timestamp) && is_new(state))
            {
                late.push(index);
            }
        }
        late.sort_unstable();
        late.dedup();
        self.meters.late.increment(late.len() as u64);
        self.load_some(writer, &late, true).await
    }

    async fn load_some(
        &mut self,
        writer: &mut Writer,
        indexes: &[usize],
        all: bool,
    ) -> anyhow::Result<()> {
        if indexes.is_empty() {
            return Ok(());
        }
        let symbols: Vec<&str> =
            indexes.iter().map(|index| self.states.symbol(self.touched[*index].number)).collect();
        let loaded = writer.load(&symbols, all).await?;
        for (index, state) in indexes.iter().zip(loaded) {
            self.touched[*index].set(state);
        }
        Ok(())
    }

    fn fold(&mut self, batch: &Batch) {
        for gathered in &batch.trades {
            let touched = &mut self.touched[self.places[gathered.symbol as usize] as usize];
            if let Some(state) = &mut touched.state {
                touched.changed |= state.apply(&gathered.trade, gathered.sequence);
            }
        }
    }

    async fn append(&self, writer: &mut Writer, batch: &Batch) -> anyhow::Result<()> {
        writer.begin_streams(batch.places.keys().copied()).await?;
        for gathered in &batch.trades {
            let (number, symbol) = (gathered.symbol, self.states.symbol(gathered.symbol));
            let partition = self.states.partition(number);
            writer.append(partition, number, symbol, gathered.sequence, &gathered.trade);
        }
        Ok(())
    }

    async fn bury(&self, batch: &Batch) -> anyhow::Result<()> {
        if batch.dead.is_empty() {
            return Ok(());
        }
        let letters: Vec<_> = batch.dead.iter().map(|(letter, _)| letter.clone()).collect();
        self.dead.bury(&letters).await?;
        for (letter, reason) in &batch.dead {
            catalogue::RECORDS_DEAD.with("reason", *reason).counter().increment(1);
            tracing::debug!(
                partition = letter.partition,
                offset = letter.offset,
                reason = letter.reason,
                "dead letter"
            );
        }
        let (first, _) = &batch.dead[0];
        tracing::warn!(
            records = batch.dead.len(),
            partition = first.partition,
            offset = first.offset,
            reason = first.reason,
            "put on the dead-letter topic; the first is named"
        );
        Ok(())
    }

    async fn write(&mut self, writer: &mut Writer, batch: &Batch) -> anyhow::Result<()> {
        let (states, touched) = (&self.states, &mut self.touched);
        // What only repeats the past is in Redis already.
        let changed = |touched: &&mut Touched| touched.changed;
        let mut writes: Vec<SymbolWrite<'_>> = touched
            .iter_mut()
            .filter(changed)
            .filter_map(|touched| {
                let state: &mut SymbolState = touched.state.as_mut()?;
                let symbol = states.symbol(touched.number);
                let partition = states.partition(touched.number);
                Some(SymbolWrite { symbol, partition, base: touched.base, state })
            })
            .collect();
        let places: Vec<_> = batch.places.iter().map(|(partition, at)| (*partition, *at)).collect();
        let began = Instant::now();
        let done = writer.write(&mut writes, &places).await?;
        self.meters.write_seconds.record(began.elapsed().as_secs_f64());
        self.meters.refused.increment(done.refused.len() as u64);
        self.meters.stream_entries.increment(done.entries);
        self.meters.stream_trades.increment(done.trades);
        let written: Vec<usize> = (0..touched.len()).filter(|i| touched[*i].changed).collect();
        for index in done.refused {
            // Another writer is ahead: what it wrote is the truth, to be loaded when next needed.
            touched[written[index]].state = None;
        }
        Ok(())
    }
}
