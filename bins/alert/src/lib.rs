//! Alerts on prices: made and listed over gRPC.

pub mod grpc;
