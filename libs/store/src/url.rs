use std::fmt;

use percent_encoding::percent_decode_str;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

const WHAT: &str = "postgres://user:password@host:port/database, or user=… password=… dbname=… \
                    host=… port=… sslmode=disable";

/// Where PostgreSQL is, and as whom: a `postgres://` URL, or libpq's `key=value` pairs.
///
/// Holds a password: neither `Debug` nor any error shows it.
#[derive(Clone)]
pub struct DatabaseUrl {
    user: String,
    password: Option<String>,
    /// A name, an address, or the folder of a Unix socket.
    host: String,
    port: u16,
    database: String,
    time_zone: Option<String>,
}

impl DatabaseUrl {
    /// Parses `DATABASE_URL`.
    ///
    /// # Errors
    /// A sentence that begins with `expected` and names what is wrong, without any secret.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut fields = Fields::default();
        if let Some((scheme, rest)) = text.split_once("://") {
            if !matches!(scheme, "postgres" | "postgresql") {
                return wrong("the URL's scheme is another");
            }
            fields.read_url(rest)?;
        } else if text.contains('=') {
            fields.read_pairs(text)?;
        } else if text.contains(['@', ':']) {
            // It may hold a password.
            return wrong("found neither");
        } else {
            return Err(format!("expected {WHAT}, found {text:?}"));
        }
        fields.finish()
    }

    /// `host:port/database`: what may be logged.
    pub fn address(&self) -> String {
        format!("{}:{}/{}", self.host, self.port, self.database)
    }

    pub(crate) fn options(&self, program: &str) -> PgConnectOptions {
        let mut settings = vec![
            // Compiling a plan takes longer than any statement here.
            ("jit", "off"),
            // A program that vanishes in the midst of a transaction, its machine with it, is not to
            // hold its locks for as long as TCP believes in it.
            ("idle_in_transaction_session_timeout", "10s"),
            ("tcp_keepalives_idle", "10"),
            ("tcp_keepalives_interval", "5"),
            ("tcp_keepalives_count", "3"),
            ("tcp_user_timeout", "30s"),
        ];
        settings.extend(self.time_zone.as_deref().map(|zone| ("TimeZone", zone)));
        let options = PgConnectOptions::new_without_pgpass()
            .host(&self.host)
            .port(self.port)
            .username(&self.user)
            .database(&self.database)
            .ssl_mode(PgSslMode::Disable)
            .application_name(program)
            .options(settings);
        match &self.password {
            Some(password) => options.password(password),
            None => options,
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({})", self.address())
    }
}

fn wrong<T>(why: &str) -> Result<T, String> {
    Err(format!("expected {WHAT}; {why}"))
}

#[derive(Default)]
struct Fields {
    user: Option<String>,
    password: Option<String>,
    host: Option<String>,
    port: Option<u16>,
    database: Option<String>,
    time_zone: Option<String>,
}

impl Fields {
    fn set(&mut self, key: &str, value: String) -> Result<(), String> {
        match key {
            "user" => self.user = Some(value),
            "password" => self.password = Some(value),
            "host" => self.host = Some(value),
            "port" => match value.parse() {
                Ok(port) if port > 0 => self.port = Some(port),
                _ => return wrong("the port is not a number from 1 to 65535"),
            },
            "dbname" | "database" => self.database = Some(value),
            "TimeZone" | "timezone" => self.time_zone = Some(value),
            "sslmode" => match &*value {
                "disable" | "allow" | "prefer" => {}
                "require" | "verify-ca" | "verify-full" => {
                    return wrong("TLS to PostgreSQL is not supported: use sslmode=disable");
                }
                _ => return wrong("sslmode is none of PostgreSQL's"),
            },
            // A password with a space in it, unquoted, would show up here.
            _ if self.password.is_some() => return wrong("a key is unknown"),
            _ => return wrong(&format!("the key {key:?} is unknown")),
        }
        Ok(())
    }

    /// What follows the scheme.
    fn read_url(&mut self, rest: &str) -> Result<(), String> {
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, address) = match authority.rsplit_once('@') {
            Some((credentials, address)) => (credentials, address),
            None => ("", authority),
        };
        let (user, password) = match credentials.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (credentials, None),
        };
        let (host, port) = match address.strip_prefix('[') {
            Some(address) => match address.split_once(']') {
                Some((host, port)) => (host, port.strip_prefix(':')),
                None => return wrong("the URL's host lacks its closing bracket"),
            },
            None => match address.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (address, None),
            },
        };
        let given = [
            ("user", Some(user)),
            ("password", password),
            ("host", Some(host)),
            ("port", port),
            ("dbname", Some(database)),
        ];
        for (key, value) in given {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                self.set(key, decode(value)?)?;
            }
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let Some((key, value)) = pair.split_once('=') else {
                return wrong("a parameter of the URL has no value");
            };
            self.set(&decode(key)?, decode(value)?)?;
        }
        Ok(())
    }

    /// libpq's form: `key = value` pairs, separated by spaces; a value may be quoted with `'`, and
    /// `\` takes the next character as it is.
    fn read_pairs(&mut self, text: &str) -> Result<(), String> {
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let Some((key, after)) = rest.split_once('=') else {
                return wrong("a key has no value");
            };
            let (value, after) = take_value(after.trim_start())?;
            self.set(key.trim(), value)?;
            rest = after.trim_start();
        }
        Ok(())
    }

    fn finish(self) -> Result<DatabaseUrl, String> {
        let Some(user) = self.user else { return wrong("the user is missing") };
        let Some(database) = self.database else { return wrong("the database is missing") };
        Ok(DatabaseUrl {
            user,
            password: self.password,
            host: self.host.unwrap_or_else(|| "localhost".to_owned()),
            port: self.port.unwrap_or(5432),
            database,
            time_zone: self.time_zone,
        })
    }
}

fn decode(text: &str) -> Result<String, String> {
    match percent_decode_str(text).decode_utf8() {
        Ok(decoded) => Ok(decoded.into_owned()),
        Err(_) => wrong("the URL is not UTF-8 once decoded"),
    }
}

fn take_value(text: &str) -> Result<(String, &str), String> {
    let quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut characters = text.char_indices().skip(usize::from(quoted));
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some((_, escaped)) => value.push(escaped),
                None => return wrong("a value ends in a backslash"),
            },
            '\'' if quoted => return Ok((value, &text[at + 1..])),
            _ if !quoted && character.is_whitespace() => return Ok((value, &text[at..])),
            _ => value.push(character),
        }
    }
    if quoted { wrong("a quoted value has no end") } else { Ok((value, "")) }
}

#[cfg(test)]
mod tests;
