use std::borrow::Cow;
use std::ops::Range;

use market::{Price, Symbol, Trade, Volume};

use super::TickError;
use super::columns::{Columns, Pieces, Row, is_timestamp};
use super::protobuf::{BYTES, FIXED64, Reader, VARINT, WireType, key};

/// Decodes the values of `market_ticks`, one after the other, into views of them.
///
/// Holds only scratch: for what a record does not have in one piece, and for where its
/// conditions are.
#[derive(Debug, Default)]
pub struct Decoder {
    scratch: Scratch,
}

#[derive(Debug, Default)]
struct Scratch {
    symbol: String,
    prices: Vec<u8>,
    timestamps: Vec<u8>,
    volumes: Vec<u8>,
    received_ats: Vec<u8>,
    condition_counts: Vec<u8>,
    /// Where in the record the strings of `conditions` are.
    latest_conditions: Vec<Range<usize>>,
    /// Where in the record the strings of `condition_values` are.
    all_conditions: Vec<Range<usize>>,
    /// The first of `conditions` that is each trade's, and their number at the end. Empty where
    /// the record has none.
    condition_starts: Vec<usize>,
    /// The trade of a record without columns.
    one: Row,
}

/// The trades of one record, borrowed from its bytes. Every value is valid.
#[derive(Clone, Copy, Debug)]
pub struct TickRecord<'a> {
    symbol: &'a str,
    columns: Columns<'a>,
    conditions: Texts<'a>,
    condition_starts: &'a [usize],
}

/// The fields of the message as they stand, last one wins.
#[derive(Default)]
struct Fields<'a> {
    symbol: &'a str,
    price: f64,
    timestamp: i64,
    volume: f64,
    received_at: u64,
    prices: Pieces<'a>,
    timestamps: Pieces<'a>,
    volumes: Pieces<'a>,
    received_ats: Pieces<'a>,
    condition_counts: Pieces<'a>,
}

impl Decoder {
    pub fn new() -> Self {
        Self::default()
    }

    /// Accepts every encoding of the message that a protobuf parser does: fields in any order,
    /// repeated or unknown, columns packed or not and in any number of pieces.
    ///
    /// An error means that the record as a whole is unusable: [`TickError::Encoding`] and
    /// [`TickError::NotUtf8`] where protobuf parsers refuse it too, the others where it parses
    /// but breaks the message's contract (`proto/gostocks/market/v1/tick.proto`).
    #[inline]
    pub fn decode<'a>(&'a mut self, bytes: &'a [u8]) -> Result<TickRecord<'a>, TickError> {
        let mut fields = Fields::default();
        self.scratch.read(bytes, &mut fields)?;
        self.scratch.check(bytes, &fields)
    }
}

