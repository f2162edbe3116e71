//! The same on a Redis Cluster of three masters.

use testkit::{eventually, redis_cluster};

use crate::rig::{PATIENCE, Rig};

#[test]
fn a_cluster_holds_what_the_log_says_while_its_nodes_die() {
    let mut cluster = redis_cluster();
    let mut rig = Rig::new("cluster", &cluster.address());
    rig.trade(2_000);
    let mut one = rig.processor_of("one", &[]);
    let mut two = rig.processor_of("two", &[]);
    rig.check("two processors on three masters");
    // Whoever has the log's key, whoever has a stream, whoever has a symbol: while trades come.
    let keys = [
        format!("log:{{{}}}", rig.topic),
        format!("ticks:{{{}/0}}", rig.topic),
        "price:{SYMBOL:7}".to_owned(),
    ];
    for (round, key) in keys.iter().enumerate() {
        rig.trade(1_000);
        let killed = cluster.kill_master_of(key);
        rig.trade(1_000);
        if round == 1 {
            two.kill9();
            two = rig.processor_of("two", &[]);
        }
        rig.check(&format!("the master of {key} was replaced"));
        cluster.restart(killed);
        rig.trade(500);
        rig.check("it is back, as a replica");
    }
    let third = rig.processor_of("three", &[]);
    let records = rig.kafka.records(&rig.topic).len() as f64;
    eventually(PATIENCE, "the third has read it all", || {
        third.metric("gostocks_records_consumed_total") >= records
    });
    rig.check("a third reads everything again");
    assert!(one.is_alive() && two.is_alive(), "neither ended by itself");
    rig.rebuild();
    rig.trade(500);
    rig.check("rebuilt under them");
    assert!(one.is_alive(), "it went on under the new log id");
}

#[test]
fn a_node_that_comes_back_empty_is_filled_from_the_log() {
    let cluster = redis_cluster();
    let mut rig = Rig::new("emptied", &cluster.address());
    rig.trade(1_000);
    let mut processor = rig.processor();
    rig.check("before");
    cluster.flush_master_of("price:{SYMBOL:7}");
    rig.trade(1_000);
    rig.check("after a master lost everything");
    assert!(processor.is_alive(), "it never ended");
    // At once, and with nothing that trades.
    cluster.flush_master_of("price:{SYMBOL:8}");
    rig.check("while nothing trades");
}
