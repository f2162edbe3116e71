//! Lists of firings, and watching them.

use std::collections::BTreeSet;

use alert::grpc::Limits;
use market::{Price, Sequence};
use rpc::alert::v1::{
    CreateAlertRequest, Firing, GetFiringsRequest, Repeat, WatchFiringsRequest,
    WatchFiringsResponse,
};
use store::NewFiring;
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};
use triggers::Version;

use crate::support::{PATIENCE, Server, wanted};

/// An alert of that user, which can fire again and again.
async fn alert(server: &Server, user_id: i64, symbol: &str) -> i64 {
    let request = CreateAlertRequest {
        user_id,
        symbol: symbol.into(),
        repeat: Some(Repeat { cooldown_ms: Some(1_000), hysteresis_percent: 0.0 }),
        ..wanted()
    };
    let made = server.client().create_alert(request).await.expect("made");
    made.into_inner().alert.expect("the alert").id
}

fn firing(alert_id: i64, generation: i32) -> NewFiring {
    NewFiring {
        alert_id,
        version: Version { revision: 0, generation },
        price: Price::new(151.0).expect("a price"),
        reference: None,
        trade_time: 1_700_000_000_000 + i64::from(generation) * 10_000,
        partition: 0,
        sequence: Sequence { offset: 7 + i64::from(generation), index: 1 },
        received_at: 0,
    }
}

/// As an owner of its partition stores it.
async fn fire(server: &Server, alert_id: i64, generation: i32) {
    let firing = firing(alert_id, generation);
    let admitted = server.store.fire(&server.log, &[firing]).await.expect("fired");
    assert_eq!(admitted, [(alert_id, generation)]);
}

