//! The program itself, as a client sees it.

// The helpers of a test may panic as its body may.
#![allow(clippy::unwrap_used)]

mod client;
mod faults;
mod market;
mod program;
mod replay;
