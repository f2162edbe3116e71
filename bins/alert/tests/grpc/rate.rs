use crate::support::{Server, wanted};
use alert::grpc::Limits;
use std::time::{Duration, Instant};
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rate() {
    let server = Server::start(Limits::default()).await;
    for callers in [1, 64] {
        let client = server.client();
        let until = Instant::now() + Duration::from_secs(5);
        let tasks: Vec<_> = (0..callers)
            .map(|_| {
                let mut client = client.clone();
                tokio::spawn(async move {
                    let mut n = 0;
                    while Instant::now() < until {
                        client.create_alert(wanted()).await.expect("made");
                        n += 1;
                    }
                    n
                })
            })
            .collect();
        let mut n = 0;
        for t in tasks { n += t.await.unwrap(); }
        println!("RATE {callers}: {}/s", n / 5);
    }
}
