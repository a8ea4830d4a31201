//! Mistakes in how plans are sold: `[billing.stripe]`, alone and against the rest of the file.

use super::check;

/// A file that sells, without the section that says how; six lines.
const SOLD: &str = "[gateway]\npublic_url = \"https://api.example.com\"\n\
                    [plans.pro]\nstripe_prices = [\"price_pro\"]\nmeters = { tokens = \"1/month\" }\n\n";

/// What every such section says first, on lines 7 to 9.
const SECTION: &str =
    "[billing.stripe]\nsecret_key = \"rk_live_0123456789\"\nwebhook_secrets = [\"whsec_0123456789\"]\n";

/// Each case is what stands on line 10 and everything that is said about it.
fn check_lines(cases: &[(&str, &[&str])]) {
    for (line, expected) in cases {
        check(&[(&format!("{SOLD}{SECTION}{line}"), expected)]);
    }
}

#[test]
fn selling_needs_a_key_and_the_secret_of_a_webhook() {
    let no_key = "[billing.stripe] needs `secret_key` or `secret_key_file`";
    let no_webhook = "[billing.stripe] needs `webhook_secrets` or `webhook_secrets_file`: `tollgate stripe setup` makes \
                      the endpoint and shows its secret";
    let empty = "`webhook_secrets` is empty; `tollgate stripe setup` makes the endpoint and shows its secret";
    let nine: Vec<String> = (1..10).map(|number| format!("\"whsec_0123456789_{number}\"")).collect();
    let key = "[billing.stripe]\nsecret_key = \"rk_live_0123456789\"";
    for (lines, expected) in [
        ("[billing]", &[] as &[&str]),
        ("[billing]\nstripe = {}", &[&format!("8:10: {no_key}"), &format!("8:10: {no_webhook}")]),
        ("[billing.stripe]", &[&format!("7:1: {no_key}"), &format!("7:1: {no_webhook}")]),
        ("[billing.strip]", &["7:10: unknown key `strip` in [billing]; did you mean `stripe`?"]),
        ("[biling.stripe]", &["7:2: unknown key `biling`; did you mean `billing`?"]),
        ("[[billing.stripe]]", &["7:11: write [billing.stripe] once, without double brackets"]),
        ("[billing]\nstripe = true", &["8:10: `stripe` must be a table, not a boolean"]),
        (
            "[billing.stripe]\nsecretkey = \"a\"\nwebhook_secret = \"b\"",
            &[
                "8:1: unknown key `secretkey` in [billing.stripe]; did you mean `secret_key`?",
                "9:1: unknown key `webhook_secret` in [billing.stripe]; did you mean `webhook_secrets`?",
            ],
        ),
        (key, &[&format!("7:1: {no_webhook}")]),
        (&format!("{key}\nwebhook_secrets = []"), &[&format!("9:19: {empty}")]),
        (&format!("{key}\nwebhook_secrets = [\"\"]"), &["9:20: `webhook_secrets` is empty"]),
        (
            &format!("{key}\nwebhook_secrets = [\"whsec_0123456789\", 3, \"${{EMPTY}}\"]"),
            &[
                "9:40: `webhook_secrets` must be a text in quotes, not an integer",
                "9:44: the environment variable `EMPTY` is empty",
            ],
        ),
        (&format!("{key}\nwebhook_secrets = \"whsec_0123456789\""), &[]),
        // Two variables may have one value, and while a secret is rolled they do.
        (&format!("{key}\nwebhook_secrets = [\"${{WORD}}\", \"${{WORD}}\"]"), &[]),
        (
            &format!("{key}\nwebhook_secrets = [{}]", nine.join(", ")),
            &["9:19: there are at most 8 webhook secrets, not 9"],
        ),
        (
            &format!("{key}\nwebhook_secrets = [\"whsec_short\"]"),
            &["9:20: warning: the secret has fewer than 16 characters and may be guessed"],
        ),
        (
            &format!("{key}\nwebhook_secrets = [\"whsec_0123456789\"]\nwebhook_secrets_file = \"x\""),
            &["10:1: `webhook_secrets` is given on line 9 already; keep one of both"],
        ),
        (
            "[billing.stripe]\nsecret_key_file = \"/dev/null\"\nwebhook_secrets_file = \"/dev/null\"",
            &["8:19: the file `/dev/null` is empty", "9:24: the file `/dev/null` is empty"],
        ),
        (
            "[billing.stripe]\nsecret_key = \"a\"\nsecret_key_file = \"b\"\nwebhook_secrets = [\"whsec_0123456789\"]",
            &["9:1: `secret_key` is given on line 8 already; keep one of both"],
        ),
        (
            "[billing.stripe]\nsecret_key = \"\"\nwebhook_secrets = [\"whsec_0123456789\"]",
            &["8:14: `secret_key` is empty"],
        ),
        (
            "[billing.stripe]\nsecret_key = \"${NOT_SET}\"\nwebhook_secrets = [\"${NOT_SET}\"]",
            &[
                "8:15: the environment variable `NOT_SET` is not set",
                "9:21: the environment variable `NOT_SET` is not set",
            ],
        ),
    ] {
        check(&[(&format!("{SOLD}{lines}"), expected)]);
    }
}

