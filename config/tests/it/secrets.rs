//! Secrets come in by three ways and go out by none.

use std::path::Path;

use tollgate_config::{AdminToken, changed_settings, load, parse};

use crate::{environment, good};

const SECRET: &str = "hunter2-from-the-environment";

#[test]
fn secrets_come_from_the_file_the_environment_or_a_file_of_their_own() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("pepper"), "ground black\n").expect("a written secret");
    std::fs::write(folder.path().join("sent"), "from a file\r\n").expect("a written secret");
    let path = folder.path().join("tollgate.toml");
    let text = "[admin]\ntoken = \"a-${WORD}\"\n[keys]\npepper_file = \"pepper\"\n\
                [upstream]\nadd_headers = { x-one = \"${WORD}\", x-two_file = \"sent\" }\n";
    std::fs::write(&path, text).expect("a written file");
    let settings = load(&path, &environment).unwrap_or_else(|problems| panic!("{problems}")).config.settings;
    let AdminToken::Given(token) = &settings.admin.token else { panic!("{:?}", settings.admin.token) };
    assert_eq!(token.reveal(), format!("a-{SECRET}"));
    assert_eq!(settings.keys.pepper.as_ref().map(tollgate_config::Secret::reveal), Some("ground black"));
    let headers: Vec<_> =
        settings.upstream.add_headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    assert_eq!(headers, [("x-one", SECRET.as_bytes()), ("x-two", b"from a file".as_slice())]);
}

#[test]
fn nothing_that_is_printed_holds_a_secret() {
    let text = "[admin]\ntoken = \"literal-token-of-some-length\"\n[keys]\npepper = \"${WORD}\"\n\
                [upstream]\nadd_headers = { x-one = \"${WORD}\" }\n";
    let loaded = good(text);
    let printed = format!("{loaded:?}\n{}\n{}", loaded.config.to_redacted_toml(), loaded.config.hash());
    assert!(!printed.contains(SECRET), "{printed}");
    assert!(!printed.contains("literal-token"), "{printed}");
    assert_eq!(printed.matches("\"[redacted]\"").count(), 3, "{printed}");
}

#[test]
fn no_diagnostic_holds_the_value_of_a_variable_or_a_secret() {
    for text in [
        "[gateway]\nlisten = \"${WORD}\"\nmount = \"${WORD}\"\ndrain_timeout = \"${WORD}\"\nmax_body = \"${WORD}\"",
        "[gateway]\npublic_url = \"${WORD}\"\ntrusted_proxies = [\"${WORD}\"]\nthreads = \"${WORD}\"",
        "[upstream]\nurl = \"${WORD}\"\nhost = \"${WORD} \"\nadd_headers = { a = \"${WORD}\\n\" }",
        "[upstream]\nurl = \"http://me:${WORD}@localhost\"",
        "[admin]\nurl = \"https://me:hunter2-from-the-environment@localhost\"",
        "[admin]\nurl = \"me:hunter2-from-the-environment@localhost\"",
        "[admin]\ntoken = [\"hunter2-from-the-environment\"]",
        "[admin]\ntoken = \"hunter2-from-the-environment\\n\"",
        "[admin]\ntoken_file = \"${WORD}\"",
        "[store]\ndatabase = \"postgres://me:hunter2-from-the-environment@localhost\"",
        "[store]\ndatabase = \"mysql://me:hunter2-from-the-environment@localhost\"",
        "[store]\ndatabase = \"postgres://${WORD} @[${WORD}]/x\"",
        "[store]\ndatabase = \"postgres://db/x?sslmode=${WORD}\"",
        "[store]\ndatabase = \"${WORD}\"\nredis = \"${WORD}\"\nspool_max = \"${WORD}\"\nconnections = \"${WORD}\"",
        "[store]\ndatabase = \"postgres://me:1?hunter2-from-the-environment@db/x\"",
        "[store]\nredis = [\"redis://hunter2@a\", \"redis://:hunter2@b/1\", \"redis://:a#hunter2@c\"]",
        "[store]\nredis = [\"redis://:${WORD}@a\", \"redis://:hunter2@b\", \"rediss://hunter2\"]",
        "[keys]\nprefix = \"${WORD}\"\nheader = \"${WORD} \"\nquery = \"${WORD} \"\nalso_accept = [\"${WORD} \"]",
        "[limits]\nmode = \"${WORD}\"\n[log]\nlevel = \"${WORD}\"\n[accounts]\ndefault_plan = \"${WORD}\"",
        "[plans.pro]\nrate = \"${WORD}\"\nprice = \"${WORD}\"\nquota = \"${WORD}\"\nburst = \"${WORD}\"",
        "[plans.pro]\nrate = \"${WORD}/minute\"\nwindows = [\"1/${WORD}\"]",
        "[plans.a]\nstripe_prices = [\"${WORD}\"]\n[plans.b]\nstripe_prices = [\"${WORD}\"]",
        "[[routes]]\npath = \"${WORD}\"\n[[routes]]\npath = \"/${WORD}//\"\nname = \"${WORD} \"\nmethods = [\"${WORD}\"]",
        "[cors]\norigins = [\"${WORD}\"]",
    ] {
        let problems = parse(text, Path::new("tollgate.toml"), &environment).expect_err(text).to_string();
        assert!(!problems.contains("hunter2"), "{text}\n{problems}");
    }
}

#[test]
fn a_changed_secret_is_a_changed_setting() {
    let settings = |text: &str| good(text).config.settings;
    let old = settings("[keys]\npepper = \"one\"\n[upstream]\nadd_headers = { x-a = \"1\" }");
    for (text, changed) in [
        ("[keys]\npepper = \"one\"\n[upstream]\nadd_headers = { x-a = \"1\" }", vec![]),
        ("[keys]\npepper = \"two\"\n[upstream]\nadd_headers = { x-a = \"1\" }", vec!["keys.pepper"]),
        ("[keys]\npepper = \"one\"\n[upstream]\nadd_headers = { x-a = \"2\" }", vec!["upstream.add_headers"]),
        ("[upstream]\nadd_headers = { x-a = \"1\" }", vec!["keys.pepper"]),
    ] {
        assert_eq!(changed_settings(&old, &settings(text)), changed, "{text}");
    }
}
