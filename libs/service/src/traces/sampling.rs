use opentelemetry::trace::{Link, SpanKind, TraceContextExt, TraceId};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SamplingResult, ShouldSample};

/// How many traces of those that begin here are kept, 0 to 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ratios {
    pub(super) requests: f64,
    pub(super) batches: f64,
}

/// Which spans are kept.
///
/// A span with a parent, here or in another program, is kept if its parent is. One that begins a
/// trace is kept if it links to one that is, so that what a kept batch of the ingestor became can
/// be followed; else by the ratio of its kind. What is neither a request nor a batch begins none:
/// a look into the outbox once a second tells nobody anything.
#[derive(Clone, Debug)]
pub(super) struct Sampling {
    requests: Sampler,
    batches: Sampler,
}

impl Sampling {
    pub(super) fn new(ratios: Ratios) -> Self {
        Self {
            requests: Sampler::TraceIdRatioBased(ratios.requests),
            batches: Sampler::TraceIdRatioBased(ratios.batches),
        }
    }
}

impl ShouldSample for Sampling {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let parent = parent.map(|context| context.span().span_context().clone());
        let sampler = match parent.filter(|parent| parent.is_valid()) {
            Some(parent) => {
                let trace_state = parent.trace_state().clone();
                let decision = match parent.is_sampled() {
                    true => SamplingDecision::RecordAndSample,
                    false => SamplingDecision::Drop,
                };
                return SamplingResult { decision, attributes: Vec::new(), trace_state };
            }
            None if links.iter().any(|link| link.span_context.is_sampled()) => &Sampler::AlwaysOn,
            None => match kind {
                SpanKind::Server => &self.requests,
                SpanKind::Consumer | SpanKind::Producer => &self.batches,
                SpanKind::Client | SpanKind::Internal => &Sampler::AlwaysOff,
            },
        };
        sampler.should_sample(None, trace_id, name, kind, attributes, links)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceState};

    fn span(flags: TraceFlags) -> SpanContext {
        let (trace, span) = (TraceId::from(7), SpanId::from(8));
        SpanContext::new(trace, span, flags, true, TraceState::NONE)
    }

    #[track_caller]
    fn check(
        rule: &str,
        kind: SpanKind,
        parent: Option<TraceFlags>,
        link: Option<TraceFlags>,
        expected: bool,
    ) {
        let parent = parent.map(|flags| Context::new().with_remote_span_context(span(flags)));
        let links: Vec<Link> =
            link.map(|flags| Link::with_context(span(flags))).into_iter().collect();
        let sampling = Sampling::new(Ratios { requests: 1.0, batches: 0.0 });
        let id = TraceId::from(u128::MAX);
        let result = sampling.should_sample(parent.as_ref(), id, "", &kind, &[], &links);
        let is_kept = result.decision == SamplingDecision::RecordAndSample;
        assert_eq!(is_kept, expected, "{rule}");
    }

    #[test]
    fn a_parent_decides_then_a_link_then_the_ratio_of_the_kind() {
        let (kept, not_kept) = (Some(TraceFlags::SAMPLED), Some(TraceFlags::NOT_SAMPLED));
        check("every request", SpanKind::Server, None, None, true);
        check("no batch", SpanKind::Consumer, None, None, false);
        check("no batch of the ingestor", SpanKind::Producer, None, None, false);
        check("the caller keeps it", SpanKind::Consumer, kept, None, true);
        check("the caller does not", SpanKind::Server, not_kept, None, false);
        check("nor does a link help then", SpanKind::Server, not_kept, kept, false);
        check("a batch that follows a kept one", SpanKind::Consumer, None, kept, true);
        check("one that follows another", SpanKind::Consumer, None, not_kept, false);
        check("a statement of a request", SpanKind::Client, kept, None, true);
        check("a statement of nobody's", SpanKind::Client, None, None, false);
        check("a transaction for kept requests", SpanKind::Internal, None, kept, true);
    }

    #[test]
    fn a_ratio_keeps_so_many() {
        let sampling = Sampling::new(Ratios { requests: 0.25, batches: 0.0 });
        let kept = (0..10_000_u64).filter(|number| {
            // Any mixing will do: the sampler takes the lower half of an id for random.
            let id = u128::from(number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let id = TraceId::from(id);
            let result = sampling.should_sample(None, id, "", &SpanKind::Server, &[], &[]);
            result.decision == SamplingDecision::RecordAndSample
        });
        let kept = kept.count();
        assert!((2_300..2_700).contains(&kept), "{kept}");
    }
}
