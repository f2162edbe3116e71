//! The store's promises, on a real PostgreSQL.

mod alerts;
mod changes;
mod creator;
mod firing;
mod following;
mod outages;
mod support;
