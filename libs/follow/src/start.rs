use broker::Start;
use market::Place;

/// Where a partition is read from, or why its log cannot be the one that the store follows.
///
/// The store decides, not the group: its state is a function of the log up to `place`. The group's
/// offset counts only where it is older: a new group reads everything, as does one that was set
/// back. The record at `place` is read once more, to see that it is the same one.
pub(crate) fn start_of(
    partition: i32,
    place: Option<Place>,
    committed: Option<i64>,
    (low, high): (i64, i64),
) -> Result<Start, String> {
    let Some(Place { offset, .. }) = place else { return Ok(Start::Beginning) };
    if offset >= high {
        return Err(format!(
            "it was followed to {offset} on partition {partition}, which ends at {high}"
        ));
    }
    let start = committed.map_or(low, |committed| committed.min(offset));
    if offset + 1 < low {
        let lost = low - offset - 1;
        tracing::warn!(partition, lost, "records expired before they were read");
    }
    Ok(if start < low { Start::Beginning } else { Start::At(start) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(
        rule: &str,
        place: Option<i64>,
        committed: Option<i64>,
        bounds: (i64, i64),
        expected: Option<Start>,
    ) {
        let place = place.map(|offset| Place { offset, fingerprint: 1 });
        assert_eq!(start_of(0, place, committed, bounds).ok(), expected, "{rule}");
    }

    #[test]
    fn redis_decides_where_a_partition_is_read_from() {
        let at = |offset| Some(Start::At(offset));
        let beginning = Some(Start::Beginning);
        check("nothing known", None, None, (0, 10), beginning);
        check(
            "Redis was emptied: the group's offset means nothing",
            None,
            Some(7),
            (0, 10),
            beginning,
        );
        check("a new group reads everything", Some(6), None, (0, 10), at(0));
        check("from the last record, to see it again", Some(6), Some(7), (0, 10), at(6));
        check("the group was set back", Some(6), Some(0), (0, 10), at(0));
        check("Redis lost the last second", Some(4), Some(7), (0, 10), at(4));
        check("set back past what is kept", Some(6), Some(0), (3, 10), beginning);
        check("expired before it was read", Some(6), Some(7), (9, 20), beginning);
        check("a shorter log is another one", Some(10), Some(11), (0, 10), None);
    }
}
