//! Secrets come in by three ways and go out by none.

use std::path::Path;

use tollgate_config::{AdminToken, JwtKeys, changed_settings, load, load_without_webhook_secrets, parse};

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
                [upstream]\nadd_headers = { x-one = \"${WORD}\" }\n\
                [gateway]\npublic_url = \"https://api.example.com\"\n\
                [auth.jwt]\nsecret = \"literal-token-of-at-least-32-bytes\"\n\
                [mail]\nserver = \"smtps://me@mail\"\npassword = \"${WORD}\"\nfrom = \"a@b\"\n\
                [usage]\nservice_token = \"literal-token-of-a-backend\"\n\
                notice_webhook = \"https://example.com\"\nnotice_webhook_secret = \"${WORD}\"\n\
                [billing.stripe]\nsecret_key = \"literal-token-of-an-account\"\n\
                webhook_secrets = [\"${WORD}\", \"literal-token-of-a-webhook\"]\n\
                [plans.pro]\nstripe_prices = [\"price_pro\"]\n";
    let loaded = good(text);
    let printed = format!("{loaded:?}\n{}\n{}", loaded.config.to_redacted_toml(), loaded.config.hash());
    assert!(!printed.contains(SECRET), "{printed}");
    assert!(!printed.contains("literal-token"), "{printed}");
    assert_eq!(printed.matches("\"[redacted]\"").count(), 10, "{printed}");
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
        "[auth.jwt]\nsecret = \"hunter2-from-the-file\"\njwks_url = \"http://${WORD}\"\nissuer = \" ${WORD}\"",
        "[auth.jwt]\njwks_url = \"https://me:hunter2@auth.example.com/\"\naudience = [\" ${WORD}\"]\nleeway = \"${WORD}\"",
        "[auth.jwt]\nsecret_file = \"${WORD}\"\ncookie = \"${WORD} \"\nname_claim = \"${WORD}.\"",
        "[mail]\nserver = \"smtps://me:hunter2-from-the-environment@mail\"\nfrom = \"${WORD}\"",
        "[mail]\nserver = \"smtps://${WORD}@mail/x\"\npassword = [\"hunter2\"]\nfrom = \"${WORD}\"",
        "[mail]\nserver = \"smtp://mail\"\npassword = \"hunter2\"",
        "[portal]\nsession = \"${WORD}\"",
        "[usage]\nclient_reported = [\"${WORD}\"]\nservice_token = \"${WORD}\\n\"\nrequest_log = \"${WORD}\"",
        "[usage]\nretention = \"${WORD}\"\nnotices = [\"${WORD}\"]\nnotice_webhook = \"${WORD}\"",
        "[usage]\nnotice_webhook = \"https://me:hunter2@example.com/\"\nnotice_webhook_secret = \"hunter2\"",
        "[billing.stripe]\nsecret_key = \"${WORD}\\n\"\nwebhook_secrets = [\"pk_live_hunter2\", \"whsec_hunter2\"]",
        "[billing.stripe]\nsecret_key = \"sk_test_hunter2\"\nwebhook_secrets = [3, \"hunter2\"]\nlivemode = \"${WORD}\"",
        "[billing.stripe]\nsecret_key_file = \"${WORD}\"\nwebhook_secrets_file = \"${WORD}\"\nsweep = \"${WORD}\"",
        "[billing.stripe]\nsecret_key = [\"hunter2\"]\nwebhook_secrets = { a = \"hunter2\" }\ngrace = \"${WORD}\"",
        "[billing.stripe]\nsuccess_url = \"${WORD}\"\napi_base = \"http://me:hunter2@api.stripe.com\"\ntrial_days = \"${WORD}\"",
        "[billing.stripe]\nsecret_key = \"pk_hunter2\"\nmeters = { calls = \"${WORD} \" }\non_refund = \"${WORD}\"",
        "[billing.stripe]\nsecret_key = \"hunter2\"\nwebhook_secrets = []\nproration_behavior = \"${WORD}\"",
        "[plans.pro]\nmeters = { tokens = \"${WORD}\" }\n[[routes]]\npath = \"/a\"\nmeter = \"${WORD}\"",
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

#[test]
fn secrets_of_what_customers_meet_come_from_files_and_are_no_part_of_the_hash() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, content) in [
        ("jwt", "0123456789abcdef0123456789abcdef\n"),
        ("smtp", " pass word \n"),
        ("token", "token-of-the-backend\n"),
        ("hook", "secret-of-the-hook\n"),
    ] {
        std::fs::write(folder.path().join(name), content).expect("a written secret");
    }
    let path = folder.path().join("tollgate.toml");
    let rest = "[gateway]\npublic_url = \"https://a.example\"\n";
    let text = format!(
        "{rest}[auth.jwt]\nsecret_file = \"jwt\"\n\
         [mail]\nserver = \"smtp://me@mail\"\npassword_file = \"smtp\"\nfrom = \"a@b\"\n\
         [usage]\nservice_token_file = \"token\"\n\
         notice_webhook = \"https://a.example\"\nnotice_webhook_secret_file = \"hook\"\n"
    );
    std::fs::write(&path, text).expect("a written file");
    let read = || load(&path, &environment).unwrap_or_else(|problems| panic!("{problems}")).config;
    let before = read();
    let settings = &before.settings;
    let Some(JwtKeys::Secret(jwt)) = settings.auth.jwt.as_ref().map(|jwt| &jwt.keys) else { panic!("{settings:?}") };
    let mail = settings.mail.as_ref().and_then(|mail| mail.password.as_ref());
    let hook = settings.usage.notice_webhook.as_ref().map(|hook| &hook.secret);
    let revealed = [Some(jwt), mail, settings.usage.service_token.as_ref(), hook];
    let revealed = revealed.map(|secret| secret.map(tollgate_config::Secret::reveal));
    let expected = ["0123456789abcdef0123456789abcdef", " pass word ", "token-of-the-backend", "secret-of-the-hook"];
    assert_eq!(revealed, expected.map(Some));

    for name in ["jwt", "smtp", "token", "hook"] {
        std::fs::write(folder.path().join(name), "another-secret-of-32-bytes-at-least").expect("a written secret");
    }
    let after = read();
    assert_eq!(after.hash(), before.hash());
    assert_eq!(
        changed_settings(&before.settings, &after.settings),
        ["auth.jwt.secret", "mail.password", "usage.service_token", "usage.notice_webhook_secret"]
    );
}