#[test]
fn a_key_is_of_the_mode_that_the_file_names() {
    let webhook = "webhook_secrets = [\"whsec_0123456789\"]";
    for (mode, other, flag, wrong) in [("live", "test", "true", "test"), ("test", "live", "false", "live")] {
        for kind in ["sk", "rk"] {
            let text = |key: &str| {
                format!("{SOLD}[billing.stripe]\nlivemode = {flag}\nsecret_key = \"{kind}_{key}_0123\"\n{webhook}")
            };
            let message = format!(
                "9:14: this is a key of {wrong} mode, and `livemode` is {flag} (on line 8); change it or write the {mode} key"
            );
            check(&[(&text(mode), &[]), (&text(other), &[&message])]);
        }
    }
    let no_header = "8:14: the key holds a character that no header may hold";
    let by_default =
        "this is a key of test mode, and `livemode` is true (its default); change it or write the live key";
    let publishable = "this is a publishable key, which asks nothing; write the secret one or a restricted one";
    let of_webhook = "this is the secret of a webhook; write the account's secret key or a restricted one";
    for (key, expected) in [
        ("sk_test_0123", Some(format!("8:14: {by_default}"))),
        // The file is right; the machine it is checked on may have another value than the one it will run on.
        ("${TEST_KEY}", Some(format!("8:14: warning: {by_default}"))),
        ("${WORD}", None),
        ("sk_0123", None),
        ("pk_live_0123", Some(format!("8:14: {publishable}"))),
        ("whsec_0123456789", Some(format!("8:14: {of_webhook}"))),
        ("${WEBHOOK}", Some(format!("8:14: warning: {of_webhook}"))),
        ("${HARD}", Some(no_header.into())),
        ("a\\nb", Some(no_header.into())),
    ] {
        let expected: Vec<&str> = expected.as_deref().into_iter().collect();
        check(&[(&format!("{SOLD}[billing.stripe]\nsecret_key = \"{key}\"\n{webhook}"), &expected)]);
    }
    // What is wrong by itself contradicts nothing.
    check(&[(
        &format!("{SOLD}[billing.stripe]\nlivemode = \"no\"\nsecret_key = \"sk_test_0123\"\n{webhook}"),
        &["8:12: `livemode` must be true or false, not a string"],
    )]);
}

#[test]
fn a_key_of_the_account_signs_no_webhook() {
    let message = "this is a key of the account; write the secret of the webhook's endpoint, whsec_…";
    let section = "[billing.stripe]\nsecret_key = \"rk_live_0123456789\"\n";
    for (secret, expected) in [
        ("sk_live_0123456789", format!("9:20: {message}")),
        ("rk_test_0123456789", format!("9:20: {message}")),
        ("pk_live_0123456789", format!("9:20: {message}")),
        ("${TEST_KEY}", format!("9:20: warning: {message}")),
    ] {
        check(&[(&format!("{SOLD}{section}webhook_secrets = [\"{secret}\"]"), &[&expected])]);
    }
}

