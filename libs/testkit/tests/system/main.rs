//! The programs as a whole, with real servers: one test program, so that tests that wait for a server
//! do so beside others. (`chaos` is one of its own: `cargo stack chaos` runs it alone.)

mod alerts;
mod bench;
mod foreign_feed;
mod frames;
mod kills;
mod market_service;
mod probe;
mod replay;
mod requests;
mod schemathesis;
mod seed_client;
mod servers;
mod settings;
mod streams;
mod traces;
