//! Messages and services generated from `proto/`, and nothing else.
//!
//! Hot paths do not decode with these: `wire` has a borrowed view of [`market::v1::StockTick`],
//! and its tests hold it to the generated type.

/// Every file of `proto/` as a `FileDescriptorSet`, comments included: what a server's reflection
/// serves.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Which fields an update names.
pub use prost_types::FieldMask;

/// `gostocks.alert`: alerts, and what is on the topic of firings.
pub mod alert {
    #[allow(clippy::all, missing_debug_implementations, unreachable_pub)]
    pub mod v1 {
        tonic::include_proto!("gostocks.alert.v1");
    }
}

/// `gostocks.market`: what is on the log, and the calls of a gateway.
pub mod market {
    #[allow(clippy::all, missing_debug_implementations, unreachable_pub)]
    pub mod v1 {
        tonic::include_proto!("gostocks.market.v1");
    }
}

/// The original's packages, for clients that were made from its files.
pub mod seed {
    #[allow(clippy::all, missing_debug_implementations, unreachable_pub)]
    pub mod stock {
        tonic::include_proto!("stock");
    }

    #[allow(clippy::all, missing_debug_implementations, unreachable_pub)]
    pub mod alert {
        tonic::include_proto!("alert");
    }
}
