use super::*;
use crate::cli::Faults;

const UNIX_MS: i64 = 1_700_000_000_000;

/// Frames of symbol A at these seconds.
fn recording(seconds: &[i64]) -> Arc<Recording> {
    let lines: Vec<_> = seconds
        .iter()
        .map(|second| {
            let time = 1_000_000 + second * 1_000;
            format!(r#"{{"data":[{{"p":1,"s":"A","t":{time}}}],"type":"trade"}}"#)
        })
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("frames.ndjson");
    std::fs::write(&path, lines.join("\n")).unwrap();
    Arc::new(Recording::load(&path).unwrap())
}

fn subscriptions(symbols: &[&str]) -> Subscriptions {
    let mut all = Subscriptions::default();
    for symbol in symbols {
        let message = format!(r#"{{"type":"subscribe","symbol":"{symbol}"}}"#);
        all.request(message.as_bytes(), 0).unwrap();
    }
    all
}

/// What is sent in each of the first `ticks` tenths of a second after the subscription settled:
/// the times of the trades, in seconds since `UNIX_MS` or since the recording's first.
fn play(mut replay: Replay, ticks: u64) -> Vec<Vec<f64>> {
    let began = Now { instant: Instant::now(), unix_ms: UNIX_MS };
    replay.subscribe(&subscriptions(&["A"]), began);
    let base = if replay.playing.rebase_time { UNIX_MS } else { 1_000_000 };
    (0..ticks)
        .map(|tick| {
            let after = SETTLE + Duration::from_millis(100 * tick);
            let unix_ms = UNIX_MS + 100 * tick as i64;
            let mut outbox = Outbox::new(Faults::default());
            replay.fill(Now { instant: began.instant + after, unix_ms }, &mut outbox);
            let text = String::from_utf8_lossy(outbox.bytes()).into_owned();
            text.split(r#""t":"#)
                .skip(1)
                .map(|rest| rest.split('}').next().unwrap().parse::<i64>().unwrap())
                .map(|time| (time - base) as f64 / 1_000.0)
                .collect()
        })
        .collect()
}

const AS_RECORDED: Playing = Playing { speed: 1.0, rebase_time: false, again: false };

#[test]
fn frames_are_sent_when_they_were_recorded_times_the_speed() {
    let at = |playing, ticks| play(Replay::new(recording(&[0, 1, 1, 2]), playing, 0), ticks);
    let sent = at(AS_RECORDED, 30);
    assert_eq!((&sent[0], &sent[9], &sent[10]), (&vec![0.0], &vec![], &vec![1.0, 1.0]));
    assert_eq!(sent[20], [2.0]);
    let fast = at(Playing { speed: 10.0, ..AS_RECORDED }, 5);
    assert_eq!(fast, [vec![0.0], vec![1.0, 1.0], vec![2.0], vec![], vec![]]);
    let slow = at(Playing { speed: 0.5, ..AS_RECORDED }, 50);
    assert_eq!((slow[20].len(), slow[40].len()), (2, 1));
    let at_once = at(Playing { speed: 0.0, ..AS_RECORDED }, 2);
    assert_eq!(at_once, [vec![0.0, 1.0, 1.0, 2.0], vec![]]);
}

#[test]
fn rebased_trades_are_of_now_and_never_of_the_future() {
    let rebased = Playing { rebase_time: true, ..AS_RECORDED };
    for speed in [0.0, 0.5, 1.0, 10.0] {
        let playing = Playing { speed, ..rebased };
        let sent = play(Replay::new(recording(&[0, 1, 3]), playing, 0), 70);
        let all: Vec<_> = sent.concat();
        let gaps = [all[1] - all[0] - 1.0, all[2] - all[1] - 2.0];
        assert!(gaps.iter().all(|gap| gap.abs() < 1e-9), "spacing is kept: {all:?}");
        for (tick, times) in sent.iter().enumerate() {
            let now = tick as f64 / 10.0;
            assert!(times.iter().all(|time| *time <= now), "speed {speed}: {times:?} at {now}");
        }
        if speed >= 1.0 {
            let last_tick = sent.iter().rposition(|times| !times.is_empty()).unwrap();
            assert!((all[2] - last_tick as f64 / 10.0).abs() < 0.11, "the last is of now");
        }
    }
}

#[test]
fn a_loop_begins_again_with_new_times() {
    let playing = Playing { rebase_time: true, again: true, ..AS_RECORDED };
    let all = play(Replay::new(recording(&[0, 1]), playing, 0), 40).concat();
    assert!(all.len() >= 4, "{all:?}");
    assert!(all.windows(2).all(|pair| pair[0] <= pair[1]), "{all:?}");
}

#[test]
fn a_resumed_replay_goes_on_without_waiting_for_its_first_part() {
    let sent = play(Replay::new(recording(&[0, 100, 101]), AS_RECORDED, 1), 15);
    assert_eq!((&sent[0], &sent[10]), (&vec![100.0], &vec![101.0]));
}

#[test]
fn a_replay_waits_for_subscriptions_that_occur_in_it_and_have_settled() {
    let mut replay = Replay::new(recording(&[0]), AS_RECORDED, 0);
    let mut outbox = Outbox::new(Faults::default());
    let began = Now { instant: Instant::now(), unix_ms: UNIX_MS };
    let later = |millis| Now { instant: began.instant + Duration::from_millis(millis), ..began };
    replay.subscribe(&subscriptions(&["X"]), began);
    assert_eq!(replay.fill(later(1_000), &mut outbox), None);
    replay.subscribe(&subscriptions(&["X", "A"]), later(1_000));
    replay.subscribe(&subscriptions(&["X", "A", "B"]), later(1_050));
    assert_eq!(replay.fill(later(1_100), &mut outbox), Some(later(1_150).instant));
    assert!(outbox.bytes().is_empty());
    replay.fill(later(1_150), &mut outbox);
    assert_eq!((outbox.frames(), replay.position()), (1, 1));
}
