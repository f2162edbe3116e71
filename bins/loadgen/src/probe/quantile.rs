//! Percentiles, of samples and of buckets.

/// The smallest sample that at least a part `q` of all are no larger than. `samples` ascends and
/// is not empty.
pub(crate) fn of_samples(samples: &[f64], q: f64) -> f64 {
    let rank = (q * samples.len() as f64).ceil() as usize;
    samples[rank.clamp(1, samples.len()) - 1]
}

/// Prometheus's `histogram_quantile` of classic buckets: linear within the bucket that holds the
/// rank, and the highest finite bound for what lies beyond it
/// (<https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile>).
///
/// `buckets` are upper bounds, ascending, the last infinite, each with the count of all samples up
/// to it. `None` where there is no sample.
pub(crate) fn of_buckets(buckets: &[(f64, f64)], q: f64) -> Option<f64> {
    let (_, total) = buckets.last().filter(|(_, total)| *total > 0.0)?;
    let rank = q * total;
    let at = buckets.iter().position(|(_, count)| *count >= rank)?;
    let (from, before) = match at.checked_sub(1) {
        Some(at) => buckets[at],
        None => (0.0, 0.0),
    };
    let (to, count) = buckets[at];
    if to.is_infinite() {
        return Some(from);
    }
    Some(from + (to - from) * (rank - before) / (count - before))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFINITY: f64 = f64::INFINITY;

    #[track_caller]
    fn check(buckets: &[(f64, f64)], q: f64, expected: Option<f64>) {
        match (of_buckets(buckets, q), expected) {
            (Some(found), Some(expected)) => assert!((found - expected).abs() < 1e-12, "{found}"),
            (found, expected) => assert_eq!(found, expected),
        }
    }

    #[test]
    fn buckets_are_read_as_prometheus_reads_them() {
        // 10 samples up to 1, 20 between 1 and 2, 10 between 2 and 4.
        let buckets = [(1.0, 10.0), (2.0, 30.0), (4.0, 40.0), (INFINITY, 40.0)];
        // Rank 20 is the tenth of the twenty in the second bucket.
        check(&buckets, 0.5, Some(1.5));
        // Rank 30 is its end.
        check(&buckets, 0.75, Some(2.0));
        // Rank 39.6 is 9.6 of the ten in the third.
        check(&buckets, 0.99, Some(3.92));
        // The first bucket begins at nothing.
        check(&buckets, 0.125, Some(0.5));
    }

    #[test]
    fn what_lies_beyond_the_last_bound_is_told_as_that_bound() {
        check(&[(1.0, 1.0), (2.0, 2.0), (INFINITY, 10.0)], 0.99, Some(2.0));
    }

    #[test]
    fn empty_buckets_between_are_passed() {
        check(&[(1.0, 1.0), (2.0, 1.0), (4.0, 2.0), (INFINITY, 2.0)], 0.75, Some(3.0));
    }

    #[test]
    fn nothing_has_no_percentiles() {
        check(&[(1.0, 0.0), (INFINITY, 0.0)], 0.5, None);
        check(&[], 0.5, None);
    }

    #[test]
    fn a_percentile_of_samples_is_one_of_them() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(of_samples(&hundred, 0.5), 50.0);
        assert_eq!(of_samples(&hundred, 0.99), 99.0);
        assert_eq!(of_samples(&hundred, 1.0), 100.0);
        assert_eq!(of_samples(&[7.0], 0.5), 7.0);
        assert_eq!(of_samples(&[1.0, 2.0, 3.0], 0.5), 2.0);
    }
}
