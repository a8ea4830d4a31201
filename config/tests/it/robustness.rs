//! No text makes the reader fall over, and what it shows can be read again.

use std::fmt::Write as _;
use std::path::Path;

use proptest::prelude::*;
use tollgate_config::{load, parse};

use crate::{environment, good};

/// Pieces that meet in real files, so that random ones reach past the parser.
fn any_file() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "[gateway]\n",
        "[plans.pro]\n",
        "[plans.public]\n",
        "[plans.\"x y\"]\n",
        "[[routes]]\n",
        "[routes]\n",
        "[cors]\n",
        "[accounts]\n",
        "[",
        "]",
        "\n",
        "=",
        "\"",
        "\"\"\"",
        "'",
        "{ ",
        " }",
        "listen = \"127.0.0.1:8080\"\n",
        "listen = [\"[::]:0\", \"1.2.3.4:1\"]\n",
        "[store]\n",
        "[limits]\n",
        "[billing.stripe]\n",
        "secret_key = \"sk_test_${HARD}\"\nwebhook_secrets = [\"${WORD}\", \"é\"]\n",
        "success_url = \"https://é/{CHECKOUT_SESSION_ID}\"\napi_base = \"http://[::1]\"\n",
        "[admin]\n",
        "database = \"postgres://me:${HARD}@db/t?sslrootcert=é#\"\n",
        "database = \"postgres://db/${HARD}?x=${PORT}\"\n",
        "redis = [\"redis://a/1\", \"rediss://:é@[::1]\", 3]\n",
        "redis = \"redis://${HARD}@${PORT}\"\n",
        "redis_timeout = \"5s\"\n",
        "lease_ttl = \"50ms\"\n",
        "spool = \"tollgate.db\"\n",
        "url = \"http://localhost:8080\"\n",
        "mount = \"\"\n",
        "rate = \"600/minute\"\n",
        "rate = \"99999999999999999999/31d\"\n",
        "rate = 600/minute\n",
        "burst = 0\n",
        "burst = 9_999_999_999_999\n",
        "windows = [\"1/day\", \"1/1d\"]\n",
        "quota = \"unlimited\"\n",
        "max_keys = -9223372036854775808\n",
        "rank = 0xffffffffffffffff\n",
        "path = \"/a/{id}/*\"\n",
        "path = \"/%\u{e9}/é\"\n",
        "path = \"/${PORT}/${\"\n",
        "cost = 9007199254740993\n",
        "cost_max = 3\n",
        "min_plan = \"pro\"\n",
        "access = \"public\"\n",
        "headers = { a = \"1\", A = true }\n",
        "query.limit.max = 50\n",
        "origins = [\"*\"]\n",
        "credentials = true\n",
        "default_plan = \"pro\"\n",
        "é\u{1F600}",
        "\u{feff}",
        "# comment\n",
        "[auth.jwt]\n",
        "[mail]\n",
        "[portal]\n",
        "[usage]\n",
        "secret = \"${HARD}\"\n",
        "jwks_url = \"http://[::1]:0/é#\"\n",
        "audience = [\"a\", \"\"]\n",
        "leeway = \"1m\"\n",
        "server = \"smtps://${HARD}@[::1]:${PORT}\"\n",
        "server = \"smtp+plain://%ff:%00@\"\n",
        "from = \"<\u{e9}@>\"\n",
        "password = \"${HARD}\"\n",
        "session = \"31d\"\n",
        "client_reported = [\"tokens\", 3]\n",
        "notices = [100, 4294967296]\n",
        "request_log = \"1/é\"\n",
        "notice_webhook = \"https://\"\n",
        "meters = { tokens = \"1/month\", \"é\" = 3 }\n",
        "meters = []\n",
        "meter = \"tokens\"\n",
        "access = \"jwt\"\n",
        "a.b.c = 1979-05-27T07:32:00Z\n",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn check(text: &str) -> Result<(), TestCaseError> {
    let said = match parse(text, Path::new("tollgate.toml"), &environment) {
        Ok(loaded) => {
            loaded.config.hash();
            loaded.warnings
        }
        Err(problems) => {
            prop_assert!(problems.error_count() > 0);
            problems.iter().cloned().collect()
        }
    };
    // One byte order mark is no character of the text; a second one is.
    let lines: Vec<&str> = text.strip_prefix('\u{feff}').unwrap_or(text).split('\n').collect();
    for diagnostic in said {
        let line = lines.get(diagnostic.line - 1);
        prop_assert!(line.is_some(), "{diagnostic} lies behind the end");
        let width = line.map_or(0, |line| line.chars().count());
        prop_assert!(diagnostic.column <= width + 1, "{diagnostic} lies beyond its line");
        prop_assert!(!diagnostic.message.contains('\n'), "{diagnostic} is more than a line");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_text_makes_it_panic(text in ".{0,200}") {
        check(&text)?;
    }

    #[test]
    fn no_file_of_real_pieces_makes_it_panic(text in any_file()) {
        check(&text)?;
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tollgate.toml");
        std::fs::write(&path, bytes).expect("a written file");
        if let Err(problems) = load(&path, &environment) {
            prop_assert!(problems.error_count() > 0);
        }
    }
}

#[test]
fn a_second_byte_order_mark_is_a_mistake_within_its_line() {
    check("\u{feff}\u{feff}").expect("a diagnostic in its place");
}

#[test]
fn files_that_cannot_be_read_say_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("none.toml");
    let problems = load(&path, &environment).expect_err("there is no file");
    let expected = format!("{}:1:1: the file cannot be read: No such file or directory", path.display());
    assert!(problems.to_string().starts_with(&expected), "{problems}");

    std::fs::write(&path, b"[log]\nformat = \"\xff\"\n").expect("a written file");
    let problems = load(&path, &environment).expect_err("not UTF-8");
    let expected = format!("{}:2:11: the file is not UTF-8: this byte belongs to no character", path.display());
    assert_eq!(problems.to_string(), expected);

    let problems = load(folder.path(), &environment).expect_err("a folder");
    assert!(problems.to_string().contains(":1:1: the file cannot be read"), "{problems}");
}

