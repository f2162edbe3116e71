//! Generates messages and services from `proto/`, in Rust alone: no `protoc` on the machine.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use protox::prost::Message;

const FILES: [&str; 5] = [
    "gostocks/alert/v1/alert.proto",
    "gostocks/market/v1/market.proto",
    "gostocks/market/v1/tick.proto",
    "stock/stock.proto",
    "alert/alert.proto",
];

fn main() -> anyhow::Result<()> {
    // Cargo starts it in the package's folder. What `env!` says is of the clone that compiled it.
    let proto = Path::new("../../proto");
    println!("cargo::rerun-if-changed={}", proto.display());
    let descriptors = protox::compile(FILES, [proto])
        .with_context(|| format!("compiling the files of {}", proto.display()))?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())
        .context("writing the descriptors")?;
    tonic_prost_build::configure()
        .compile_fds(descriptors)
        .context("generating Rust from the descriptors")
}