impl Scratch {
    #[inline(always)]
    fn read<'a>(&mut self, bytes: &'a [u8], fields: &mut Fields<'a>) -> Result<(), TickError> {
        self.latest_conditions.clear();
        self.all_conditions.clear();
        let mut reader = Reader::new(bytes);
        // Encoders write fields in their order, and a key that is expected costs less than one that
        // may be any.
        if reader.passes(key(1, BYTES)) {
            fields.symbol = text(&mut reader)?;
        }
        if reader.passes(key(2, FIXED64)) {
            fields.price = f64::from_le_bytes(reader.fixed64()?);
        }
        if reader.passes(key(3, VARINT)) {
            // Two's complement in a varint.
            fields.timestamp = reader.varint()?.cast_signed();
        }
        if reader.passes(key(4, FIXED64)) {
            fields.volume = f64::from_le_bytes(reader.fixed64()?);
        }
        while reader.passes(key(5, BYTES)) {
            self.latest_conditions.push(range(bytes, &mut reader)?);
        }
        if reader.passes(key(6, FIXED64)) {
            fields.received_at = u64::from_le_bytes(reader.fixed64()?);
        }
        if reader.passes(key(7, BYTES)) {
            fields.prices = Pieces::of(eights(&mut reader, WireType::Bytes)?);
        }
        if reader.passes(key(8, BYTES)) {
            fields.timestamps = Pieces::of(eights(&mut reader, WireType::Bytes)?);
        }
        if reader.passes(key(9, BYTES)) {
            fields.volumes = Pieces::of(eights(&mut reader, WireType::Bytes)?);
        }
        if reader.passes(key(10, BYTES)) {
            fields.received_ats = Pieces::of(eights(&mut reader, WireType::Bytes)?);
        }
        if reader.passes(key(11, BYTES)) {
            fields.condition_counts = Pieces::of(varints(&mut reader, WireType::Bytes)?);
        }
        while reader.passes(key(12, BYTES)) {
            self.all_conditions.push(range(bytes, &mut reader)?);
        }
        if reader.is_empty() { Ok(()) } else { self.read_on(bytes, reader, fields) }
    }

    /// Reads fields that come in any order, or that nobody knows.
    #[cold]
    fn read_on<'a>(
        &mut self,
        bytes: &'a [u8],
        mut reader: Reader<'a>,
        fields: &mut Fields<'a>,
    ) -> Result<(), TickError> {
        while !reader.is_empty() {
            let key = reader.key()?;
            match (key.field, key.wire_type) {
                (1, WireType::Bytes) => fields.symbol = text(&mut reader)?,
                (2, WireType::Fixed64) => fields.price = f64::from_le_bytes(reader.fixed64()?),
                (3, WireType::Varint) => fields.timestamp = reader.varint()?.cast_signed(),
                (4, WireType::Fixed64) => fields.volume = f64::from_le_bytes(reader.fixed64()?),
                (5, WireType::Bytes) => {
                    self.latest_conditions.push(range(bytes, &mut reader)?);
                }
                (6, WireType::Fixed64) => {
                    fields.received_at = u64::from_le_bytes(reader.fixed64()?);
                }
                (7, wire_type) => {
                    fields.prices.add(eights(&mut reader, wire_type)?, &mut self.prices);
                }
                (8, wire_type) => {
                    fields.timestamps.add(eights(&mut reader, wire_type)?, &mut self.timestamps);
                }
                (9, wire_type) => {
                    fields.volumes.add(eights(&mut reader, wire_type)?, &mut self.volumes);
                }
                (10, wire_type) => {
                    let piece = eights(&mut reader, wire_type)?;
                    fields.received_ats.add(piece, &mut self.received_ats);
                }
                (11, wire_type) => {
                    let piece = varints(&mut reader, wire_type)?;
                    fields.condition_counts.add(piece, &mut self.condition_counts);
                }
                (12, WireType::Bytes) => {
                    self.all_conditions.push(range(bytes, &mut reader)?);
                }
                (1..=12, _) => return Err(TickError::Encoding),
                _ => reader.skip(key)?,
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn check<'a>(
        &'a mut self,
        bytes: &'a [u8],
        fields: &Fields<'a>,
    ) -> Result<TickRecord<'a>, TickError> {
        let latest_conditions = Texts::new(bytes, &self.latest_conditions)?;
        let all_conditions = Texts::new(bytes, &self.all_conditions)?;
        let last = Trade {
            price: Price::new(fields.price).ok_or(TickError::Price)?,
            volume: Volume::new(fields.volume).ok_or(TickError::Volume)?,
            timestamp: fields.timestamp,
            received_at: fields.received_at,
        };
        if !is_timestamp(last.timestamp) {
            return Err(TickError::Timestamp);
        }
        let symbol = match Symbol::normalize(fields.symbol)? {
            Cow::Borrowed(symbol) => symbol,
            Cow::Owned(symbol) => {
                self.symbol = symbol;
                &self.symbol
            }
        };
        let columns = Columns::new(
            fields.prices.joined(&self.prices),
            fields.timestamps.joined(&self.timestamps),
            fields.volumes.joined(&self.volumes),
            fields.received_ats.joined(&self.received_ats),
        )?;
        start_conditions(
            fields.condition_counts.joined(&self.condition_counts),
            columns.map_or(0, |columns| columns.len()),
            self.all_conditions.len(),
            &mut self.condition_starts,
        )?;
        let (columns, conditions) = match columns {
            Some(columns) => (columns, all_conditions),
            None => {
                self.one = Row::new(&last);
                if !self.latest_conditions.is_empty() {
                    self.condition_starts.clear();
                    self.condition_starts.extend([0, self.latest_conditions.len()]);
                }
                (Columns::of_one(&self.one), latest_conditions)
            }
        };
        let condition_starts = &self.condition_starts;
        Ok(TickRecord { symbol, columns, conditions, condition_starts })
    }
}

#[inline]
fn text<'a>(reader: &mut Reader<'a>) -> Result<&'a str, TickError> {
    // Faster on what is short than the standard library.
    smoothutf8::from_utf8(reader.bytes()?).ok_or(TickError::NotUtf8)
}

/// Where in `bytes`, of which `reader` reads the rest, the string of the next field is.
#[inline]
fn range(bytes: &[u8], reader: &mut Reader<'_>) -> Result<Range<usize>, TickError> {
    let length = reader.bytes()?.len();
    let end = bytes.len() - reader.remaining();
    Ok(end - length..end)
}

/// Strings of a record, in their order, each of which is UTF-8.
#[derive(Clone, Copy, Debug)]
struct Texts<'a> {
    bytes: &'a [u8],
    ranges: &'a [Range<usize>],
    /// From the first of them to the end of the last, where also what is between them is UTF-8: then
    /// it is checked once for all of them.
    span: Option<&'a str>,
}

