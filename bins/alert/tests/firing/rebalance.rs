use std::thread;

use testkit::{Program, eventually, postgresql};

use crate::PATIENCE;
use crate::rig::Rig;

/// Nobody can read alerts while this runs.
const LOCK: &str = "DO $$ BEGIN
    LOCK TABLE alerts IN ACCESS EXCLUSIVE MODE;
    FOR tries IN 1..1200 LOOP
        EXIT WHEN EXISTS (SELECT FROM pg_class WHERE relname = 'enough');
        PERFORM pg_sleep(0.05);
    END LOOP;
END $$";

const IS_LOCKED: &str = "SELECT count(*) FROM pg_locks
    WHERE mode = 'AccessExclusiveLock' AND granted AND relation = 'alerts'::regclass";

fn count(program: &Program, message: &str) -> usize {
    program.log().matches(&format!(r#""message":"{message}""#)).count()
}

/// What an owner is given takes time to load: what it has already does not wait for that.
#[test]
fn while_partitions_are_loaded_the_others_go_on() {
    let mut rig = Rig::new("others", postgresql().address());
    let (mut one, mut two) = (rig.alerts.service(), rig.alerts.second_service());
    one.wait_ready();
    two.wait_ready();
    // No alerts yet: a firing would have to wait for the table.
    rig.trade(100);
    eventually(PATIENCE, "they share the partitions", || {
        one.partitions().len() == 3 && two.partitions().len() == 3
    });
    let (kept, loaded) = (one.partitions(), count(&one, "loaded"));
    let assigned = count(&one, "assigned");

    let url = rig.alerts.database_url().to_owned();
    let locking = thread::spawn(move || postgresql().execute(&url, LOCK));
    eventually(PATIENCE, "nobody can read alerts", || rig.alerts.execute(IS_LOCKED) == "1");
    two.kill9();
    eventually(PATIENCE, "all partitions are the survivor's", || {
        count(&one, "assigned") > assigned
    });
    let of_kept = |rig: &Rig| {
        let records = rig.kafka.records(&rig.topic);
        records.iter().filter(|record| kept.contains(&record.partition)).count()
    };
    let (read, before) = (one.metric("gostocks_records_consumed_total") as usize, of_kept(&rig));
    rig.trade(200);
    rig.wait_read(&one, read + of_kept(&rig) - before);
    assert_eq!(count(&one, "loaded"), loaded, "the rest is still being loaded");

    rig.alerts.execute("CREATE TABLE enough ()");
    locking.join().expect("no panic");
    assert_eq!(rig.ask(100), 100);
    rig.trade(200);
    assert!(rig.alerts.check("once it is loaded") > 50);
}
