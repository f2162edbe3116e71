//! The feed against a real server on loopback, plain and with TLS.

// The helpers of a test may panic as its body may.
#![allow(clippy::unwrap_used)]

mod connection;
mod messages;
mod support;
mod tls;