#[test]
fn a_file_that_sets_nothing_is_the_defaults_and_says_so() {
    for (text, blank) in [("", true), (" \n\t\n", true), ("\u{feff}\n", true), ("# nothing\n", true)] {
        let loaded = good(text);
        assert_eq!(loaded.blank, blank, "{text:?}");
        assert_eq!(loaded.config.settings, tollgate_config::Settings::default(), "{text:?}");
    }
}

#[test]
fn what_operators_are_shown_means_the_same_when_read_again() {
    let text = r#"
        [gateway]
        public_url = "https://api.example.com"
        listen = ["127.0.0.1:8080", "[::1]:8080"]
        trusted_proxies = ["10.0.0.0/8"]
        max_body = "10MB"
        threads = 2
        [upstream]
        url = "https://[::1]:8443/base/"
        host = "backend"
        [keys]
        also_accept = ["rk_*"]
        [auth.jwt]
        jwks_url = "https://auth.example.com/keys?a=%20b"
        issuer = "https://auth.example.com/"
        audience = ["b", "a"]
        leeway = "90s"
        cookie = "access"
        name_claim = "user.name"
        [mail]
        server = "smtp+plain://[::1]"
        from = "Acme, Inc. <noreply@acme.com>"
        [portal]
        session = "90m"
        signup = false
        [usage]
        client_reported = ["images"]
        request_log = "1/1_00"
        notices = [100, 5]
        retention = "366d"
        key_expiry_notice = "0s"
        [billing.stripe]
        secret_key = "[redacted]"
        webhook_secrets = ["[redacted]"]
        livemode = false
        grace = "36h"
        trial_days = 14
        proration_behavior = "none"
        success_url = "https://example.com/?session={CHECKOUT_SESSION_ID}&a=%20b"
        cancel_url = "https://example.com"
        api_base = "http://127.0.0.1:12111/base"
        on_dispute = "keep"
        on_refund = "suspend"
        meters = { images = "a\"b", calls = "api_calls" }
        sweep = "90m"
        [accounts]
        default_plan = "pro"
        [plans.pro]
        rank = -1
        display_name = "Quote \" back\\slash é $${literal}"
        rate = "600/minute"
        windows = ["1_000/hour", "5/30d"]
        quota = "10_000/month"
        quota_period = "rolling-30d"
        max_keys = 0
        features = ["b", "a"]
        [plans.pro.meters]
        tokens = "1_000_000/month"
        images = "unlimited"
        none = "0/month"
        [plans.none]
        rate = "0/minute"
        [plans.public]
        rank = 3
        [[routes]]
        path = "/a/{b}/*"
        methods = ["GET", "POST"]
        headers = { X-Version = "2", x-beta = true }
        query = { "a b" = "c" }
        min_plan = "pro"
        cost_max = 5
        max_body = "unlimited"
        encoded_slash = "keep"
        [[routes]]
        path = "/pass"
        access = "pass"
        [[routes]]
        path = "/jwt"
        access = "jwt"
        [[routes]]
        path = "/metered"
        meter = "tokens"
        [cors]
        origins = ["*"]
        headers = ["Content-Type"]
    "#;
    let once = good(text).config;
    let again = good(&once.to_redacted_toml()).config;
    assert_eq!((&again.settings, &again.policy), (&once.settings, &once.policy), "{}", once.to_redacted_toml());
    assert_eq!(again.hash(), once.hash());
}

#[test]
fn ten_thousand_routes_are_checked_in_time_that_grows_with_their_number() {
    fn seconds(count: usize) -> f64 {
        let mut text = String::from("[plans.pro]\nrate = \"600/minute\"\n");
        for index in 0..count {
            write!(text, "[[routes]]\npath = \"/api/v1/{{tenant}}/r{index}/*\"\n").expect("a String takes any text");
        }
        // The best of three, so that what else the machine does weighs little.
        let best = (0..3).map(|_| {
            let start = std::time::Instant::now();
            assert_eq!(good(&text).config.policy.routes.len(), count);
            start.elapsed().as_secs_f64()
        });
        best.fold(f64::INFINITY, f64::min)
    }
    let (few, many) = (seconds(1_000), seconds(10_000));
    // Ten times the routes; a check of every pair would take a hundred times as long.
    assert!(many < few * 40.0, "{few} s, then {many} s");
}
