use std::sync::LazyLock;

use metrics::Histogram;

use crate::catalogue::latency_buckets;

static BOUNDS: LazyLock<Vec<f64>> = LazyLock::new(latency_buckets);

/// Samples of a latency histogram, added up on the way to it.
///
/// A histogram is shared, so each sample costs two atomic additions and a search for its bucket.
/// Trades of one batch lie in few buckets: added up here first, most of them cost a comparison.
/// The histogram then has every sample in its own bucket, and their exact sum.
#[derive(Debug)]
pub struct Tally {
    /// By bucket of the catalogue's latency histograms: how many samples, and their sum.
    buckets: Vec<(usize, f64)>,
    /// The bucket of the last sample, and what lies in it: above the first, up to the second.
    last: (usize, f64, f64),
}

impl Default for Tally {
    fn default() -> Self {
        let buckets = vec![(0, 0.0); BOUNDS.len() + 1];
        Self { buckets, last: (0, f64::NEG_INFINITY, BOUNDS[0]) }
    }
}

impl Tally {
    /// `count` samples of that many seconds.
    pub fn add(&mut self, seconds: f64, count: usize) {
        let (_, above, up_to) = self.last;
        if !(above < seconds && seconds <= up_to) {
            self.last = place(seconds);
        }
        let (samples, sum) = &mut self.buckets[self.last.0];
        *samples += count;
        *sum += seconds * count as f64;
    }

    /// Hands all samples over, and begins anew.
    pub fn hand_over(&mut self, histogram: &Histogram) {
        for (bucket, (samples, sum)) in self.buckets.iter_mut().enumerate() {
            let (samples, sum) = (std::mem::take(samples), std::mem::take(sum));
            if samples > 0 {
                // The mean of a bucket's samples lies in the bucket, unless it is rounded out of it.
                let (_, above, up_to) = range(bucket);
                let mean = (sum / samples as f64).clamp(above.next_up(), up_to);
                histogram.record_many(mean, samples);
            }
        }
    }
}

fn place(seconds: f64) -> (usize, f64, f64) {
    range(BOUNDS.partition_point(|bound| *bound < seconds))
}

fn range(bucket: usize) -> (usize, f64, f64) {
    let above = bucket.checked_sub(1).map_or(f64::NEG_INFINITY, |below| BOUNDS[below]);
    (bucket, above, BOUNDS.get(bucket).copied().unwrap_or(f64::INFINITY))
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

    fn by_bucket(samples: &[(f64, usize)]) -> Vec<usize> {
        let mut counts = vec![0; BOUNDS.len() + 1];
        for (value, count) in samples {
            counts[place(*value).0] += count;
        }
        counts
    }

    #[test]
    fn the_histogram_gets_every_sample_in_its_bucket_and_the_exact_sum() {
        let mut samples = vec![(0.0, 1), (10e-6, 2), (12.5, 3), (1e9, 1)];
        // Around each bound, and on it.
        for bound in BOUNDS.iter() {
            samples.extend([(bound * 0.999, 1), (*bound, 2), (bound.next_up(), 4)]);
        }
        let kept = Arc::new(Kept::default());
        let histogram = Histogram::from_arc(Arc::clone(&kept));
        let mut tally = Tally::default();
        for (value, count) in &samples {
            tally.add(*value, *count);
        }
        tally.hand_over(&histogram);
        let handed = std::mem::take(&mut *kept.0.lock().expect("no panic"));
        assert_eq!(by_bucket(&handed), by_bucket(&samples));
        let sum = |samples: &[(f64, usize)]| -> f64 {
            samples.iter().map(|(value, count)| value * *count as f64).sum()
        };
        assert!((sum(&handed) / sum(&samples) - 1.0).abs() < 1e-12);
        assert!(handed.len() <= BOUNDS.len() + 1);
        // Nothing is handed over twice.
        tally.hand_over(&histogram);
        assert!(kept.0.lock().expect("no panic").is_empty());
    }
}
