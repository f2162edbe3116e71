use market::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use store::*;
struct Ends(u64);
impl EndOffsets for Ends {
    async fn end_offsets(&self, p: &BTreeSet<i32>) -> anyhow::Result<BTreeMap<i32, i64>> {
        if self.0 > 0 {
            tokio::time::sleep(Duration::from_millis(self.0)).await;
        }
        Ok(p.iter().map(|p| (*p, 0)).collect())
    }
}
fn main() {
    let pg = testkit::private_postgresql();
    let url = testkit::Postgresql::at(pg.address()).database();
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(run(url));
}
async fn run(url: String) {
    let store = Store::new(&DatabaseUrl::parse(&url).unwrap(), "m");
    store.migrate().await.unwrap();
    let log = store.follow("t", 6).await.unwrap();
    tokio::spawn(store.clone().carry_news(tokio_util::sync::CancellationToken::new()));
    for delay in [0, 2] {
        for callers in [1, 8, 64, 256] {
            let (creator, work) = Creator::new(store.clone(), log.clone(), Ends(delay));
            tokio::spawn(work);
            let start = Instant::now();
            let until = start + Duration::from_secs(4);
            let mut t = vec![];
            for c in 0..callers {
                let creator = creator.clone();
                t.push(tokio::spawn(async move {
                    let mut lat = vec![];
                    while Instant::now() < until {
                        let s = Instant::now();
                        creator
                            .create(Wish {
                                user_id: UserId::new(1 + c).unwrap(),
                                symbol: Symbol::new("AAPL").unwrap(),
                                condition: Condition::Above,
                                target_price: Price::new(100.0).unwrap(),
                                partition: (c % 6) as i32,
                            })
                            .await
                            .unwrap();
                        lat.push(s.elapsed().as_micros());
                    }
                    lat
                }));
            }
            let mut lat = vec![];
            for t in t {
                lat.extend(t.await.unwrap());
            }
            let n = lat.len() as f64 / start.elapsed().as_secs_f64();
            lat.sort();
            println!(
                "look-up {delay} ms, {callers} callers: {n:.0}/s p50 {} us p99 {} us",
                lat[lat.len() / 2],
                lat[lat.len() * 99 / 100]
            );
        }
    }
    let mut ids = vec![];
    let new = |n: usize| -> Vec<NewAlert> {
        (0..n)
            .map(|i| NewAlert {
                user_id: UserId::new(1).unwrap(),
                symbol: Symbol::new(&format!("S{}", i % 500)).unwrap(),
                condition: Condition::Above,
                target_price: Price::new(1.0 + i as f64).unwrap(),
                partition: (i % 6) as i32,
                armed_offset: 0,
            })
            .collect()
    };
    let s = Instant::now();
    for _ in 0..100 {
        ids.extend(store.create(&log, &new(10_000)).await.unwrap());
    }
    println!("1M creates of 10k: {:?}", s.elapsed());
    for _ in 0..2 {
        let s = Instant::now();
        let mut n = 0;
        let cursor = store.armed(&log, &[0, 1, 2, 3, 4, 5], |_| n += 1).await.unwrap();
        println!("armed {n}: {:?}", s.elapsed());
        let s = Instant::now();
        store.changes(&log, &[0, 1, 2], &cursor, |_| ()).await.unwrap();
        println!("changes, none: {:?}", s.elapsed());
    }
    let s = Instant::now();
    let mut n = 0;
    store.armed(&log, &[2], |_| n += 1).await.unwrap();
    println!("armed one partition {n}: {:?}", s.elapsed());
    let cursor = store.armed(&log, &[], |_| ()).await.unwrap();
    for chunk in ids.chunks(100_000).take(3) {
        let firings: Vec<_> = chunk
            .iter()
            .map(|c| NewFiring {
                alert_id: c.id,
                generation: 1,
                price: Price::new(1.0).unwrap(),
                trade_time: 1,
                partition: 0,
                sequence: Sequence { offset: 1, index: 0 },
            })
            .collect();
        let s = Instant::now();
        let a = store.fire(&log, &firings).await.unwrap();
        println!("fire {}: {:?}", a.len(), s.elapsed());
    }
    let one = [NewFiring {
        alert_id: ids[500_000].id,
        generation: 1,
        price: Price::new(1.0).unwrap(),
        trade_time: 1,
        partition: 0,
        sequence: Sequence { offset: 1, index: 0 },
    }];
    let s = Instant::now();
    store.fire(&log, &one).await.unwrap();
    println!("fire 1: {:?}", s.elapsed());
    let s = Instant::now();
    n = 0;
    store.changes(&log, &[0, 1, 2, 3, 4, 5], &cursor, |_| n += 1).await.unwrap();
    println!("changes {n}: {:?}", s.elapsed());
    let s = Instant::now();
    n = 0;
    loop {
        let l = store.lease(1000, Duration::from_secs(30)).await.unwrap();
        if l.is_empty() {
            break;
        }
        n += l.len();
        store.published(&l.iter().map(|f| f.id).collect::<Vec<_>>()).await.unwrap();
    }
    println!("outbox {n}: {:?}", s.elapsed());
    for f in [
        Filter { user_id: UserId::new(1), active_only: true },
        Filter { user_id: UserId::new(2), active_only: false },
        Filter { user_id: None, active_only: true },
        Filter::default(),
    ] {
        for _ in 0..7 {
            let s = Instant::now();
            let l = store.list(f, 0, 10_000).await.unwrap();
            println!("{f:?} {} {:?}", l.len(), s.elapsed());
        }
    }
    let mut news = store.news();
    let mut lat = vec![];
    for _ in 0..200 {
        news.next().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let _ = tokio::time::timeout(Duration::from_millis(1), news.next()).await;
        store.create(&log, &new(1)).await.unwrap();
        let s = Instant::now();
        news.next().await;
        lat.push(s.elapsed().as_micros());
    }
    lat.sort();
    println!("news p50 {} us p99 {} us", lat[100], lat[197]);
}
