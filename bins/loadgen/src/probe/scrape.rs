use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use servers::http;

/// The cumulative buckets of each stage of `gostocks_tick_stage_seconds`, all programs together:
/// upper bounds, and how many samples there are up to them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Stages(BTreeMap<String, Vec<(f64, f64)>>);

impl Stages {
    /// Asks every program for its metrics. Blocks.
    pub(crate) fn scrape(addresses: &[String]) -> anyhow::Result<Self> {
        let mut stages = Self::default();
        for address in addresses {
            let (status, text) = http::get(address, "/metrics")
                .with_context(|| format!("--metrics {address} does not answer"))?;
            ensure!(status == 200, "--metrics {address} answers with {status}");
            stages.add(&text);
        }
        Ok(stages)
    }

    fn add(&mut self, text: &str) {
        for line in text.lines() {
            let Some((stage, bound, count)) = bucket(line) else { continue };
            let buckets = self.0.entry(stage.to_owned()).or_default();
            match buckets.iter_mut().find(|(known, _)| *known == bound) {
                Some((_, all)) => *all += count,
                None => buckets.push((bound, count)),
            }
        }
    }

    /// What has come since `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let buckets = |(stage, buckets): (&String, &Vec<(f64, f64)>)| {
            let was = |bound| {
                let buckets = before.0.get(stage).into_iter().flatten();
                buckets.filter(|(known, _)| *known == bound).map(|(_, count)| count).sum::<f64>()
            };
            let since = buckets.iter().map(|(bound, count)| (*bound, count - was(*bound)));
            (stage.clone(), since.collect())
        };
        Self(self.0.iter().map(buckets).collect())
    }

    pub(crate) fn buckets(&self, stage: &str) -> &[(f64, f64)] {
        self.0.get(stage).map(Vec::as_slice).unwrap_or_default()
    }

    pub(crate) fn count(&self, stage: &str) -> f64 {
        self.buckets(stage).last().map_or(0.0, |(_, count)| *count)
    }
}

/// `gostocks_tick_stage_seconds_bucket{stage="visible",le="0.001"} 7`
fn bucket(line: &str) -> Option<(&str, f64, f64)> {
    let rest = line.strip_prefix("gostocks_tick_stage_seconds_bucket{stage=\"")?;
    let (stage, rest) = rest.split_once("\",le=\"")?;
    let (bound, count) = rest.split_once("\"} ")?;
    let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
    Some((stage, bound, count.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_one_kind_are_added_up_and_the_past_is_taken_off() {
        let line = |stage: &str, bound: &str, count: u32| {
            format!(
                "gostocks_tick_stage_seconds_bucket{{stage=\"{stage}\",le=\"{bound}\"}} {count}\n"
            )
        };
        let text = format!(
            "# TYPE gostocks_tick_stage_seconds histogram\n{}{}gostocks_tick_stage_seconds_sum{{\
             stage=\"visible\"}} 1.5\ngostocks_batch_trades_bucket{{le=\"1\"}} 7\n",
            line("visible", "0.00001", 1),
            line("visible", "+Inf", 3),
        );
        let mut before = Stages::default();
        before.add(&text);
        let mut after = before.clone();
        after.add(&text);
        after.add(&line("consumed", "+Inf", 5));
        let since = after.since(&before);
        assert_eq!(since.buckets("visible"), [(0.00001, 1.0), (f64::INFINITY, 3.0)]);
        assert_eq!((since.count("consumed"), since.count("fired")), (5.0, 0.0));
    }
}
