//! What the environment asks of the stack itself. The services read theirs by themselves.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;

use anyhow::bail;

/// The process environment and the clone's `.env`.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    process: BTreeMap<String, String>,
    file: BTreeMap<String, String>,
}

impl Settings {
    pub(crate) fn load(root: &Path) -> Self {
        let process = env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let file = fs::read(root.join(".env")).unwrap_or_default();
        Self { process, file: parse(&String::from_utf8_lossy(&file)) }
    }

    /// A server of the user's own, which only the process environment may name: the original's
    /// `.env` names the very ports at which the stack runs its servers.
    pub(crate) fn external(&self, name: &str) -> anyhow::Result<Option<&str>> {
        match self.process.get(name).map(|value| value.trim()) {
            Some("") => bail!("{name} is empty: give it a value, or unset it"),
            value => Ok(value),
        }
    }

    /// What the services read by themselves, in order of name: a service that runs with another
    /// value has to be started again.
    pub(crate) fn of_services(&self) -> Vec<String> {
        const PREFIXES: [&str; 26] = [
            "ALERT_",
            "BATCH_",
            "CANDLES",
            "CORS_",
            "FEED_",
            "FINNHUB_",
            "GATEWAY_",
            "GRPC_",
            "HTTP_",
            "KAFKA_",
            "LOG",
            "MARKET_",
            "OTEL_",
            "PORT",
            "RECENT_",
            "REDIS_",
            "REQUEST_",
            "ROUND_",
            "SHUTDOWN_",
            "STALE_",
            "STREAM_",
            "SYMBOLS",
            "TICKS_",
            "TOKIO_",
            "TRACES_",
            "SSL_CERT_",
        ];
        let mut values = self.file.clone();
        values.extend(self.process.clone());
        values.retain(|name, _| PREFIXES.iter().any(|prefix| name.starts_with(prefix)));
        values.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    /// A setting that the services read too. Empty counts as absent: they judge it themselves.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let value = self.process.get(name).or_else(|| self.file.get(name));
        value.map(|value| value.trim()).filter(|value| !value.is_empty())
    }
}

/// Enough of `.env` to see which names have a value. The services report the mistakes in it.
fn parse(text: &str) -> BTreeMap<String, String> {
    text.trim_start_matches('\u{feff}')
        .lines()
        .filter_map(|line| line.trim().split_once('='))
        .map(|(name, value)| {
            let name = name.trim();
            let name = name.strip_prefix("export ").unwrap_or(name).trim();
            (name.to_owned(), unquote(value.trim()).to_owned())
        })
        .filter(|(name, _)| !name.starts_with('#'))
        .collect()
}

fn unquote(value: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(rest) = value.strip_prefix(quote) {
            return rest.split(quote).next().unwrap_or_default();
        }
    }
    if value.starts_with('#') {
        return "";
    }
    value.find(" #").map_or(value, |comment| value[..comment].trim_end())
}

/// An address without what must not be shown: a password, or a query with a token.
pub(crate) fn redact(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else {
        if !address.contains('=') {
            return address.to_owned();
        }
        // PostgreSQL's key=value pairs.
        let field = |name: &str| {
            address
                .split_ascii_whitespace()
                .filter_map(|pair| pair.split_once('='))
                .find_map(|(key, value)| (key == name).then(|| value.trim_matches('\'')))
        };
        let (host, port) = (field("host").unwrap_or("localhost"), field("port").unwrap_or("5432"));
        return format!("{host}:{port}");
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let host = rest[..end].rsplit('@').next().unwrap_or_default();
    match scheme {
        "ws" | "wss" => format!("{scheme}://{host}"),
        _ => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_originals_file_loads_and_an_empty_key_is_absent() {
        let file = "# keys\nFINNHUB_API_KEY=\nexport FEED_URL=\"\" # none\nPORT=8081 # web\n\
                    DATABASE_URL=user=user password=password host=127.0.0.1 port=5433\n";
        let settings = Settings { process: BTreeMap::new(), file: parse(file) };
        assert_eq!(settings.value("FINNHUB_API_KEY"), None);
        assert_eq!(settings.value("FEED_URL"), None);
        assert_eq!(settings.value("PORT"), Some("8081"));
        assert_eq!(settings.external("DATABASE_URL").expect("not set"), None);
    }

    #[test]
    fn an_empty_server_in_the_environment_is_an_error() {
        let process = BTreeMap::from([("REDIS_ADDR".to_owned(), " ".to_owned())]);
        let settings = Settings { process, file: BTreeMap::new() };
        let error = settings.external("REDIS_ADDR").expect_err("empty").to_string();
        assert_eq!(error, "REDIS_ADDR is empty: give it a value, or unset it");
    }

    #[test]
    fn whatever_the_services_read_is_heeded() {
        const README: &str = include_str!("../../../README.md");
        // Those that the stack itself decides.
        const OURS: [&str; 2] = ["DATABASE_URL", "METRICS_ADDR"];
        let table = README.split("\n| variable |").nth(1).expect("a table of settings");
        let lines = table.lines().skip(2).take_while(|line| line.starts_with('|'));
        let cells = lines.filter_map(|line| line.split('|').nth(1));
        let names = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
        let process: BTreeMap<String, String> =
            names.map(|name| (name.to_owned(), "1".to_owned())).collect();
        assert!(process.len() > 40, "{process:?}");
        let settings = Settings { process, file: BTreeMap::new() };
        let heeded = settings.of_services();
        for name in settings.process.keys().filter(|name| !OURS.contains(&name.as_str())) {
            assert!(heeded.contains(&format!("{name}=1")), "{name}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        for (address, shown) in [
            ("localhost:6379", "localhost:6379"),
            ("redis://:secret@cache:6380/0", "cache:6380"),
            ("postgres://user:p@ss@db:5432/x?sslmode=disable", "db:5432"),
            ("user=u password=secret host=db port=6000 dbname=x", "db:6000"),
            ("wss://ws.finnhub.io?token=secret", "wss://ws.finnhub.io"),
            ("ws://user:pw@127.0.0.1:1/a?token=b", "ws://127.0.0.1:1"),
        ] {
            assert_eq!(redact(address), shown);
        }
    }
}