async fn list(server: &Server, alert_id: i64, user_id: i64, page_size: i32) -> Vec<Firing> {
    let (mut found, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = GetFiringsRequest { alert_id, user_id, page_size, page_token };
        let page = server.client().get_firings(request).await.expect("listed").into_inner();
        found.extend(page.firings);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return found;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn firings_of_an_alert_and_of_a_user_are_listed_in_pages() {
    let server = Server::start(Limits::default()).await;
    let (one, two) = (alert(&server, 1, "AAPL").await, alert(&server, 2, "MSFT").await);
    for generation in 1..=5 {
        fire(&server, one, generation).await;
        fire(&server, two, generation).await;
    }
    let generations =
        |firings: &[Firing]| firings.iter().map(|firing| firing.generation).collect::<Vec<_>>();
    for page_size in [0, 1, 2, 5, 10_000] {
        assert_eq!(generations(&list(&server, one, 0, page_size).await), [5, 4, 3, 2, 1]);
        assert_eq!(generations(&list(&server, 0, 2, page_size).await), [5, 4, 3, 2, 1]);
        assert_eq!(list(&server, 0, 0, page_size).await.len(), 10);
    }
    let last = &list(&server, one, 1, 1).await[0];
    assert_eq!((last.alert_id, last.user_id, last.symbol.as_str()), (one, 1, "AAPL"));
    assert_eq!((last.target_price, last.price), (150.0, 151.0));
    let position = last.position.as_ref().expect("a position");
    assert_eq!((position.offset, position.index), (12, 1));
    for (alert_id, user_id, code) in
        [(one, 2, Code::NotFound), (99, 0, Code::NotFound), (0, -1, Code::InvalidArgument)]
    {
        let request = GetFiringsRequest { alert_id, user_id, ..Default::default() };
        let status = server.client().get_firings(request).await.expect_err("refused");
        assert_eq!(status.code(), code, "{status}");
    }
    let request = GetFiringsRequest { page_token: "i7".into(), ..Default::default() };
    let status = server.client().get_firings(request).await.expect_err("another list's");
    assert_eq!(status.code(), Code::InvalidArgument);
}

async fn watch(
    server: &Server,
    user_id: i64,
    symbol: &str,
    after_firing_id: Option<i64>,
) -> Result<Streaming<WatchFiringsResponse>, Status> {
    let symbol = symbol.to_owned();
    let request = WatchFiringsRequest { user_id, symbol, after_firing_id };
    Ok(server.client().watch_firings(request).await?.into_inner())
}

async fn next(stream: &mut Streaming<WatchFiringsResponse>) -> Firing {
    let told = timeout(PATIENCE, stream.message()).await.expect("in time").expect("no error");
    told.expect("a firing").firing.expect("a firing")
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_watches_is_told_of_what_is_stored_from_then_on() {
    let server = Server::start(Limits::default()).await;
    let (one, two) = (alert(&server, 1, "AAPL").await, alert(&server, 2, "MSFT").await);
    fire(&server, one, 1).await;
    let mut all = watch(&server, 0, "", None).await.expect("watching");
    let mut of_user = watch(&server, 2, "", None).await.expect("watching");
    let mut of_symbol = watch(&server, 0, "aapl", None).await.expect("watching");
    let mut of_neither = watch(&server, 2, "AAPL", None).await.expect("watching");
    for generation in 1..=3 {
        fire(&server, two, generation).await;
        fire(&server, one, generation + 1).await;
    }
    for generation in 1..=3 {
        let told = [next(&mut all).await, next(&mut all).await];
        let of_two = next(&mut of_user).await;
        let of_one = next(&mut of_symbol).await;
        assert_eq!((of_two.alert_id, of_two.generation), (two, generation));
        assert_eq!((of_one.alert_id, of_one.generation), (one, generation + 1));
        assert_eq!(told, [of_two, of_one]);
    }
    assert_eq!(list(&server, one, 0, 1).await[0].id, list(&server, 0, 0, 1).await[0].id);
    server.stopping.cancel();
    let ended = timeout(PATIENCE, of_neither.message()).await.expect("in time");
    assert_eq!(ended.expect_err("it is stopping").code(), Code::Unavailable);
    server.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_from_the_firing_that_its_client_has() {
    let server = Server::start(Limits::default()).await;
    let (one, two) = (alert(&server, 1, "AAPL").await, alert(&server, 2, "MSFT").await);
    let mut missed = BTreeSet::new();
    for generation in 1..=40 {
        fire(&server, one, generation).await;
        fire(&server, two, generation).await;
    }
    let before = list(&server, one, 0, 10_000).await;
    let seen = &before[30];
    missed.extend(before[..30].iter().map(|firing| firing.id));
    let mut stream = watch(&server, 1, "", Some(seen.id)).await.expect("watching");
    for generation in 41..=45 {
        fire(&server, one, generation).await;
    }
    missed.extend(list(&server, one, 0, 5).await[..5].iter().map(|firing| firing.id));
    let mut told = BTreeSet::new();
    while !missed.is_subset(&told) {
        let firing = next(&mut stream).await;
        assert!(firing.alert_id == one && firing.id != seen.id, "{firing:?}");
        told.insert(firing.id);
    }
    let status = watch(&server, 0, "", Some(i64::MAX)).await.expect_err("no such firing");
    assert_eq!(status.code(), Code::NotFound);
    let status = watch(&server, -1, "", None).await.expect_err("no such user");
    assert_eq!(status.code(), Code::InvalidArgument);
}

/// With the tail's connection ends what it follows; the next watch begins another one.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_with_the_connection_to_the_database_and_another_one_goes_on() {
    let server = Server::start(Limits::default()).await;
    let one = alert(&server, 1, "AAPL").await;
    let mut stream = watch(&server, 1, "", None).await.expect("watching");
    fire(&server, one, 1).await;
    let seen = next(&mut stream).await;
    let cut = "SELECT count(pg_terminate_backend(pid)) > 0 FROM pg_stat_activity
        WHERE application_name = 'test' AND datname = current_database()";
    let url = server.url.clone();
    let cut = tokio::task::spawn_blocking(move || testkit::postgresql().execute(&url, cut));
    assert_eq!(cut.await.expect("cut"), "t");
    let ended = timeout(PATIENCE, stream.message()).await.expect("in time");
    assert_eq!(ended.expect_err("it has ended").code(), Code::Unavailable);
    while server.store.fire(&server.log, &[firing(one, 2)]).await.is_err() {}
    let mut stream = loop {
        // Until the pool has noticed that its connections were cut, too.
        match watch(&server, 1, "", Some(seen.id)).await {
            Ok(stream) => break stream,
            Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status}"),
        }
    };
    assert_eq!(next(&mut stream).await.generation, 2);
}
