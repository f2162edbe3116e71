//! Generates what the `ticks` benchmark compares with, buffa's and quick-protobuf's
//! `gostocks.market.v1.StockTick`, in Rust alone: no `protoc` on the machine.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, anyhow};

const FILE: &str = "gostocks/market/v1/tick.proto";

fn main() -> anyhow::Result<()> {
    // Cargo starts it in the package's folder. What `env!` says is of the clone that compiled it.
    let proto = PathBuf::from("../proto");
    let file = proto.join(FILE);
    println!("cargo::rerun-if-changed={}", file.display());
    let out = PathBuf::from(std::env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?);

    let descriptors = out.join("tick.bin");
    fs::write(
        &descriptors,
        protox::Compiler::new([&proto])?.open_file(FILE)?.encode_file_descriptor_set(),
    )
    .context("writing the descriptors")?;
    buffa_build::Config::new()
        .descriptor_set(&descriptors)
        .files(&[FILE])
        .include_file("buffa.rs")
        .compile()
        .map_err(|error| anyhow!("buffa: {error}"))?;

    let written = out.join("quick_protobuf.rs");
    let settings = pb_rs::ConfigBuilder::new(&[file], Some(&written), None, &[proto])
        .map_err(|error| anyhow!("pb-rs: {error}"))?
        .single_module(true)
        .headers(false);
    pb_rs::types::FileDescriptor::run(&settings.build()).map_err(|error| anyhow!("pb-rs: {error}"))
}
