//! Tells sqlx's macros where they are, so that a build needs no database and no settings.
//!
//! Left alone, they read `.env` in every folder from here to the root, and stop at a line that
//! their parser cannot read: the original's `DATABASE_URL=user=… password=…` is one. A manifest
//! folder of `/` keeps them away from it; everything else that they need is said below.

use std::env;

/// Set by `cargo run --release --package testkit --example sqlx_prepare`: a database with the
/// migrations applied, which the macros then ask instead of the committed answers.
const PREPARE: &str = "GOSTOCKS_SQLX_PREPARE";

fn main() {
    let folder = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=.sqlx");
    println!("cargo::rerun-if-env-changed={PREPARE}");
    println!("cargo::rustc-env=CARGO_MANIFEST_DIR=/");
    println!("cargo::rustc-env=SQLX_OFFLINE_DIR={folder}/.sqlx");
    match env::var(PREPARE) {
        Ok(url) => {
            println!("cargo::rustc-env=SQLX_OFFLINE=false");
            println!("cargo::rustc-env=DATABASE_URL={url}");
        }
        Err(_) => println!("cargo::rustc-env=SQLX_OFFLINE=true"),
    }
}
