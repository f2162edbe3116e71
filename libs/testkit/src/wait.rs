use std::time::Duration;

/// Waits until `condition` holds.
///
/// # Panics
/// Once `patience` has passed: "`what` did not happen within …".
#[track_caller]
pub fn eventually(patience: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    eventually_some(patience, what, || condition().then_some(()));
}

/// Waits until `probe` answers.
///
/// # Panics
/// As [`eventually`].
#[track_caller]
pub fn eventually_some<T>(patience: Duration, what: &str, probe: impl FnMut() -> Option<T>) -> T {
    let Some(answer) = servers::poll(patience, probe) else {
        panic!("{what}: did not happen within {patience:?}");
    };
    answer
}
