//! Generates messages and services from `proto/`, in Rust alone: no `protoc` on the machine.

use std::path::Path;

use anyhow::Context;

const FILES: [&str; 3] =
    ["gostocks/market/v1/tick.proto", "stock/stock.proto", "alert/alert.proto"];

fn main() -> anyhow::Result<()> {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    println!("cargo::rerun-if-changed={}", proto.display());
    let descriptors = protox::compile(FILES, [&proto])
        .with_context(|| format!("compiling the files of {}", proto.display()))?;
    tonic_prost_build::configure()
        .compile_fds(descriptors)
        .context("generating Rust from the descriptors")
}