#[test]
fn what_follows_from_payments_is_checked() {
    check_lines(&[
        ("grace = \"0s\"", &[]),
        ("grace = \"60d\"", &[]),
        (
            "grace = \"61d\"",
            &["10:9: `61d` is not a length of time up to 60d: a whole number and ms, s, m, h or d, such as \"30s\""],
        ),
        ("grace = 7", &["10:9: `grace` must be a text in quotes, not an integer"]),
        ("trial_days = 730", &[]),
        ("trial_days = 731", &["10:14: `trial_days` must be a whole number from 0 to 730"]),
        ("trial_days = -1", &["10:14: `trial_days` must be a whole number from 0 to 730"]),
        ("trial_days = \"14d\"", &["10:14: `14d` is not a whole number from 0, such as 10_000"]),
        ("proration_behavior = \"none\"", &[]),
        (
            "proration_behavior = \"create_proration\"",
            &[
                "10:22: `create_proration` is not one of \"always_invoice\", \"create_prorations\", \"none\"; did you mean \
               \"create_prorations\"?",
            ],
        ),
        ("on_dispute = \"keep\"\non_refund = \"suspend\"", &[]),
        ("on_dispute = \"ban\"", &["10:14: `ban` is not one of \"suspend\", \"keep\""]),
        ("on_refund = false", &["10:13: `on_refund` must be a text in quotes, not a boolean"]),
        ("sweep = \"1s\"", &[]),
        ("sweep = \"0s\"", &["10:9: `sweep` must be from 1s to 30d"]),
        ("sweep = \"31d\"", &["10:9: `sweep` must be from 1s to 30d"]),
        ("livemod = true", &["10:1: unknown key `livemod` in [billing.stripe]; did you mean `livemode`?"]),
        (
            "currency = \"usd\"",
            &[
                "10:1: unknown key `currency` in [billing.stripe]; known are secret_key, secret_key_file, webhook_secrets, \
             webhook_secrets_file, livemode, grace, trial_days, proration_behavior, success_url, cancel_url, api_base, \
             on_dispute, on_refund, meters, sweep",
            ],
        ),
    ]);
}

#[test]
fn addresses_of_stripe_and_of_its_checkout_are_checked() {
    let in_the_clear =
        "10:12: `api_base` must begin with https://: the secret key could be read and changed on the way";
    check_lines(&[
        ("api_base = \"http://127.0.0.1:12111\"", &[]),
        ("api_base = \"http://[::1]:12111/base\"", &[]),
        ("api_base = \"http://localhost/\"", &[]),
        ("api_base = \"http://stripe.internal/\"", &[in_the_clear]),
        ("api_base = \"http://10.0.0.1/\"", &[in_the_clear]),
        (
            "api_base = \"https://api.stripe.com/?x=1\"",
            &["10:12: `api_base` must end with its path: no `?` and no `#`"],
        ),
        ("api_base = \"https://api.stripe.com/#x\"", &["10:12: `api_base` must not hold a `#`"]),
        ("api_base = \"https://sk_live_1@api.stripe.com\"", &["10:12: `api_base` must not hold a user or a password"]),
        (
            "api_base = \"api.stripe.com\"",
            &["10:12: `api.stripe.com` is not an absolute URL that begins with http:// or https://"],
        ),
        ("success_url = \"https://example.com/?session={CHECKOUT_SESSION_ID}#paid\"", &[]),
        (
            "success_url = \"https://example.com/{CHECKOUT_SESSION_ID}\"",
            &["10:15: write {CHECKOUT_SESSION_ID} behind a `?`, such as `?session={CHECKOUT_SESSION_ID}`"],
        ),
        ("success_url = \"/paid\"", &["10:15: `/paid` is not an absolute URL that begins with http:// or https://"]),
        (
            "cancel_url = \"app://back\"",
            &["10:14: `app://back` is not an absolute URL that begins with http:// or https://"],
        ),
    ]);
}

#[test]
fn what_is_billed_by_use_is_checked() {
    let event = "is not the event name of a meter at Stripe, such as \"api_calls\": up to 100 characters, no blanks";
    check_lines(&[
        ("meters = {}", &[]),
        ("meters = { calls = \"api_calls\", tokens = \"tokens\" }", &[]),
        ("[billing.stripe.meters]\ncalls = \"api_calls\"", &[]),
        ("meters = [\"calls\"]", &["10:10: `meters` must be a table such as { calls = \"api_calls\" }, not an array"]),
        (
            "meters = { tokens = \"a b\", calls = \"\" }",
            &[&format!("10:21: `a b` {event}"), &format!("10:36: `` {event}")],
        ),
        (&format!("meters = {{ calls = \"{}\" }}", "x".repeat(100)), &[]),
        (
            &format!("meters = {{ calls = \"{}\" }}", "x".repeat(101)),
            &[&format!("10:20: `{}` {event}", "x".repeat(101))],
        ),
        ("meters = { calls = 1 }", &["10:20: `calls` must be a text in quotes, not an integer"]),
        ("meters = { Tokens = \"a\" }", &["10:12: `Tokens` is neither `calls` nor the name of a meter"]),
        (
            "meters = { tokens = \"used\", calls = \"used\" }",
            &["10:37: this is the event name of `tokens` on line 10 already; Stripe would add up both"],
        ),
        ("meters = { tokns = \"a\" }", &["10:12: no plan has the meter \"tokns\"; did you mean \"tokens\"?"]),
        ("meters = { call = \"a\" }", &["10:12: no plan has the meter \"call\"; did you mean \"calls\"?"]),
        ("meters = { images = \"a\" }", &["10:12: no plan has the meter \"images\"; there are tokens"]),
    ]);
    check(&[
        // Its name is a column further, but what is sold has no meters at all.
        (
            &format!("{}{SECTION}meters = {{ images = \"a\" }}", SOLD.replace("meters = { tokens = \"1/month\" }", "")),
            &["10:12: no plan has the meter \"images\"; write `meters = { images = \"…/month\" }` in a plan"],
        ),
        // A meter that was lost with a misspelt plan is not unknown.
        (
            &format!("{}{SECTION}meters = {{ tokens = \"a\" }}", SOLD.replace("\nmeters", "\nmetres")),
            &["5:1: unknown key `metres` in [plans.pro]; did you mean `meters`?"],
        ),
    ]);
}

