use super::TickError;

/// Deepest nesting of unknown groups that is skipped, as in prost.
const MAX_GROUP_DEPTH: usize = 100;

/// The key of a field below 16: its number and its wire type.
pub(super) const fn key(field: u8, wire_type: u8) -> u8 {
    field << 3 | wire_type
}

pub(super) const VARINT: u8 = 0;
pub(super) const FIXED64: u8 = 1;
pub(super) const BYTES: u8 = 2;

/// What is left of a message, read field by field.
///
/// Wire format: <https://protobuf.dev/programming-guides/encoding/>.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum WireType {
    Varint,
    Fixed64,
    Bytes,
    GroupStart,
    GroupEnd,
    Fixed32,
}

#[derive(Clone, Copy)]
pub(super) struct Key {
    pub(super) field: u32,
    pub(super) wire_type: WireType,
}

impl<'a> Reader<'a> {
    #[inline]
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// How many bytes are left.
    #[inline]
    pub(super) fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Whether this key is next, which is then behind.
    #[inline]
    pub(super) fn passes(&mut self, key: u8) -> bool {
        match *self.rest {
            [next, ref rest @ ..] if next == key => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    #[inline]
    pub(super) fn key(&mut self) -> Result<Key, TickError> {
        let key = u32::try_from(self.varint()?).map_err(|_| TickError::Encoding)?;
        let wire_type = match key & 7 {
            0 => WireType::Varint,
            1 => WireType::Fixed64,
            2 => WireType::Bytes,
            3 => WireType::GroupStart,
            4 => WireType::GroupEnd,
            5 => WireType::Fixed32,
            _ => return Err(TickError::Encoding),
        };
        let field = key >> 3;
        if field == 0 {
            return Err(TickError::Encoding);
        }
        Ok(Key { field, wire_type })
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, TickError> {
        match *self.rest {
            [byte, ref rest @ ..] if byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(),
        }
    }

    #[inline]
    fn long_varint(&mut self) -> Result<u64, TickError> {
        const HIGHS: u64 = 0x8080_8080_8080_8080;
        if let Some((eight, _)) = self.rest.split_first_chunk() {
            let word = u64::from_le_bytes(*eight);
            let bits = (!word & HIGHS).trailing_zeros() + 1;
            // The byte that ends it is among the eight.
            if let Some(rest) = self.rest.get(bits as usize / 8..).filter(|_| bits <= 64) {
                self.rest = rest;
                let sevens = word << (64 - bits) >> (64 - bits) & !HIGHS;
                let pairs = sevens & 0x007f_007f_007f_007f | sevens >> 1 & 0x3f80_3f80_3f80_3f80;
                let fours = pairs & 0x0000_3fff_0000_3fff | pairs >> 2 & 0x0fff_c000_0fff_c000;
                return Ok(fours & 0x0fff_ffff | fours >> 4 & 0x00ff_ffff_f000_0000);
            }
        }
        self.longest_varint()
    }

    /// Byte by byte.
    #[cold]
    fn longest_varint(&mut self) -> Result<u64, TickError> {
        let mut value = 0;
        let mut rest = self.rest;
        let mut shift = 0;
        while let [byte, after @ ..] = rest {
            rest = after;
            value |= u64::from(byte & 0x7f) << shift;
            if *byte < 0x80 {
                // The tenth byte has room for the topmost bit alone.
                if shift == 63 && *byte > 1 {
                    break;
                }
                self.rest = rest;
                return Ok(value);
            }
            if shift == 63 {
                break;
            }
            shift += 7;
        }
        Err(TickError::Encoding)
    }

    /// A varint as it stands, for a column that is decoded later.
    #[inline]
    pub(super) fn varint_bytes(&mut self) -> Result<&'a [u8], TickError> {
        let before = self.rest;
        self.varint()?;
        Ok(&before[..before.len() - self.rest.len()])
    }

    #[inline]
    pub(super) fn fixed64(&mut self) -> Result<[u8; 8], TickError> {
        let (value, rest) = self.rest.split_first_chunk().ok_or(TickError::Encoding)?;
        self.rest = rest;
        Ok(*value)
    }

    /// A length and that many bytes.
    #[inline]
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], TickError> {
        let length = usize::try_from(self.varint()?).map_err(|_| TickError::Encoding)?;
        self.take(length)
    }

    #[inline]
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], TickError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(TickError::Encoding)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Passes over the value of an unknown field.
    #[cold]
    pub(super) fn skip(&mut self, key: Key) -> Result<(), TickError> {
        let mut open = [0; MAX_GROUP_DEPTH];
        let mut depth = 0;
        let mut key = key;
        loop {
            match key.wire_type {
                WireType::GroupEnd => {
                    if depth == 0 || open[depth - 1] != key.field {
                        return Err(TickError::Encoding);
                    }
                    depth -= 1;
                }
                _ if depth == MAX_GROUP_DEPTH => return Err(TickError::Encoding),
                WireType::GroupStart => {
                    open[depth] = key.field;
                    depth += 1;
                }
                WireType::Varint => drop(self.varint()?),
                WireType::Fixed64 => drop(self.take(8)?),
                WireType::Fixed32 => drop(self.take(4)?),
                WireType::Bytes => drop(self.bytes()?),
            }
            if depth == 0 {
                return Ok(());
            }
            key = self.key()?;
        }
    }
}

#[inline]
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    if value < 0x80 {
        return out.push(value as u8);
    }
    let mut bytes = [0; 10];
    let mut length = 0;
    while value >= 0x80 {
        bytes[length] = value as u8 | 0x80;
        value >>= 7;
        length += 1;
    }
    bytes[length] = value as u8;
    out.extend_from_slice(&bytes[..=length]);
}
