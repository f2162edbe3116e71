use xxhash_rust::xxh3::xxh3_64;

/// Before the body: the version, four zero bytes, and the xxh3 of the body (little-endian).
pub(crate) const HEADER: usize = 16;

/// The bytes are not what this program has sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SealError {
    Version { found: u32 },
    Damaged(&'static str),
}

/// A body with its version and checksum before it.
pub(crate) fn seal(version: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&xxh3_64(body).to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// The body, if it is whole and of this version.
pub(crate) fn open(version: u32, bytes: &[u8]) -> Result<&[u8], SealError> {
    let Some(([v0, v1, v2, v3, _, _, _, _, checksum @ ..], body)) =
        bytes.split_first_chunk::<HEADER>()
    else {
        return Err(SealError::Damaged("it is too short"));
    };
    let found = u32::from_le_bytes([*v0, *v1, *v2, *v3]);
    if found != version {
        return Err(SealError::Version { found });
    }
    if u64::from_le_bytes(*checksum) != xxh3_64(body) {
        return Err(SealError::Damaged("its checksum does not fit"));
    }
    Ok(body)
}