impl<'a> Texts<'a> {
    #[inline]
    fn new(bytes: &'a [u8], ranges: &'a [Range<usize>]) -> Result<Self, TickError> {
        let (Some(first), Some(last)) = (ranges.first(), ranges.last()) else {
            return Ok(Self { bytes, ranges, span: None });
        };
        let from = first.start;
        let span = smoothutf8::from_utf8(&bytes[from..last.end]).filter(|span| {
            let is_whole = |at: usize| span.is_char_boundary(at - from);
            ranges.iter().all(|range| is_whole(range.start) & is_whole(range.end))
        });
        if span.is_none() {
            let is_text = |range: &Range<usize>| smoothutf8::from_utf8(&bytes[range.clone()]);
            if ranges.iter().any(|range| is_text(range).is_none()) {
                return Err(TickError::NotUtf8);
            }
        }
        Ok(Self { bytes, ranges, span })
    }

    /// Those at `which`; none where there are not so many.
    #[inline]
    fn some(self, which: Range<usize>) -> impl Iterator<Item = &'a str> {
        let from = self.ranges.first().map_or(0, |first| first.start);
        self.ranges.get(which).unwrap_or_default().iter().map(move |range| match self.span {
            Some(span) => &span[range.start - from..range.end - from],
            None => smoothutf8::from_utf8(&self.bytes[range.clone()])
                .expect("every string was checked by decode"),
        })
    }
}

/// One packed run of eight-byte values, or a single one.
#[inline]
fn eights<'a>(reader: &mut Reader<'a>, wire_type: WireType) -> Result<&'a [u8], TickError> {
    let piece = match wire_type {
        WireType::Bytes => reader.bytes()?,
        WireType::Fixed64 => reader.take(8)?,
        _ => return Err(TickError::Encoding),
    };
    if piece.len().is_multiple_of(8) { Ok(piece) } else { Err(TickError::Encoding) }
}

/// One packed run of varints, checked, or a single one.
#[inline]
fn varints<'a>(reader: &mut Reader<'a>, wire_type: WireType) -> Result<&'a [u8], TickError> {
    match wire_type {
        WireType::Varint => reader.varint_bytes(),
        WireType::Bytes => {
            let piece = reader.bytes()?;
            let mut values = Reader::new(piece);
            while !values.is_empty() {
                values.varint()?;
            }
            Ok(piece)
        }
        _ => Err(TickError::Encoding),
    }
}

/// Turns the counts of conditions per trade into where each trade's conditions start.
///
/// `trades` is the length of the columns.
#[inline]
fn start_conditions(
    counts: &[u8],
    trades: usize,
    conditions: usize,
    starts: &mut Vec<usize>,
) -> Result<(), TickError> {
    starts.clear();
    if counts.is_empty() {
        return if conditions == 0 { Ok(()) } else { Err(TickError::ConditionCounts) };
    }
    let mut counts = Reader::new(counts);
    let mut start = 0_usize;
    starts.push(start);
    while !counts.is_empty() {
        if starts.len() > trades {
            return Err(TickError::UnequalColumns);
        }
        // A uint32 is the low half of its varint.
        let count = counts.varint()? as u32;
        start = start.saturating_add(count as usize);
        starts.push(start);
    }
    if starts.len() <= trades {
        return Err(TickError::UnequalColumns);
    }
    if start != conditions {
        return Err(TickError::ConditionCounts);
    }
    Ok(())
}

impl<'a> TickRecord<'a> {
    /// Normalized: valid, and in upper case whatever the record's spelling.
    #[inline]
    pub fn symbol(&self) -> &'a str {
        self.symbol
    }

    /// How many trades the record carries: 1 to [`super::MAX_TRADES_PER_RECORD`].
    #[allow(clippy::len_without_is_empty)] // A record is never empty.
    #[inline]
    pub fn len(&self) -> u32 {
        self.columns.len() as u32
    }

    /// The trade at `index` in arrival order. Panics where `index` is not below [`Self::len`].
    #[inline]
    pub fn trade(&self, index: u32) -> Trade {
        self.columns.trade(index as usize)
    }

    /// The trades in arrival order.
    #[inline]
    pub fn trades(&self) -> impl ExactSizeIterator<Item = Trade> + DoubleEndedIterator {
        self.columns.trades()
    }

    /// Whether any of the trades has conditions.
    #[inline]
    pub fn has_conditions(&self) -> bool {
        !self.conditions.ranges.is_empty()
    }

    /// The conditions of the trade at `index`, in the feed's order; none where there is no such
    /// trade.
    #[inline]
    pub fn conditions(&self, index: u32) -> impl Iterator<Item = &'a str> {
        let index = index as usize;
        let which = match self.condition_starts.get(index..index.saturating_add(2)) {
            Some(&[start, end]) => start..end,
            _ => 0..0,
        };
        self.conditions.some(which)
    }
}
