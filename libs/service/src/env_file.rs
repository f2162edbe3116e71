//! The `.env` file, as people write it by hand.
//!
//! One `NAME=value` a line. A value runs to the end of its line, spaces included, so that the
//! original's `DATABASE_URL=user=user password=password …` loads as it stands. `export ` before a
//! name, quotes around a value, `#` comments, CRLF and a byte-order mark are understood. Nothing is
//! expanded: a `$` is a `$`.

use std::collections::BTreeMap;

/// The variables, the last of a name winning, and a sentence for each line that is not one.
///
/// A sentence names the line and never quotes it: what stands there may be a secret.
pub(crate) fn parse(text: &str) -> (BTreeMap<String, String>, Vec<String>) {
    let mut variables = BTreeMap::new();
    let mut errors = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, line) in text.lines().enumerate() {
        match parse_line(line.trim()) {
            Ok(Some((name, value))) => {
                variables.insert(name.to_owned(), value);
            }
            Ok(None) => {}
            Err(error) => errors.push(format!(".env: line {}: {error}", index + 1)),
        }
    }
    (variables, errors)
}

fn parse_line(line: &str) -> Result<Option<(&str, String)>, &'static str> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (name, value) = line.split_once('=').ok_or("expected NAME=value")?;
    let name = name.trim_end();
    let name = match name.strip_prefix("export") {
        Some(rest) if rest.starts_with(char::is_whitespace) => rest.trim_start(),
        _ => name,
    };
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts_well || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err("expected a name of letters, digits and underscores before the =");
    }
    let value = parse_value(value)?;
    if value.contains('\0') {
        return Err("a value cannot contain a zero byte");
    }
    Ok(Some((name, value)))
}

fn parse_value(text: &str) -> Result<String, &'static str> {
    let trimmed = text.trim_start();
    let (value, rest) = match trimmed.chars().next() {
        Some('\'') => {
            let (value, rest) =
                trimmed[1..].split_once('\'').ok_or("the single quote is not closed")?;
            (value.to_owned(), rest)
        }
        Some('"') => double_quoted(&trimmed[1..])?,
        _ => return Ok(unquoted(text)),
    };
    let after = rest.trim_start();
    if after.is_empty() || after.starts_with('#') {
        Ok(value)
    } else {
        Err("there is text after the closing quote")
    }
}

/// A `#` begins a comment only after white space, so that `colour=#fff` and passwords survive.
fn unquoted(text: &str) -> String {
    let mut before = None;
    for (at, c) in text.char_indices() {
        if c == '#' && before.is_some_and(char::is_whitespace) {
            return text[..at].trim().to_owned();
        }
        before = Some(c);
    }
    text.trim().to_owned()
}

/// The value of a double-quoted text whose opening quote is gone, and what follows its end.
fn double_quoted(text: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 'r')) => value.push('\r'),
                Some((_, 't')) => value.push('\t'),
                Some((_, c @ ('"' | '\\' | '$' | '`' | '\''))) => value.push(c),
                Some((_, c)) => value.extend(['\\', c]),
                None => break,
            },
            c => value.push(c),
        }
    }
    Err("the double quote is not closed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &str)]) {
        let (variables, errors) = parse(text);
        assert!(errors.is_empty(), "{text:?}: {errors:?}");
        let expected: BTreeMap<_, _> =
            expected.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        assert_eq!(variables, expected, "{text:?}");
    }

    fn check_error(text: &str, expected: &str) {
        assert_eq!(parse(text).1, [expected], "{text:?}");
    }

    #[test]
    fn the_originals_file_loads_as_it_stands() {
        check(
            "FINNHUB_API_KEY=your_api_key_here\nKAFKA_BROKERS=localhost:9092\n\
             DATABASE_URL=user=user password=password dbname=gostocks host=127.0.0.1 port=5433\n",
            &[
                ("FINNHUB_API_KEY", "your_api_key_here"),
                ("KAFKA_BROKERS", "localhost:9092"),
                (
                    "DATABASE_URL",
                    "user=user password=password dbname=gostocks host=127.0.0.1 port=5433",
                ),
            ],
        );
    }

    #[test]
    fn a_line_is_a_name_and_the_rest() {
        check("", &[]);
        check("A=b", &[("A", "b")]);
        check("A=b\r\nC=d\r\n", &[("A", "b"), ("C", "d")]);
        check("\u{feff}A=b", &[("A", "b")]);
        check("export A=b", &[("A", "b")]);
        check("export\tA = b", &[("A", "b")]);
        check("export=1", &[("export", "1")]);
        check("export = 1", &[("export", "1")]);
        check("exported=1", &[("exported", "1")]);
        check("  A  =  b c  ", &[("A", "b c")]);
        check("_a9=x=y=z", &[("_a9", "x=y=z")]);
        check("A=", &[("A", "")]);
        check("A=1\nA=2", &[("A", "2")]);
        check("A=ü€", &[("A", "ü€")]);
    }

    #[test]
    fn comments_begin_a_line_or_follow_a_space() {
        check("# A=b\n   # C=d\n\n", &[]);
        check("A=b # why", &[("A", "b")]);
        check("A=b\t#why", &[("A", "b")]);
        check("A=b#c", &[("A", "b#c")]);
        check("A=#fff", &[("A", "#fff")]);
        check("A= # nothing", &[("A", "")]);
        check("A='b' # why", &[("A", "b")]);
        check("A=\"b # c\"", &[("A", "b # c")]);
    }

    #[test]
    fn quotes_keep_what_is_inside() {
        check("A=' b '", &[("A", " b ")]);
        check("A=\" b \"", &[("A", " b ")]);
        check("A=''", &[("A", "")]);
        check(r#"A="say \"hi\" \\ \n""#, &[("A", "say \"hi\" \\ \n")]);
        check(r"A='\n'", &[("A", r"\n")]);
        check(r#"A="\d""#, &[("A", r"\d")]);
        check("A=user=u password='a b'", &[("A", "user=u password='a b'")]);
        check("A=$HOME", &[("A", "$HOME")]);
    }

    #[test]
    fn a_bad_line_is_named_and_not_quoted() {
        check_error("A=b\nsecret\nC=d", ".env: line 2: expected NAME=value");
        let name = ".env: line 1: expected a name of letters, digits and underscores before the =";
        check_error("=b", name);
        check_error("9A=b", name);
        check_error("A-B=c", name);
        check_error("A B=c", name);
        check_error("A='b", ".env: line 1: the single quote is not closed");
        check_error("A=\"b\\\"", ".env: line 1: the double quote is not closed");
        check_error("A=\"b\" c", ".env: line 1: there is text after the closing quote");
        check_error("A=b\0", ".env: line 1: a value cannot contain a zero byte");
    }

    #[test]
    fn good_lines_beside_a_bad_one_are_kept() {
        let (variables, errors) = parse("A=b\nsecret\nC=d");
        assert_eq!((variables.len(), errors.len()), (2, 1));
    }
}
