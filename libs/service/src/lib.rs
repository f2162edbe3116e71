//! What every program shares: configuration, telemetry, probes, signals and the drain.
//!
//! A program is `service::main::<Config>("name", serve)`, and its order is always the same:
//! settings, telemetry, metrics and probes, `serve`, drain. Beside serving, each can be asked to
//! check one that serves (`healthcheck`). The crate knows nothing of trades and
//! of no server; it composes no adapters. It also sets the allocator of whoever links it.

pub mod catalogue;
mod env_file;
mod healthcheck;
mod lifecycle;
mod panics;
pub mod parse;
mod probes;
mod readiness;
mod recorder;
mod run;
mod settings;
mod tally;
mod telemetry;
pub mod traces;
mod warden;

pub use healthcheck::healthcheck;
pub use lifecycle::Service;
pub use panics::{Panicked, contain};
use probes::probes;
pub use probes::{livez, readyz};
pub use readiness::ReadyFlag;
pub use run::{main, main_or, run};
pub use settings::{Configuration, Settings, settings_of};
pub use tally::Tally;

/// glibc's allocator contends between threads and keeps what it has freed.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
