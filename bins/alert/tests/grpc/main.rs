//! The calls over real sockets, before a real PostgreSQL. Kafka's part, where the log ends, is
//! told by a gate that each test can close.

mod answers;
mod changes;
mod firings;
mod life;
mod support;
