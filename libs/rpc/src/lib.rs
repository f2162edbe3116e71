//! Messages and services generated from `proto/`, and nothing else.
//!
//! Hot paths do not decode with these: `wire` has a borrowed view of [`market::v1::StockTick`],
//! and its tests hold it to the generated type.

/// `gostocks.market`: what is on the log.
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
