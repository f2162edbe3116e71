//! PostgreSQL's binary COPY format (its documentation, COPY, "Binary Format"): what loads and bulk
//! creation go through, where rows are counted in millions.

use uuid::Uuid;

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
/// Flags, and the length of the header's extension.
const HEADER: usize = SIGNATURE.len() + 8;

/// Rows to be sent.
#[derive(Debug)]
pub(crate) struct RowsOut {
    bytes: Vec<u8>,
    columns: i16,
}

impl RowsOut {
    pub(crate) fn new(columns: i16) -> Self {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend_from_slice(&[0; 8]);
        Self { bytes, columns }
    }

    /// Begins a row; each of its columns is to follow.
    pub(crate) fn row(&mut self) -> &mut Self {
        self.bytes.extend_from_slice(&self.columns.to_be_bytes());
        self
    }

    pub(crate) fn field(&mut self, field: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(&(field.len() as i32).to_be_bytes());
        self.bytes.extend_from_slice(field);
        self
    }

    pub(crate) fn optional<const N: usize>(&mut self, field: Option<[u8; N]>) -> &mut Self {
        match field {
            Some(field) => self.field(&field),
            None => self.null(),
        }
    }

    pub(crate) fn null(&mut self) -> &mut Self {
        self.bytes.extend_from_slice(&(-1_i32).to_be_bytes());
        self
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&(-1_i16).to_be_bytes());
        self.bytes
    }
}

/// Rows that are received, in pieces that need not end where a row does.
#[derive(Debug, Default)]
pub(crate) struct RowsIn {
    left: Vec<u8>,
    past_header: bool,
    pub(crate) is_over: bool,
}

/// The bytes are no such rows, or not of the expected columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotRows;

impl RowsIn {
    /// Hears the next piece, and gives each row that is whole to `each`.
    pub(crate) fn hear<E: From<NotRows>>(
        &mut self,
        piece: &[u8],
        mut each: impl FnMut(Row<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        // PostgreSQL sends a row at a time: then nothing is copied.
        let mut left = std::mem::take(&mut self.left);
        let mut rest = if left.is_empty() {
            piece
        } else {
            left.extend_from_slice(piece);
            &left
        };
        if !self.past_header {
            let Some((header, rows)) = rest.split_at_checked(HEADER) else {
                self.left = rest.to_vec();
                return Ok(());
            };
            if !header.starts_with(SIGNATURE) || header[SIGNATURE.len()..] != [0; 8] {
                return Err(NotRows.into());
            }
            self.past_header = true;
            rest = rows;
        }
        while let Some((columns, fields)) = rest.split_first_chunk::<2>() {
            let columns = i16::from_be_bytes(*columns);
            if columns < 0 {
                self.is_over = true;
                return Ok(());
            }
            let Some(length) = length_of(columns, fields)? else { break };
            let (row, after) = fields.split_at(length);
            each(Row { columns, fields: row })?;
            rest = after;
        }
        self.left = rest.to_vec();
        Ok(())
    }
}

/// How many bytes so many fields take; `None` where not all are here.
fn length_of(columns: i16, fields: &[u8]) -> Result<Option<usize>, NotRows> {
    let mut at = 0;
    for _ in 0..columns {
        let Some(length) = fields.get(at..).and_then(<[u8]>::first_chunk) else { return Ok(None) };
        let length = i32::from_be_bytes(*length);
        let length = if length == -1 { 0 } else { usize::try_from(length).map_err(|_| NotRows)? };
        at += 4 + length;
        if at > fields.len() {
            return Ok(None);
        }
    }
    Ok(Some(at))
}

/// A row, whose columns are taken in order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    columns: i16,
    fields: &'a [u8],
}

impl<'a> Row<'a> {
    fn next(&mut self) -> Result<Option<&'a [u8]>, NotRows> {
        self.columns = self.columns.checked_sub(1).filter(|left| *left >= 0).ok_or(NotRows)?;
        let (length, rest) = self.fields.split_first_chunk().ok_or(NotRows)?;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            self.fields = rest;
            return Ok(None);
        };
        let (field, rest) = rest.split_at_checked(length).ok_or(NotRows)?;
        self.fields = rest;
        Ok(Some(field))
    }

    pub(crate) fn optional<T: Field<'a>>(&mut self) -> Result<Option<T>, NotRows> {
        self.next()?.map(|field| T::parse(field).ok_or(NotRows)).transpose()
    }

    pub(crate) fn take<T: Field<'a>>(&mut self) -> Result<T, NotRows> {
        self.optional()?.ok_or(NotRows)
    }
}

/// What a column can be.
pub(crate) trait Field<'a>: Sized {
    fn parse(bytes: &'a [u8]) -> Option<Self>;
}

macro_rules! numbers {
    ($($number:ty),*) => {
        $(impl Field<'_> for $number {
            fn parse(bytes: &[u8]) -> Option<Self> {
                Some(Self::from_be_bytes(bytes.try_into().ok()?))
            }
        })*
    };
}

numbers!(i16, i32, i64, f64);

impl Field<'_> for bool {
    fn parse(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }
}

impl<'a> Field<'a> for &'a str {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        std::str::from_utf8(bytes).ok()
    }
}

impl Field<'_> for Uuid {
    fn parse(bytes: &[u8]) -> Option<Self> {
        Self::from_slice(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<u8> {
        let mut rows = RowsOut::new(3);
        for number in 0..20_i64 {
            let number = number * 1_000_000_007;
            rows.row().field(&number.to_be_bytes()).field("A/B ü".as_bytes());
            rows.optional((number % 2 == 0).then(|| 0.5_f64.to_be_bytes()));
        }
        rows.finish()
    }

    /// The numbers of the rows, heard in pieces of some size.
    fn heard(bytes: &[u8], size: usize) -> Result<(Vec<i64>, bool), NotRows> {
        let (mut rows, mut numbers) = (RowsIn::default(), Vec::new());
        for piece in bytes.chunks(size) {
            rows.hear(piece, |mut row| {
                let number: i64 = row.take()?;
                assert_eq!(row.take::<&str>()?, "A/B ü");
                assert_eq!(row.optional::<f64>()?, (number % 2 == 0).then_some(0.5));
                assert_eq!(row.optional::<f64>(), Err(NotRows), "no fourth column");
                numbers.push(number);
                Ok::<_, NotRows>(())
            })?;
        }
        Ok((numbers, rows.is_over))
    }

    #[test]
    fn rows_are_heard_however_they_are_cut() {
        let bytes = rows();
        let expected: Vec<i64> = (0..20).map(|number| number * 1_000_000_007).collect();
        for size in 1..bytes.len() + 1 {
            assert_eq!(heard(&bytes, size), Ok((expected.clone(), true)), "pieces of {size}");
        }
        for length in 0..bytes.len() {
            let (numbers, is_over) = heard(&bytes[..length], 64).expect("a part of it");
            assert!(!is_over && expected.starts_with(&numbers));
        }
    }

    #[test]
    fn what_are_no_rows_is_refused() {
        assert_eq!(heard(b"something else altogether", 64), Err(NotRows));
        let mut bad = rows();
        // The length of the first field.
        bad[HEADER + 2..HEADER + 6].copy_from_slice(&(-2_i32).to_be_bytes());
        assert_eq!(heard(&bad, 64), Err(NotRows));
        bad[HEADER + 2..HEADER + 6].copy_from_slice(&3_i32.to_be_bytes());
        assert_eq!(heard(&bad, 4_096), Err(NotRows));
    }
}
