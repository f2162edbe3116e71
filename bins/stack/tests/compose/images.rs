use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use servers::kafka::Distribution;

use crate::compose::{Compose, docker, run};

/// Stand-ins lose their names when this ends: the next `up` is to pull the real ones.
pub(crate) struct StandIns(Vec<String>);

impl Drop for StandIns {
    fn drop(&mut self) {
        for image in &self.0 {
            let _ = Command::new("docker").args(["rmi", image]).output();
        }
    }
}

/// Every image that is not built here: as it is, pulled, or stood in for.
///
/// # Errors
/// Where one can be neither pulled nor stood in for.
pub(crate) fn obtain(compose: &Compose) -> Result<StandIns, String> {
    let missing: Vec<String> = wanted(compose).into_iter().filter(|image| !has(image)).collect();
    let Some(first) = missing.first() else { return Ok(StandIns(Vec::new())) };
    // One that cannot be pulled tells of all: no registry is reached.
    if pull(first) {
        for image in &missing[1..] {
            docker(&["pull", "--quiet", image]);
        }
        return Ok(StandIns(Vec::new()));
    }
    if !nix::unistd::geteuid().is_root() {
        return Err("images cannot be pulled here, and stand-ins want root".to_owned());
    }
    eprintln!("no registry is reached: making stand-ins");
    let cache = std::env::var_os("GOSTOCKS_CACHE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.stack/cache"),
        PathBuf::from,
    );
    let kafka = Distribution::install(&cache).map_err(|error| format!("{error:#}"))?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compose/stand-ins/make.sh");
    let mut make = Command::new("bash");
    make.arg(script).arg(kafka.jars()).env("DOCKER_BUILDKIT", "1");
    make.args(missing.iter().map(|image| format!("{image}={}", target(image))));
    run(&mut make);
    Ok(StandIns(missing))
}

/// Compose's, and what the Dockerfile begins with.
fn wanted(compose: &Compose) -> BTreeSet<String> {
    let settings = compose.settings();
    let services = settings["services"].as_object().expect("services");
    let mut images: BTreeSet<String> = services
        .values()
        .filter(|service| service["build"].is_null())
        .map(|service| service["image"].as_str().expect("an image").to_owned())
        .collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Dockerfile");
    let text = fs::read_to_string(path).expect("a Dockerfile");
    let first = text.lines().find_map(|line| line.strip_prefix("FROM ")).expect("a FROM");
    images.extend(first.split(' ').next().map(str::to_owned));
    images
}

/// Of stand-ins/Dockerfile: the image's name without its owner and its tag.
fn target(image: &str) -> &str {
    let name = image.rsplit('/').next().unwrap_or(image);
    name.split(':').next().unwrap_or(name)
}

fn has(image: &str) -> bool {
    let inspect = Command::new("docker").args(["image", "inspect", image]).output();
    inspect.is_ok_and(|output| output.status.success())
}

fn pull(image: &str) -> bool {
    let pull = Command::new("docker").args(["pull", "--quiet", image]).output();
    pull.is_ok_and(|output| output.status.success())
}
