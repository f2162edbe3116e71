//! Snapshots on local disk are a cache: with any of them, or none, the same fires.

use std::fs;

use testkit::{Alerts, Exit, Program, eventually, eventually_some, postgresql};

use crate::PATIENCE;
use crate::rig::Rig;

/// Of how many partitions it says that it used a snapshot.
fn used(service: &Program) -> usize {
    eventually_some(PATIENCE, "it has loaded", || {
        let log = service.log();
        let (_, said) = log.split_once(r#""from_snapshots":"#)?;
        said[..1].parse().ok()
    })
}

/// A service with alerts that have fired, ended in good order: there are snapshots.
fn kept(hint: &str) -> Rig {
    let mut rig = Rig::new(hint, postgresql().address());
    let mut service = rig.alerts.service();
    service.wait_ready();
    assert_eq!(rig.ask(300), 300);
    rig.trade(300);
    rig.wait_read(&service, 300);
    assert!(rig.alerts.check("before") > 50);
    assert_eq!(service.terminate(), Exit::Code(0));
    assert_eq!(rig.snapshots().len(), 6, "one a partition");
    rig
}

/// Starts the service and lets it go on.
fn go_on(rig: &mut Rig, when: &str) -> Program {
    let mut service = rig.alerts.service();
    service.wait_ready();
    rig.trade(300);
    rig.alerts.check(when);
    service
}

#[test]
fn a_start_from_snapshots_heeds_what_changed_since() {
    let mut rig = kept("kept");
    // While the machine with the snapshots is away, another one has the partitions.
    let mut other = rig.alerts.service_with(&[("ALERT_SNAPSHOTS", "elsewhere")]);
    other.wait_ready();
    assert_eq!(used(&other), 0);
    assert_eq!(rig.ask(200), 200);
    rig.change(100);
    rig.trade(300);
    rig.alerts.check("elsewhere");
    assert_eq!(other.terminate(), Exit::Code(0));
    assert_eq!(used(&go_on(&mut rig, "from snapshots that are behind")), 6);
}

#[test]
fn a_service_that_is_killed_leaves_a_snapshot() {
    let mut rig = Rig::new("periodic", postgresql().address());
    let mut service = rig.alerts.service_with(&[("ALERT_SNAPSHOT_EVERY", "1s")]);
    service.wait_ready();
    assert_eq!(rig.ask(300), 300);
    eventually(PATIENCE, "every partition has had its turn", || {
        rig.trade(20);
        rig.snapshots().len() == 6
    });
    rig.change(100);
    rig.trade(100);
    service.kill9();
    assert_eq!(used(&go_on(&mut rig, "after a kill")), 6);
}

#[test]
fn a_damaged_or_old_snapshot_is_refused_and_costs_time_alone() {
    let mut rig = kept("broken");
    let files = rig.snapshots();
    let mut bytes: Vec<Vec<u8>> =
        files.iter().map(|file| fs::read(file).expect("a file")).collect();
    let middle = bytes[0].len() / 2;
    bytes[0][middle] ^= 1;
    // The version stands first.
    bytes[1][0] ^= 1;
    bytes[2].truncate(middle);
    bytes[3].clear();
    // Another partition's.
    bytes[4] = bytes[5].clone();
    for (file, bytes) in files.iter().zip(&bytes) {
        fs::write(file, bytes).expect("ours");
    }
    let service = go_on(&mut rig, "with damaged snapshots");
    let log = service.log();
    assert_eq!(used(&service), 1, "{log}");
    assert_eq!(log.matches("its snapshot is not used").count(), 5, "{log}");
    for reason in ["its checksum does not fit", "version", "too short", "another log or partition"]
    {
        assert!(log.contains(reason), "{reason}: {log}");
    }
}

#[test]
fn a_snapshot_of_another_database_is_refused() {
    let mut rig = kept("first");
    let foreign = rig.alerts.snapshots();
    // The same topic, followed by a database that knows nothing of the alerts in it.
    let alerts = Alerts::new(rig.kafka.brokers(), &rig.topic, postgresql().address());
    let first = std::mem::replace(&mut rig.alerts, alerts);
    let settings = [("ALERT_SNAPSHOTS", foreign.to_str().expect("UTF-8"))];
    let mut service = rig.alerts.service_with(&settings);
    service.wait_ready();
    assert_eq!(rig.ask(200), 200);
    rig.trade(300);
    rig.alerts.check("in another database");
    assert_eq!(service.terminate(), Exit::Code(0));

    // The other way round: what is there now is the second one's.
    rig.alerts = first;
    let service = go_on(&mut rig, "in the first database again");
    assert_eq!(used(&service), 0);
    assert!(service.log().contains("its snapshot is not used"), "{}", service.log());
}
