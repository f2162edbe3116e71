use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    /// Of seconds.
    LatencyHistogram,
    /// Of counts.
    SizeHistogram,
}

/// One metric family of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

/// A metric with some of its labels' values given.
#[derive(Clone, Debug)]
#[must_use]
pub struct WithLabels {
    metric: Metric,
    labels: Vec<Label>,
}

const METADATA: Metadata<'static> = Metadata::new("gostocks", Level::INFO, None);

impl Metric {
    /// The family's series whose `label` has this value; repeat for each further label.
    pub fn with(&self, label: &'static str, value: impl Into<String>) -> WithLabels {
        WithLabels { metric: *self, labels: Vec::new() }.with(label, value)
    }

    /// # Panics
    /// See `WithLabels::counter`.
    pub fn counter(&self) -> Counter {
        WithLabels { metric: *self, labels: Vec::new() }.counter()
    }

    /// # Panics
    /// See `WithLabels::counter`.
    pub fn gauge(&self) -> Gauge {
        WithLabels { metric: *self, labels: Vec::new() }.gauge()
    }

    /// # Panics
    /// See `WithLabels::counter`.
    pub fn histogram(&self) -> Histogram {
        WithLabels { metric: *self, labels: Vec::new() }.histogram()
    }
}

impl WithLabels {
    pub fn with(mut self, label: &'static str, value: impl Into<String>) -> Self {
        self.labels.push(Label::new(label, value.into()));
        self
    }

    /// A handle to count with. Where no recorder is installed, as in a test, it does nothing.
    ///
    /// # Panics
    /// Where the catalogue says another kind or other labels: a mistake in the program, found at
    /// its start, when handles are made.
    pub fn counter(self) -> Counter {
        let key = self.key(&[Kind::Counter]);
        metrics::with_recorder(|recorder| recorder.register_counter(&key, &METADATA))
    }

    /// # Panics
    /// As `counter`.
    pub fn gauge(self) -> Gauge {
        let key = self.key(&[Kind::Gauge]);
        metrics::with_recorder(|recorder| recorder.register_gauge(&key, &METADATA))
    }

    /// # Panics
    /// As `counter`.
    pub fn histogram(self) -> Histogram {
        let key = self.key(&[Kind::LatencyHistogram, Kind::SizeHistogram]);
        metrics::with_recorder(|recorder| recorder.register_histogram(&key, &METADATA))
    }

    fn key(self, kinds: &[Kind]) -> Key {
        let Metric { name, kind, labels, .. } = self.metric;
        assert!(kinds.contains(&kind), "{name} is a {kind:?}");
        let given: Vec<&str> = self.labels.iter().map(Label::key).collect();
        assert_eq!(given, labels, "the labels of {name}");
        Key::from_parts(name, self.labels)
    }
}

/// 10 µs to 10 s, each bound a fifth above the one before.
pub(crate) fn latency_buckets() -> Vec<f64> {
    (0..=76).map(|power| round(10e-6 * 1.2_f64.powi(power))).collect()
}

/// 1 to 65,536, each bound twice the one before.
pub(crate) fn size_buckets() -> Vec<f64> {
    (0..=16).map(|power| f64::from(1_u32 << power)).collect()
}

/// To three significant digits, so that a bound reads well: 0.000144, not 0.00014399999999999998.
fn round(bound: f64) -> f64 {
    let scale = 10_f64.powi(2 - bound.log10().floor() as i32);
    (bound * scale).round() / scale
}

/// Each line makes a constant and adds it to `ALL`.
macro_rules! catalogue {
    ($($name:ident: $kind:ident $text:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $name: Metric = Metric {
                name: $text,
                kind: catalogue!(@ $kind),
                labels: &[$($label),*],
                help: $help,
            };
        )*

        /// The whole catalogue.
        pub const ALL: &[Metric] = &[$($name),*];
    };
    (@ counter) => { Kind::Counter };
    (@ gauge) => { Kind::Gauge };
    (@ latency_histogram) => { Kind::LatencyHistogram };
    (@ size_histogram) => { Kind::SizeHistogram };
}

pub(crate) use catalogue;
