use super::*;

/// `user password host port database`.
fn check(text: &str, expected: &str) {
    let url = DatabaseUrl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let password = url.password.as_deref().unwrap_or("-");
    let found = format!("{} {password} {} {} {}", url.user, url.host, url.port, url.database);
    assert_eq!(found, expected, "{text}");
}

fn refuse(text: &str, why: &str) {
    let error = DatabaseUrl::parse(text).expect_err(text);
    assert!(error.starts_with("expected postgres://"), "{error}");
    assert!(error.ends_with(why), "{text}: {error}");
    assert!(!error.contains("secret"), "{error}");
}

#[test]
fn the_originals_form_and_urls_are_accepted() {
    check(
        "user=user password=password dbname=gostocks sslmode=disable host=127.0.0.1 port=5433",
        "user password 127.0.0.1 5433 gostocks",
    );
    check("  host = db  user='a b' password='it\\'s' dbname=x\\ y ", "a b it's db 5432 x y");
    check("user=u database=d TimeZone=UTC", "u - localhost 5432 d");
    check("user=u dbname=d password=''", "u  localhost 5432 d");
    check("postgres://u:p@db:6432/d?sslmode=disable", "u p db 6432 d");
    check("postgresql://u@db/d", "u - db 5432 d");
    check("postgres://u%40x:p%2Fq%3A@[::1]:1/d%20e", "u@x p/q: ::1 1 d e");
    check("postgres://u:p@q@db/d", "u p@q db 5432 d");
    check("postgres:///d?host=/run/postgresql&user=u", "u - /run/postgresql 5432 d");
}

#[test]
fn what_is_wrong_is_named_without_secrets() {
    refuse("foo", "found \"foo\"");
    refuse("user:secret@db", "found neither");
    refuse("mysql://u:secret@db/d", "the URL's scheme is another");
    refuse("postgres://u:secret@db:port/d", "the port is not a number from 1 to 65535");
    refuse("postgres://u:secret@db:0/d", "the port is not a number from 1 to 65535");
    refuse("postgres://u:secret@[::1/d", "the URL's host lacks its closing bracket");
    refuse("postgres://u:%ff@db/d", "the URL is not UTF-8 once decoded");
    refuse("postgres://u:secret@db", "the database is missing");
    refuse("postgres://db/d", "the user is missing");
    refuse("postgres://u@db/d?x", "a parameter of the URL has no value");
    refuse("postgres://u@db/d?pool=3", "the key \"pool\" is unknown");
    refuse(
        "user=u password=secret dbname=d sslmode=require",
        "TLS to PostgreSQL is not supported: use sslmode=disable",
    );
    refuse("user=u dbname=d sslmode=maybe", "sslmode is none of PostgreSQL's");
    refuse("user=u password=very secret dbname=d", "a key is unknown");
    refuse("user=u password=very secret", "a key has no value");
    refuse("user=u password='secret", "a quoted value has no end");
    refuse("user=u password=secret\\", "a value ends in a backslash");
    refuse("host=db password=secret dbname=d", "the user is missing");
}

#[test]
fn debug_shows_no_password() {
    let url = DatabaseUrl::parse("postgres://u:secret@db/d").expect("a URL");
    assert_eq!(format!("{url:?}"), "DatabaseUrl(db:5432/d)");
}
