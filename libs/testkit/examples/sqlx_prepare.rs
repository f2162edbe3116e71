//! Asks a PostgreSQL with the migrations applied about every query of `libs/store`, and puts the
//! answers in `libs/store/.sqlx`, where builds find them: run it after a change of either.
//!
//! `cargo run --release --package testkit --example sqlx_prepare`

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

use servers::cargo;
use testkit::{Postgresql, private_postgresql};

fn main() -> io::Result<ExitCode> {
    let server = private_postgresql();
    let postgresql = Postgresql::at(server.address());
    let url = postgresql.database();
    let store = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("store");
    for migration in sorted(&store.join("migrations"))? {
        postgresql.execute(&url, &fs::read_to_string(migration)?);
    }
    let answers = store.join(".sqlx");
    if answers.exists() {
        fs::remove_dir_all(&answers)?;
    }
    fs::create_dir(&answers)?;
    // The macros are expanded anew because the variable has changed.
    let checked = cargo()
        .args(["check", "--release", "--package", "store"])
        .env("GOSTOCKS_SQLX_PREPARE", &url)
        .status()?;
    writeln!(io::stdout(), "{} answers in {}", sorted(&answers)?.len(), answers.display())?;
    Ok(if checked.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn sorted(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let paths: io::Result<Vec<PathBuf>> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths?;
    paths.sort();
    Ok(paths)
}
