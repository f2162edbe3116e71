use std::hint::black_box;
use std::time::{Duration, Instant};

use serde::Serialize;

/// Past every cache.
const BYTES: usize = 64 << 20;
const TIME: Duration = Duration::from_secs(2);

#[derive(Debug, Serialize)]
pub(super) struct Figures {
    gigabytes_a_second: f64,
}

pub(super) fn run() -> Figures {
    let (from, mut to) = (vec![1_u8; BYTES], vec![0_u8; BYTES]);
    let (began, mut copies) = (Instant::now(), 0);
    while began.elapsed() < TIME {
        to.copy_from_slice(black_box(&from));
        black_box(&mut to);
        copies += 1;
    }
    let bytes = f64::from(copies) * BYTES as f64;
    Figures { gigabytes_a_second: bytes / began.elapsed().as_secs_f64() / 1e9 }
}
