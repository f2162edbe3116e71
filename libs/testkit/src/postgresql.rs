use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use servers::{Lifetime, postgresql};

use crate::scratch;
use crate::server::Server;

/// The PostgreSQL that the tests of one program share. Each takes a database of its own.
#[derive(Debug)]
pub struct Postgresql {
    address: String,
    /// `None` where it is somebody else's.
    _server: Option<Server>,
}

/// The shared PostgreSQL, started once for this test program and as durable as the stack's.
///
/// # Panics
/// Where it does not come up.
pub fn postgresql() -> &'static Postgresql {
    static SHARED: OnceLock<Postgresql> = OnceLock::new();
    SHARED.get_or_init(|| {
        let server = private_postgresql();
        Postgresql { address: server.address().to_owned(), _server: Some(server) }
    })
}

/// A PostgreSQL of its own, for a test that kills or stops it.
///
/// # Panics
/// Where it does not come up.
pub fn private_postgresql() -> Server {
    let start = |home: &Path, port, log: &Path| {
        let data = postgresql::home(home)?;
        if data != home {
            scratch::lend(home, &data)?;
        }
        postgresql::start(&data, port, log, Lifetime::Bound)
    };
    Server::new("postgresql", Box::new(start), postgresql::is_ready)
}

impl Postgresql {
    /// The PostgreSQL at that address: a [`private_postgresql`]'s, for the methods below.
    pub fn at(address: &str) -> Self {
        Self { address: address.to_owned(), _server: None }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// Makes an empty database with a name of its own; its `DATABASE_URL`.
    pub fn database(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.execute("postgres", &format!("CREATE DATABASE {name}"));
        let (user, password) = (postgresql::USER, postgresql::PASSWORD);
        format!("postgres://{user}:{password}@{}/{name}?sslmode=disable", self.address)
    }

    /// Ends every connection to the database of that URL, and removes it.
    pub(crate) fn drop_database(&self, url: &str) {
        let name = name_of(url);
        self.execute("postgres", &format!("DROP DATABASE {name} WITH (FORCE)"));
    }

    /// What `psql` prints for a statement, run by the superuser in the database of that URL, or of
    /// that name.
    pub fn execute(&self, database: &str, statement: &str) -> String {
        let printed = postgresql::psql(&self.address, name_of(database), statement);
        printed.unwrap_or_else(|error| panic!("{statement}: {error:#}")).trim().to_owned()
    }
}

/// The name in a URL, or the name itself.
fn name_of(database: &str) -> &str {
    let name = database.rsplit('/').next().unwrap_or(database);
    name.split('?').next().unwrap_or(name)
}
