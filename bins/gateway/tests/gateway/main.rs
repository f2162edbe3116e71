//! The gateway over HTTP: one test program.

mod abuse;
mod alerts;
mod connections;
mod contract;
mod document;
mod redis;
mod requests;
mod scripted;
