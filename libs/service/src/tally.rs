use std::sync::LazyLock;

use metrics::Histogram;

use crate::catalogue::latency_buckets;

/// Upper bounds of the catalogue's latency histograms, nanoseconds.
static BOUNDS: LazyLock<Vec<u64>> = LazyLock::new(|| {
    latency_buckets().iter().map(|bound| (bound * NANOS).round() as u64).collect()
});

const NANOS: f64 = 1e9;

/// Samples of a latency histogram, added up on the way to it.
///
/// A histogram is shared, so each sample costs two atomic additions and a search for its bucket.
/// Trades of one batch lie in few buckets: added up here first, most of them cost a comparison.
/// The histogram then has every sample in its own bucket, and their sum.
#[derive(Debug)]
pub struct Tally {
    /// By bucket: how many samples, and their sum in nanoseconds.
    buckets: Vec<(usize, u64)>,
    /// The bucket of the last sample.
    last: Bucket,
}

/// Holds what is above the one, up to the other, nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    index: usize,
    above: Option<u64>,
    up_to: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self { buckets: vec![(0, 0); BOUNDS.len() + 1], last: Bucket::at(0) }
    }
}

impl Tally {
    /// `count` samples of that many nanoseconds.
    pub fn add(&mut self, nanos: u64, count: usize) {
        if !self.last.holds(nanos) {
            self.last = Bucket::at(BOUNDS.partition_point(|bound| *bound < nanos));
        }
        let (samples, sum) = &mut self.buckets[self.last.index];
        *samples += count;
        *sum = sum.saturating_add(nanos.saturating_mul(count as u64));
    }

    /// Hands all samples over, and begins anew.
    pub fn hand_over(&mut self, histogram: &Histogram) {
        for (index, (samples, sum)) in self.buckets.iter_mut().enumerate() {
            let (samples, sum) = (std::mem::take(samples), std::mem::take(sum));
            if samples > 0 {
                // The mean of a bucket's samples lies in the bucket, unless it is rounded out of it.
                let Bucket { above, up_to, .. } = Bucket::at(index);
                let least = above.map_or(0.0, |above| (above + 1) as f64);
                let mean = (sum as f64 / samples as f64).clamp(least, up_to as f64);
                histogram.record_many(mean / NANOS, samples);
            }
        }
    }
}

impl Bucket {
    fn at(index: usize) -> Self {
        let above = index.checked_sub(1).map(|below| BOUNDS[below]);
        Self { index, above, up_to: BOUNDS.get(index).copied().unwrap_or(u64::MAX) }
    }

    fn holds(self, nanos: u64) -> bool {
        self.above.is_none_or(|above| above < nanos) && nanos <= self.up_to
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use metrics::HistogramFn;

    use super::*;

    #[derive(Default)]
    struct Kept(Mutex<Vec<(f64, usize)>>);

    impl HistogramFn for Kept {
        fn record(&self, value: f64) {
            self.record_many(value, 1);
        }

        fn record_many(&self, value: f64, count: usize) {
            self.0.lock().expect("no panic").push((value, count));
        }
    }

    #[test]
    fn the_histogram_gets_every_sample_in_its_bucket_and_the_sum() {
        let bounds = latency_buckets();
        let place = |seconds: f64| bounds.partition_point(|bound| *bound < seconds);
        let mut samples = vec![(0, 1), (12_500_000_000, 3), (u64::MAX / 4, 1)];
        // Around each bound, and on it.
        for bound in BOUNDS.iter() {
            samples.extend([(bound - 1, 1), (*bound, 2), (bound + 1, 4)]);
        }
        let kept = Arc::new(Kept::default());
        let histogram = Histogram::from_arc(Arc::clone(&kept));
        let (mut tally, mut expected, mut sum) = (Tally::default(), vec![0; bounds.len() + 1], 0.0);
        for (nanos, count) in &samples {
            tally.add(*nanos, *count);
            expected[place(*nanos as f64 / NANOS)] += count;
            sum += *nanos as f64 / NANOS * *count as f64;
        }
        tally.hand_over(&histogram);
        let handed = std::mem::take(&mut *kept.0.lock().expect("no panic"));
        let mut found = vec![0; bounds.len() + 1];
        for (seconds, count) in &handed {
            found[place(*seconds)] += count;
        }
        assert_eq!(found, expected);
        let handed: f64 = handed.iter().map(|(seconds, count)| seconds * *count as f64).sum();
        assert!((handed / sum - 1.0).abs() < 1e-9, "{handed} {sum}");
        // Nothing is handed over twice.
        tally.hand_over(&histogram);
        assert!(kept.0.lock().expect("no panic").is_empty());
    }
}
