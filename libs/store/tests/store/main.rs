//! The store's promises, on a real PostgreSQL.

mod alerts;
mod changes;
mod changing;
mod creator;
mod firing;
mod following;
mod outages;
mod progress;
mod quotas;
mod support;
mod watching;
