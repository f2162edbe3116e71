//! A topic that is not the one that was followed, and checkpoints that are of no use.

use std::fs;

use testkit::{Exit, postgresql};

use crate::PATIENCE;
use crate::rig::Rig;

/// Trades, alerts, some of them fired, and a checkpoint of all of it.
fn followed(hint: &str) -> Rig {
    let mut rig = Rig::new(hint, postgresql().address());
    let mut service = rig.alerts.service();
    service.wait_ready();
    assert_eq!(rig.ask(200), 200);
    rig.trade(300);
    assert!(rig.alerts.check("before") > 10);
    rig.wait_read(&service, 300);
    assert_eq!(service.terminate(), Exit::Code(0));
    rig
}

#[track_caller]
fn check_refused(rig: &Rig, sentence: &str) {
    let before = rig.alerts.fired();
    let mut service = rig.alerts.service();
    assert_eq!(service.wait_exit(PATIENCE), Exit::Code(1), "{sentence}");
    let log = service.log();
    assert!(log.contains(sentence) && log.contains("`alert rebuild`"), "{log}");
    assert_eq!(rig.alerts.fired(), before, "nothing has fired");
}

#[test]
fn another_log_is_noticed_and_followed_after_one_command() {
    let mut rig = followed("another");
    // The same database, another topic under the same name: as after a broker lost its disk.
    let other = rig.kafka.topic("another-life", 6);
    rig.alerts.execute(&format!("UPDATE logs SET topic = '{other}'"));
    rig.alerts.move_to(&other);
    rig.topic = other;
    check_refused(&rig, "which ends at 0");
    rig.trade(600);
    check_refused(&rig, "another record stands at");

    assert_eq!(rig.alerts.rebuild().wait_exit(PATIENCE), Exit::Code(0));
    let mut service = rig.alerts.service();
    service.wait_ready();
    rig.trade(600);
    assert!(rig.alerts.check("on the new log") > 10, "alerts that were active fire");
    assert_eq!(service.terminate(), Exit::Code(0));
}

#[test]
fn a_topic_with_more_partitions_is_another_log() {
    let rig = followed("grown");
    rig.kafka.grow_topic(&rig.topic, 8);
    check_refused(&rig, "it had 6 partitions and has 8 now");
}

#[test]
fn a_checkpoint_that_is_damaged_costs_time_alone() {
    let mut rig = followed("damaged");
    rig.alerts.execute(r"UPDATE checkpoints SET history = '\x00ff'");
    fs::remove_dir_all(rig.alerts.snapshots()).expect("it kept snapshots");
    let mut service = rig.alerts.service();
    service.wait_ready();
    assert_eq!(rig.ask(100), 100);
    rig.trade(300);
    rig.alerts.check("after the damage");
    assert!(service.log().contains("its checkpoint is of no use"), "{}", service.log());
}
