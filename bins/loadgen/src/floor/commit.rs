use std::time::Instant;

use anyhow::Context;
use serde::Serialize;
use sqlx::{Connection, Executor, PgConnection};

use crate::bench::{Percentiles, micros};

const WARM_UP: i64 = 200;
const COMMITS: i64 = 2_000;

#[derive(Debug, Serialize)]
pub(super) struct Figures {
    commits: i64,
    #[serde(flatten)]
    late: Percentiles,
}

/// One connection, one row a transaction.
pub(super) async fn run(url: &str) -> anyhow::Result<Figures> {
    let mut database = PgConnection::connect(url).await.context("DATABASE_URL")?;
    database.execute("CREATE TABLE IF NOT EXISTS floor (id bigint, at bigint)").await?;
    let mut taken = micros();
    for id in 0..WARM_UP + COMMITS {
        let began = Instant::now();
        let insert = sqlx::query("INSERT INTO floor VALUES ($1, $2)").bind(id).bind(id);
        insert.execute(&mut database).await?;
        if id >= WARM_UP {
            taken.saturating_record(began.elapsed().as_micros() as u64);
        }
    }
    database.execute("DROP TABLE floor").await?;
    database.close().await?;
    Ok(Figures { commits: COMMITS, late: Percentiles::of(&taken) })
}
