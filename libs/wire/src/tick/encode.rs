use market::Trade;

use super::protobuf::{BYTES, FIXED64, Reader, VARINT, key, put_varint};

/// Appends the record of one trade to `out`.
///
/// `symbol` is normalized. As proto3 does, leaves out what is zero.
#[inline]
pub fn encode<'c>(
    symbol: &str,
    trade: &Trade,
    conditions: impl IntoIterator<Item = &'c str>,
    out: &mut Vec<u8>,
) {
    let bytes = conditions.into_iter().map(str::as_bytes);
    encode_with(symbol, trade, bytes, out);
}

#[inline]
pub(crate) fn encode_with<'c>(
    symbol: &str,
    trade: &Trade,
    conditions: impl Iterator<Item = &'c [u8]>,
    out: &mut Vec<u8>,
) {
    // Enough for all but conditions, so that what follows finds room.
    out.reserve(symbol.len() + 48);
    put_bytes(1, symbol.as_bytes(), out);
    put_fixed64(2, trade.price.get().to_le_bytes(), out);
    out.push(key(3, VARINT));
    put_varint(out, trade.timestamp.cast_unsigned());
    if trade.volume.get() != 0.0 {
        put_fixed64(4, trade.volume.get().to_le_bytes(), out);
    }
    for condition in conditions {
        put_bytes(5, condition, out);
    }
    if trade.received_at != 0 {
        put_fixed64(6, trade.received_at.to_le_bytes(), out);
    }
}

/// Of one trade, as a column has them: each with its key and its length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conditions<'a> {
    pub(crate) count: u32,
    pub(crate) encoded: &'a [u8],
}

impl<'a> Conditions<'a> {
    /// Appends them to `out`. Returns how many they are.
    #[inline]
    pub(crate) fn encode<'c>(
        conditions: impl IntoIterator<Item = &'c str>,
        out: &mut Vec<u8>,
    ) -> u32 {
        let mut count = 0;
        for condition in conditions {
            put_bytes(12, condition.as_bytes(), out);
            count += 1;
        }
        count
    }

    pub(crate) fn texts(self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = Reader::new(self.encoded);
        std::iter::from_fn(move || rest.passes(key(12, BYTES)).then(|| rest.bytes().ok()).flatten())
    }
}

/// The columns of a record of several trades, filled trade by trade, in reused buffers.
#[derive(Debug, Default)]
pub(crate) struct ColumnsBuffer {
    prices: Vec<[u8; 8]>,
    timestamps: Vec<[u8; 8]>,
    volumes: Vec<[u8; 8]>,
    received_ats: Vec<[u8; 8]>,
    condition_counts: Vec<u8>,
    /// Already encoded, keys included.
    condition_values: Vec<u8>,
}

impl ColumnsBuffer {
    pub(crate) fn clear(&mut self) {
        self.prices.clear();
        self.timestamps.clear();
        self.volumes.clear();
        self.received_ats.clear();
        self.condition_counts.clear();
        self.condition_values.clear();
    }

    #[inline]
    pub(crate) fn push(&mut self, trade: &Trade, conditions: Conditions<'_>) {
        self.prices.push(trade.price.get().to_le_bytes());
        self.timestamps.push(trade.timestamp.to_le_bytes());
        self.volumes.push(trade.volume.get().to_le_bytes());
        self.received_ats.push(trade.received_at.to_le_bytes());
        put_varint(&mut self.condition_counts, conditions.count.into());
        if conditions.count > 0 {
            self.condition_values.extend_from_slice(conditions.encoded);
        }
    }

    /// Appends the columns to a record, behind the fields of its last trade.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(7, self.prices.as_flattened(), out);
        put_bytes(8, self.timestamps.as_flattened(), out);
        put_bytes(9, self.volumes.as_flattened(), out);
        put_bytes(10, self.received_ats.as_flattened(), out);
        if !self.condition_values.is_empty() {
            put_bytes(11, &self.condition_counts, out);
            out.extend_from_slice(&self.condition_values);
        }
    }
}

#[inline]
fn put_bytes(field: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(key(field, BYTES));
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[inline]
fn put_fixed64(field: u8, value: [u8; 8], out: &mut Vec<u8>) {
    out.push(key(field, FIXED64));
    out.extend_from_slice(&value);
}
