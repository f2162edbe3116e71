use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use alert::grpc::{self, Calls, Limits, Watching};
use rpc::alert::v1::alert_service_client::AlertServiceClient;
use rpc::alert::v1::{AlertCondition, CreateAlertRequest};
use rpc::seed::alert::alert_service_client::AlertServiceClient as OriginalClient;
use store::{Creator, DatabaseUrl, EndOffsets, Filter, Log, LogEnds, Store, StoreMetrics};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

/// How long anything here may take on a busy machine before the test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const PARTITIONS: i32 = 6;

/// Says where the log ends once it is open.
#[derive(Debug)]
struct Gate(watch::Receiver<bool>);

impl EndOffsets for Gate {
    async fn end_offsets(&self, partitions: &BTreeSet<i32>) -> anyhow::Result<BTreeMap<i32, i64>> {
        self.0.clone().wait_for(|open| *open).await?;
        Ok(partitions.iter().map(|partition| (*partition, 7)).collect())
    }
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) store: Store,
    pub(crate) log: Log,
    pub(crate) url: String,
    pub(crate) gate: watch::Sender<bool>,
    pub(crate) database: watch::Sender<bool>,
    pub(crate) stopping: CancellationToken,
    pub(crate) serving: JoinHandle<anyhow::Result<()>>,
}

impl Server {
    /// Serves an empty database of the shared PostgreSQL.
    pub(crate) async fn start(limits: Limits) -> Self {
        let url = testkit::postgresql().database();
        let parsed = DatabaseUrl::parse(&url).expect("a URL");
        let store = Store::new(&parsed, "test", StoreMetrics::noop());
        store.migrate().await.expect("migrated");
        let log = store.follow("market_ticks", PARTITIONS).await.expect("followed");
        let (gate, gated) = watch::channel(true);
        let (database, answers) = watch::channel(true);
        let ends = LogEnds::new(Gate(gated));
        let (creator, work) = Creator::new(store.clone(), log.clone(), ends.clone());
        tokio::spawn(work);
        let stopping = CancellationToken::new();
        tokio::spawn(store.clone().carry_news(stopping.clone()));
        let (watching, tail) = Watching::new(store.clone(), stopping.clone());
        tokio::spawn(tail);
        let min_cooldown = Duration::from_secs(1);
        let (kept, asked) = (log.clone(), answers.clone());
        let calls = Calls::new(store.clone(), log, creator, ends, min_cooldown, asked);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let serving = grpc::serve(listener, calls, watching, limits, answers, stopping.clone());
        let serving = tokio::spawn(serving);
        Self { address, store, log: kept, url, gate, database, stopping, serving }
    }

    pub(crate) fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address));
        endpoint.expect("an address").connect_lazy()
    }

    pub(crate) fn client(&self) -> AlertServiceClient<Channel> {
        AlertServiceClient::new(self.channel())
    }

    pub(crate) fn original(&self) -> OriginalClient<Channel> {
        OriginalClient::new(self.channel())
    }

    /// Waits until a create is under way: it asks where the log ends, and the gate is closed.
    pub(crate) async fn gated(&self) {
        let waiting = async {
            // One receiver is the gate's own.
            while self.gate.receiver_count() < 2 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("a create arrives");
    }

    /// How many alerts there are.
    pub(crate) async fn count(&self) -> usize {
        self.store.list(&Filter::default(), 0, 100_000).await.expect("listed").len()
    }

    pub(crate) async fn ended(self) {
        let ended = tokio::time::timeout(PATIENCE, self.serving).await;
        ended.expect("ends").expect("no panic").expect("ends well");
    }
}

pub(crate) fn wanted() -> CreateAlertRequest {
    CreateAlertRequest {
        user_id: 1,
        symbol: "aapl".to_owned(),
        condition: AlertCondition::Above.into(),
        target_price: 150.0,
        ..CreateAlertRequest::default()
    }
}
