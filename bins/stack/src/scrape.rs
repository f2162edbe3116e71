//! `prometheus.yml` is written for Compose; what is asked of it here is text, not YAML.

use std::collections::BTreeMap;
use std::path::Path;

const JOB: &str = "  - job_name:";
/// What finds the further instances that Compose may run.
const FINDER: &str = "    dns_sd_configs:";

/// With the addresses of this machine in place of Compose's `name:port`, without the jobs of what
/// does not run here, and the rules where they are.
pub(crate) fn on_one_machine(
    text: &str,
    addresses: &BTreeMap<String, String>,
    rules: &Path,
) -> String {
    let (head, jobs) = text.split_at(text.find(JOB).unwrap_or(text.len()));
    // Prometheus reads it from another folder.
    let mut settings = head.replace("- grafana/rules/", &format!("- {}/", rules.display()));
    for job in jobs.split_inclusive('\n').fold(Vec::<String>::new(), gather) {
        let place = |(name, address): (&String, &String)| {
            let (name, address) = (format!("\"{name}\""), format!("\"{address}\""));
            job.contains(&name).then(|| job.replace(&name, &address))
        };
        settings.extend(addresses.iter().find_map(place));
    }
    settings
}

fn gather(mut jobs: Vec<String>, line: &str) -> Vec<String> {
    if line.starts_with(JOB) {
        jobs.push(String::new());
    }
    if let Some(job) = jobs.last_mut().filter(|_| !line.starts_with(FINDER)) {
        job.push_str(line);
    }
    jobs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_runs_here_is_read_and_at_its_address() {
        let text = "rule_files:\n  - grafana/rules/a.yml\nscrape_configs:\n  - job_name: alert\n    \
                    static_configs: [{ targets: [\"alert:9103\"] }]\n    dns_sd_configs: [{ names: \
                    [alert-2] }]\n  - job_name: redpanda\n    static_configs: [{ targets: \
                    [\"redpanda:9644\"] }]\n";
        let addresses = [("alert:9103", "127.0.0.1:7"), ("gateway:9104", "127.0.0.1:8")];
        let addresses = addresses.map(|(name, address)| (name.to_owned(), address.to_owned()));
        let found = on_one_machine(text, &addresses.into(), Path::new("/clone/grafana/rules"));
        assert_eq!(
            found,
            "rule_files:\n  - /clone/grafana/rules/a.yml\nscrape_configs:\n  - job_name: alert\n    \
             static_configs: [{ targets: [\"127.0.0.1:7\"] }]\n"
        );
    }

    #[test]
    fn every_member_with_metrics_is_read() {
        let text = include_str!("../../../prometheus.yml");
        for member in &crate::catalogue::MEMBERS {
            let exports = member.name.ends_with("-exporter") || member.name == "prometheus";
            let port = member.metrics_port.or(member.port.filter(|_| exports));
            let Some(port) = port else { continue };
            let target = format!("\"{}:{port}\"", member.name);
            assert_eq!(text.matches(&target).count(), 1, "{target}");
        }
    }
}
