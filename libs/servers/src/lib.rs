//! How to install and run the real servers on one machine, on loopback: Apache Kafka, Redis,
//! PostgreSQL and Prometheus. `stack` runs them for a person, `testkit` for the tests.
//!
//! Blocking, and without a client library of any of them: readiness is asked in a few bytes of
//! each one's own protocol, so that `cargo stack` itself builds in seconds.

mod cargo;
pub mod exporter;
pub mod http;
mod identity;
pub mod install;
pub mod kafka;
mod launch;
mod listening;
mod log;
pub mod port;
pub mod postgresql;
pub mod prometheus;
pub mod redis;
mod running;

pub use nix::sys::signal::Signal;

pub use cargo::{cargo, forget_package};
pub use identity::{Exit, ProcessId};
pub use launch::{Lifetime, User, bind, block_signals, launch};
pub use log::tail;
pub use running::{Running, poll};
