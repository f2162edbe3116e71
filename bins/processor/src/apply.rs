use std::time::Instant;

use broker::DeadLetters;
use follow::{Batch, Known, Places, fail_span, now};
use market::SymbolState;
use service::catalogue;
use speed::{Packed, Sent, SymbolWrite, Writer};
use tracing::Span;

use crate::meters::{Counts, Meters};
use crate::states::{States, Touched};

/// After so many batches, or trades, old candles are dropped from memory.
const BATCHES_TO_COOL: u64 = 256;
const TRADES_TO_COOL: usize = 1_000_000;

/// Folds batches into the symbols' states and writes them: while Redis works on one, the next is
/// folded and prepared.
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
    /// What Redis was sent last, until it is known what became of it. The states are as of then.
    under_way: Option<UnderWay>,
}

struct UnderWay {
    sent: Sent,
    /// The symbols' numbers, in the order of the writes; none where they have a new meaning.
    written: Vec<u32>,
    counts: Counts,
    began: Instant,
    /// The batch's, which lasts as long.
    span: Span,
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
            under_way: None,
        }
    }

    pub(crate) fn know(&mut self, anew: bool, known: &[Known]) {
        if let Some(under_way) = self.under_way.as_mut().filter(|_| anew) {
            under_way.written.clear();
        }
        self.states.know(anew, known);
    }

    pub(crate) fn forget(&mut self, partitions: Option<&[i32]>) {
        self.states.forget(partitions);
        if partitions.is_none() {
            self.under_way = None;
        }
    }

    pub(crate) fn count_failure(&self) {
        self.meters.failed.increment(1);
    }

    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Returns once Redis has answered. May be dropped and called again at any time.
    pub(crate) async fn answered(&mut self) {
        if let Some(under_way) = &mut self.under_way {
            under_way.sent.answered().await;
        }
    }

    /// Once it returns, Redis has been sent the batch, and its dead letters are on their topic.
    /// Returns how far the batch before it is in Redis, where that was not told.
    pub(crate) async fn apply(
        &mut self,
        writer: &mut Writer,
        batch: &Batch,
    ) -> anyhow::Result<Places> {
        self.batch_number += 1;
        self.states.take(batch, self.batch_number, &mut self.touched);
        self.number_places();
        let mut before = Places::new();
        if self.reads_redis(writer, batch) {
            // As of the batch before.
            before = self.settle(writer).await?;
            self.load(writer, batch).await?;
        }
        self.fold(batch);
        self.append(writer, batch).await?;
        let packed = writer.pack();
        let (_, mut writes) = self.writes();
        writer.prepare(&mut writes);
        if self.is_under_way() {
            before = self.settle(writer).await?;
            // Of what was refused.
            if self.touched.iter().any(|touched| !touched.folded) {
                self.load(writer, batch).await?;
                self.fold(batch);
            }
        }
        self.bury(batch).await?;
        self.send(writer, batch, packed).await?;
        self.states.put_back(&mut self.touched);
        self.warm_batches += 1;
        self.warm_trades += batch.trades.len();
        if self.warm_batches >= BATCHES_TO_COOL || self.warm_trades >= TRADES_TO_COOL {
            self.states.cool();
            (self.warm_batches, self.warm_trades) = (0, 0);
        }
        self.meters.symbols.set(self.states.held() as f64);
        Ok(before)
    }

    /// Once it returns, what was sent is in Redis. Returns how far that is.
    pub(crate) async fn settle(&mut self, writer: &mut Writer) -> anyhow::Result<Places> {
        let Some(under_way) = self.under_way.take() else { return Ok(Places::new()) };
        let UnderWay { sent, written, counts, began, span } = under_way;
        let done = writer.settle(sent).await.inspect_err(|error| fail_span(&span, error))?;
        self.meters.write_seconds.record((done.at - began).as_secs_f64());
        self.meters.refused.increment(done.refused.len() as u64);
        self.meters.stream_entries.increment(done.entries);
        self.meters.stream_trades.increment(done.trades);
        self.meters.count(counts, now().saturating_sub(done.at.elapsed().as_nanos() as u64));
        // Another writer is ahead: what it wrote is the truth, to be loaded when next needed.
        for number in done.refused.iter().filter_map(|index| written.get(*index)) {
            self.states.drop(*number);
            let place = self.places.get(*number as usize).map_or(0, |place| *place as usize);
            if let Some(touched) = self.touched.get_mut(place)
                && touched.number == *number
            {
                *touched = Touched::new(*number, None);
            }
        }
        Ok(done.places)
    }

    /// Whether a batch that is about to be folded needs something that Redis has.
    fn reads_redis(&self, writer: &Writer, batch: &Batch) -> bool {
        self.touched.iter().any(|touched| touched.state.is_none())
            || !writer.knows_streams(batch.places.keys().copied())
            || !self.late(batch).is_empty()
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
        let late = self.late(batch);
        self.meters.late.increment(late.len() as u64);
        self.load_some(writer, &late, true).await
    }

    /// Where in `touched` the states are whose old candles a trade changes.
    fn late(&self, batch: &Batch) -> Vec<usize> {
        let mut late = Vec::new();
        for gathered in &batch.trades {
            let index = self.places[gathered.symbol as usize] as usize;
            let state = self.touched[index].state.as_ref().map(|tracked| &tracked.state);
            let is_new = |state: &SymbolState| Some(gathered.sequence) > state.as_of;
            if state.is_some_and(|state| !state.reaches(gathered.trade.timestamp) && is_new(state))
            {
                late.push(index);
            }
        }
        late.sort_unstable();
        late.dedup();
        late
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

    /// Adds the batch's trades to the states that do not have them.
    fn fold(&mut self, batch: &Batch) {
        for gathered in &batch.trades {
            let touched = &mut self.touched[self.places[gathered.symbol as usize] as usize];
            if let Some(tracked) = touched.state.as_mut().filter(|_| !touched.folded) {
                touched.changed |= tracked.state.apply(&gathered.trade, gathered.sequence);
            }
        }
        self.touched.iter_mut().for_each(|touched| touched.folded = true);
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

    /// What is to be written of the batch at hand: the symbols' numbers, and their states.
    fn writes(&mut self) -> (Vec<u32>, Vec<SymbolWrite<'_>>) {
        let (states, touched) = (&self.states, &mut self.touched);
        // What only repeats the past is in Redis already.
        let changed = touched.iter_mut().filter(|touched| touched.changed);
        let writes = changed.filter_map(|touched| {
            let number = touched.number;
            let (symbol, partition) = (states.symbol(number), states.partition(number));
            let tracked = touched.state.as_mut()?;
            Some((number, SymbolWrite { symbol, partition, tracked }))
        });
        writes.unzip()
    }

    async fn send(
        &mut self,
        writer: &mut Writer,
        batch: &Batch,
        packed: Packed,
    ) -> anyhow::Result<()> {
        let (written, mut writes) = self.writes();
        let places: Places = batch.places.iter().map(|(partition, at)| (*partition, *at)).collect();
        let began = Instant::now();
        let sent = writer.send(&mut writes, packed, &places).await?;
        let (counts, span) = (Counts::of(batch), Span::current());
        self.under_way = Some(UnderWay { sent, written, counts, began, span });
        Ok(())
    }
}