#[test]
fn secrets_of_stripe_come_from_files_one_a_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let write =
        |name: &str, content: &str| std::fs::write(folder.path().join(name), content).expect("a written secret");
    write("key", "rk_live_0123456789\n");
    write("webhooks", "whsec_0123456789_old\r\n\n  whsec_0123456789_new  \nwhsec_0123456789_old\n");
    let path = folder.path().join("tollgate.toml");
    let text = "[gateway]\npublic_url = \"https://a.example\"\n[plans.pro]\nstripe_prices = [\"price_pro\"]\n\
                [billing.stripe]\nsecret_key_file = \"key\"\nwebhook_secrets_file = \"webhooks\"\n";
    std::fs::write(&path, text).expect("a written file");
    let loaded = load(&path, &environment).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(loaded.warnings, []);
    let stripe = loaded.config.settings.billing.stripe.as_ref().expect("the section");
    assert_eq!(stripe.secret_key.reveal(), "rk_live_0123456789");
    let revealed: Vec<_> = stripe.webhook_secrets.iter().map(tollgate_config::Secret::reveal).collect();
    assert_eq!(revealed, ["whsec_0123456789_old", "whsec_0123456789_new"]);

    write("key", "rk_live_another_one");
    write("webhooks", "whsec_0123456789_new\nwhsec_0123456789_newer");
    let after = load(&path, &environment).unwrap_or_else(|problems| panic!("{problems}")).config;
    assert_eq!(after.hash(), loaded.config.hash());
    assert_eq!(
        changed_settings(&loaded.config.settings, &after.settings),
        ["billing.stripe.secret_key", "billing.stripe.webhook_secrets"]
    );

    // What stands in a file that the configuration names is part of it, as what it says itself.
    write("key", "sk_test_0123");
    write("webhooks", "sk_live_0123456789\nwhsec_short\n");
    let problems = load(&path, &environment).expect_err("keys of the wrong kind").to_string();
    for part in
        [":6:19: this is a key of test mode", ":7:24: this is a key of the account", ":7:24: warning: the secret"]
    {
        assert!(problems.contains(part), "no {part} in {problems}");
    }
    assert!(!problems.contains("0123") && !problems.contains("whsec_short"), "{problems}");
    write("webhooks", " \n\n");
    let problems = load(&path, &environment).expect_err("no secret").to_string();
    assert!(problems.contains("the file `webhooks` is empty"), "{problems}");
}

#[test]
fn an_endpoint_can_be_made_before_its_secret_is_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tollgate.toml");
    let text = "[gateway]\npublic_url = \"https://a.example\"\n[plans.pro]\nstripe_prices = [\"price_pro\"]\n\
                [billing.stripe]\nsecret_key = \"rk_live_0123\"\n";
    for (line, is_loaded) in [
        ("", true),
        ("webhook_secrets = []", true),
        ("webhook_secrets = [\"${NOT_SET}\"]", true),
        ("webhook_secrets_file = \"not-there\"", true),
        ("trial_days = 1_000", false),
        ("webhook_secret = []", false),
    ] {
        std::fs::write(&path, format!("{text}{line}\n")).expect("a written file");
        let loaded = load_without_webhook_secrets(&path, &environment);
        assert_eq!(loaded.is_ok(), is_loaded, "{line}: {loaded:?}");
        if let Ok(loaded) = loaded {
            assert_eq!(loaded.warnings, []);
            assert_eq!(loaded.config.settings.billing.stripe.map(|stripe| stripe.webhook_secrets), Some(Vec::new()));
        }
        assert!(load(&path, &environment).is_err(), "{line}");
    }
}
