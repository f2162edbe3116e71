//! Which rates are tried. Pure.

/// A search for the highest rate that holds: doubled until one does not, then between the two until
/// they are a tenth apart.
#[derive(Debug)]
pub(crate) struct Search {
    held: Option<f64>,
    failed: Option<f64>,
    next: f64,
    tried: u32,
}

/// Enough from 1,000 to ten million.
const MOST_TRIALS: u32 = 20;
const APART: f64 = 1.1;
/// No rate below: whoever does not hold it holds nothing.
const LEAST: f64 = 100.0;

impl Search {
    pub(crate) fn new(begin: f64) -> Self {
        Self { held: None, failed: None, next: begin, tried: 0 }
    }

    /// The rate to be tried; `None` at the end.
    pub(crate) fn next(&self) -> Option<f64> {
        let is_close =
            self.held.zip(self.failed).is_some_and(|(held, failed)| failed / held < APART);
        (!is_close && self.tried < MOST_TRIALS && self.next >= LEAST).then_some(self.next)
    }

    pub(crate) fn tell(&mut self, held: bool) {
        self.tried += 1;
        match held {
            true => self.held = Some(self.next),
            false => self.failed = Some(self.next),
        }
        self.next = round(match (self.held, self.failed) {
            (Some(held), Some(failed)) => (held * failed).sqrt(),
            (Some(held), None) => held * 2.0,
            (None, Some(failed)) => failed / 2.0,
            (None, None) => self.next,
        });
    }

    /// The highest rate that has held.
    pub(crate) fn held(&self) -> Option<f64> {
        self.held
    }
}

/// To three digits.
pub(crate) fn round(rate: f64) -> f64 {
    let unit = 10_f64.powf(rate.log10().floor() - 2.0);
    (rate / unit).round() * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which rates are tried by a search for what can be held.
    fn tried(begin: f64, most: f64) -> (Vec<f64>, Option<f64>) {
        let mut search = Search::new(begin);
        let mut tried = Vec::new();
        while let Some(rate) = search.next() {
            tried.push(rate);
            search.tell(rate <= most);
        }
        (tried, search.held())
    }

    #[test]
    fn a_search_comes_within_a_tenth_of_what_holds() {
        for (begin, most) in [(1e5, 1.03e6), (1e6, 1.5e5), (1e5, 1e5), (2e4, 9.9e6)] {
            let (tried, held) = tried(begin, most);
            let held = held.expect("something holds");
            assert!(held <= most && held * 1.11 >= most, "{held} of {most}");
            assert!(tried.len() <= 14, "{tried:?}");
        }
        assert_eq!(tried(1e5, 2.5e5).0, [1e5, 2e5, 4e5, 283_000.0, 238_000.0, 260_000.0]);
    }

    #[test]
    fn a_search_ends_where_nothing_or_everything_holds() {
        assert_eq!(tried(1e5, 0.0).1, None);
        assert_eq!(tried(1e5, f64::INFINITY).0.len(), 20);
    }
}
