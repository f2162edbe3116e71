//! Takes out of Swagger UI's release what the page at `/docs` needs, compressed once: as it is
//! served, and a third of the size in the program.

use std::fs;
use std::io::{Cursor, Read, Write};
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::ZipArchive;

const FILES: [&str; 2] = ["swagger-ui-bundle.js", "swagger-ui.css"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let folder = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    let mut release = ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED)).expect("a zip archive");
    for file in FILES {
        let ending = format!("/dist/{file}");
        let names: Vec<String> =
            release.file_names().map(|name| name.expect("UTF-8").to_string()).collect();
        let name = names.iter().find(|name| name.ends_with(&ending)).expect("it is in the release");
        let mut bytes = Vec::new();
        let mut entry = release.by_name(name).expect("it is in the archive");
        entry.read_to_end(&mut bytes).expect("it unpacks");
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        packed.write_all(&bytes).expect("memory");
        let packed = packed.finish().expect("memory");
        fs::write(folder.join(format!("{file}.gz")), packed).expect("the folder is ours");
    }
}
