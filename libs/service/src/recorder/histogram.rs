use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts by bucket, and the sum. Recording neither locks nor allocates.
#[derive(Debug)]
pub(super) struct Histogram {
    /// Upper bounds, ascending; a last bucket without a bound follows.
    bounds: Vec<f64>,
    counts: Vec<AtomicU64>,
    /// The bits of an `f64`.
    sum: AtomicU64,
}

impl Histogram {
    pub(super) fn new(bounds: Vec<f64>) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    pub(super) fn render(&self, text: &mut String, name: &str, labels: &str) -> std::fmt::Result {
        let comma = if labels.is_empty() { "" } else { "," };
        let braced = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let mut total = 0;
        for (index, count) in self.counts.iter().enumerate() {
            // The count is the sum of the buckets as read, so that it never disagrees with them.
            total += count.load(Ordering::Relaxed);
            write!(text, "{name}_bucket{{{labels}{comma}le=\"")?;
            match self.bounds.get(index) {
                Some(bound) => write!(text, "{bound}")?,
                None => text.write_str("+Inf")?,
            }
            writeln!(text, "\"}} {total}")?;
        }
        let sum = f64::from_bits(self.sum.load(Ordering::Relaxed));
        writeln!(text, "{name}_sum{braced} {sum}\n{name}_count{braced} {total}")
    }
}

impl metrics::HistogramFn for Histogram {
    fn record(&self, value: f64) {
        self.record_many(value, 1);
    }

    fn record_many(&self, value: f64, count: usize) {
        // A NaN would poison the sum for good.
        if value.is_nan() || count == 0 {
            return;
        }
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(count as u64, Ordering::Relaxed);
        let add = |bits| Some((f64::from_bits(bits) + value * count as f64).to_bits());
        // The closure always gives a value, so the update cannot fail.
        let _ = self.sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }
}