#[test]
fn selling_needs_an_address_for_stripe_to_reach() {
    let needed =
        "[billing.stripe] needs `public_url` in [gateway]: where Stripe's webhook goes and Checkout leads back to";
    let plan = "[plans.pro]\nstripe_prices = [\"price_pro\"]";
    check(&[
        (&format!("{SECTION}{plan}"), &[&format!("1:10: {needed}")]),
        (&format!("[gateway]\n{SECTION}{plan}"), &[&format!("2:10: {needed}")]),
        // One that is there and wrong has been reported already.
        (
            &format!("[gateway]\npublic_url = \"x\"\n{SECTION}{plan}"),
            &["2:14: `x` is not an absolute URL that begins with http:// or https://"],
        ),
        (
            &format!("[gateway]\npubic_url = \"x\"\n{SECTION}{plan}"),
            &["2:1: unknown key `pubic_url` in [gateway]; did you mean `public_url`?"],
        ),
        (
            &format!("[gateway]\npublic_url = \"https://a.example\"\nmount = \"\"\n{SECTION}{plan}"),
            &[
                "4:10: warning: Stripe's webhook goes to `gateway.public_url`, and with `mount = \"\"` its gateway sends it \
               on to the backend",
            ],
        ),
        (
            &format!("[gateway]\npublic_url = \"http://a.example\"\n{SECTION}{plan}"),
            &["2:14: warning: Stripe delivers the events of live mode over https:// only"],
        ),
        (&format!("[gateway]\npublic_url = \"http://127.0.0.1:8080\"\n{SECTION}{plan}"), &[]),
        (
            &format!(
                "[gateway]\npublic_url = \"http://a.example\"\n{}livemode = false\n{plan}",
                SECTION.replace("live", "test")
            ),
            &[],
        ),
        (
            &format!("{SECTION}{plan}\n[mail]\nserver = \"smtp://mail\"\nfrom = \"a@example.com\""),
            &[&format!("1:10: {needed}"), "6:2: [mail] needs `public_url` in [gateway]: where the links in mail lead"],
        ),
    ]);
}

#[test]
fn selling_without_a_price_sells_nothing() {
    let url = "[gateway]\npublic_url = \"https://api.example.com\"\n";
    let nothing = "3:10: warning: no plan has `stripe_prices`: nothing can be bought, and no subscription gives access";
    check(&[
        (&format!("{url}{SECTION}"), &[nothing]),
        (&format!("{url}{SECTION}[plans.pro]\nstripe_prices = []"), &[nothing]),
        (&format!("{url}{SECTION}[plans.pro]\n[plans.team]\nstripe_prices = [\"price_team\"]"), &[]),
        // Prices without Stripe are for a later day.
        ("[plans.pro]\nstripe_prices = [\"price_pro\"]", &[]),
        // Prices that are there and wrong have been reported already.
        (
            &format!("{url}{SECTION}[plans.pro]\nstripe_prices = [\"a b\"]"),
            &["7:18: `a b` is not the id of a Stripe price, such as \"price_1Abc\""],
        ),
        (
            &format!("{url}{SECTION}[plans.pro]\nstripe_price = [\"price_pro\"]"),
            &["7:1: unknown key `stripe_price` in [plans.pro]; did you mean `stripe_prices`?"],
        ),
        (
            &format!("{url}{SECTION}[plan.pro]\nstripe_prices = [\"price_pro\"]"),
            &["6:2: unknown key `plan`; did you mean `plans`?"],
        ),
        (&format!("{url}{SECTION}[plans]\npro = 3"), &["7:7: `pro` must be a table, not an integer"]),
    ]);
}
