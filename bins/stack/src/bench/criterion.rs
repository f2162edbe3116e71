//! What `cargo bench` has left of each benchmark: criterion's own files.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use serde_json::Value;

/// A benchmark's median.
#[derive(Debug, PartialEq)]
pub(crate) struct Median {
    pub(crate) name: String,
    /// Of one iteration.
    pub(crate) nanoseconds: f64,
    /// What an iteration does, where the benchmark says so.
    pub(crate) elements: Option<f64>,
    pub(crate) bytes: Option<f64>,
}

/// The benchmarks that a manifest names.
pub(crate) fn benches(manifest: &str) -> impl Iterator<Item = String> {
    let sections = manifest.split("[[bench]]").skip(1);
    let name = |section: &str| {
        let line = section.lines().find_map(|line| line.strip_prefix("name = "))?;
        Some(line.trim_matches('"').to_owned())
    };
    sections.filter_map(name)
}

/// Those that were measured since then, in order of name. `folder` is `target/criterion`.
pub(crate) fn medians(folder: &Path, since: SystemTime) -> Vec<Median> {
    let mut found = Vec::new();
    collect(folder, since, &mut found);
    found.sort_by(|one, two| one.name.cmp(&two.name));
    found
}

fn collect(folder: &Path, since: SystemTime, found: &mut Vec<Median>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if !path.is_dir() {
            continue;
        }
        // Beside it `base` has the run before.
        if entry.file_name() == "new" {
            found.extend(read(&path, since));
        } else {
            collect(&path, since, found);
        }
    }
}

fn read(folder: &Path, since: SystemTime) -> Option<Median> {
    let estimates = folder.join("estimates.json");
    let is_fresh = fs::metadata(&estimates).ok()?.modified().ok()? >= since;
    let json = |path: &Path| serde_json::from_slice::<Value>(&fs::read(path).ok()?).ok();
    let (estimates, about) = (json(&estimates)?, json(&folder.join("benchmark.json"))?);
    let per = |unit: &str| about["throughput"][unit].as_f64();
    is_fresh.then_some(Median {
        name: about["full_id"].as_str()?.to_owned(),
        nanoseconds: estimates["median"]["point_estimate"].as_f64()?,
        elements: per("Elements"),
        bytes: per("Bytes"),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_manifest_names_its_benchmarks() {
        let manifest = "[package]\nname = \"benches\"\n\n[[bench]]\nname = \"fold\"\nharness = false\n\n\
                        [[bench]]\npath = \"x.rs\"\nname = \"x\"\n";
        assert_eq!(benches(manifest).collect::<Vec<_>>(), ["fold", "x"]);
    }

    #[test]
    fn the_medians_of_this_run_are_found() {
        let folder = std::env::temp_dir().join(format!("criterion-{}", std::process::id()));
        let put = |name: &str, median: f64| {
            let new = folder.join(name).join("new");
            fs::create_dir_all(&new).expect("a folder");
            let estimates = format!(r#"{{"median":{{"point_estimate":{median}}}}}"#);
            fs::write(new.join("estimates.json"), estimates).expect("written");
            let about = format!(r#"{{"full_id":"{name}","throughput":{{"Elements":1000}}}}"#);
            fs::write(new.join("benchmark.json"), about).expect("written");
        };
        put("fold/ours", 1_500.0);
        put("decode", 20.5);
        fs::create_dir_all(folder.join("decode/base")).expect("a folder");
        let hour = Duration::from_secs(3_600);
        let found = medians(&folder, SystemTime::now() - hour);
        let later = medians(&folder, SystemTime::now() + hour);
        fs::remove_dir_all(&folder).expect("removed");
        let median = |name: &str, nanoseconds| Median {
            name: name.to_owned(),
            nanoseconds,
            elements: Some(1_000.0),
            bytes: None,
        };
        assert_eq!(found, [median("decode", 20.5), median("fold/ours", 1_500.0)]);
        assert_eq!(later, []);
    }
}
