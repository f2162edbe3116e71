//! What every program shares: configuration, telemetry, probes, signals and the drain.
//!
//! A program is `service::run::<Config>("name", serve)`, and its order is always the same:
//! settings, telemetry, metrics and probes, `serve`, drain. The crate knows nothing of trades and
//! of no server; it composes no adapters. It also sets the allocator of whoever links it.

pub mod catalogue;
mod env_file;
mod lifecycle;
mod panics;
pub mod parse;
mod probes;
mod readiness;
mod recorder;
mod run;
mod settings;
mod telemetry;
pub mod traces;
mod warden;

pub use lifecycle::Service;
pub use panics::{Panicked, contain};
pub use probes::probes;
pub use readiness::ReadyFlag;
pub use run::run;
pub use settings::{Configuration, Settings, settings_of};

/// glibc's allocator contends between threads and keeps what it has freed.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
