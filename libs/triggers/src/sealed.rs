use rkyv::api::high::HighSerializer;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::{Serialize, rancor};
use xxhash_rust::xxh3::xxh3_64;

/// Before the body: the version, four zero bytes, and the xxh3 of the body (little-endian).
pub(crate) const HEADER: usize = 16;

/// The bytes are not what this program has sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SealError {
    Version { found: u32 },
    Damaged(&'static str),
}

/// An image with its version and checksum before it. `about` is how many bytes it will take,
/// roughly: it is written where it stays, and of a large one there should be no second copy.
pub(crate) fn seal(version: u32, about: usize, image: &impl Image) -> Vec<u8> {
    // The image begins at a multiple of its alignment, so its parts lie as they would by themselves.
    let mut bytes = Vec::with_capacity(HEADER + about);
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.resize(HEADER, 0);
    let Ok(mut bytes) = rkyv::api::high::to_bytes_in::<_, rancor::Panic>(image, bytes);
    let checksum = xxh3_64(&bytes[HEADER..]);
    bytes[HEADER - 8..HEADER].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// What can be sealed.
pub(crate) trait Image:
    for<'a> Serialize<HighSerializer<Vec<u8>, ArenaHandle<'a>, rancor::Panic>>
{
}

impl<T> Image for T where
    T: for<'a> Serialize<HighSerializer<Vec<u8>, ArenaHandle<'a>, rancor::Panic>>
{
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
