//! Mistakes in what customers sign in with, are mailed by and report: `[auth.jwt]`, `[mail]`, `[portal]`, `[usage]`.

use super::check;

const SHORT: &str = "an HS256 secret has at least 32 bytes; a shorter one is guessed from any token that it signed";

const NO_KEYS: &str = "[auth.jwt] needs `secret`, `secret_file` or `jwks_url`";

#[test]
fn tokens_are_checked_with_one_kind_of_key() {
    check(&[
        ("[auth]", &[]),
        ("[auth.jwt]", &[&format!("1:1: {NO_KEYS}")]),
        ("[auth]\njwt = {}", &[&format!("2:7: {NO_KEYS}")]),
        ("[auth.jwt]\nsecrte = \"x\"", &["2:1: unknown key `secrte` in [auth.jwt]; did you mean `secret`?"]),
        ("[auth.jtw]\nsecret = \"x\"", &["1:7: unknown key `jtw` in [auth]; did you mean `jwt`?"]),
        ("[[auth.jwt]]\nsecret = \"x\"", &["1:8: write [auth.jwt] once, without double brackets"]),
        ("[auth.jwt]\nsecret = \"0123456789abcdef0123456789abcde\"", &[&format!("2:10: {SHORT}")]),
        ("[auth.jwt]\nsecret = \"0123456789abcdef0123456789abcdef\"", &[]),
        // Sixteen letters of two bytes.
        ("[auth.jwt]\nsecret = \"éééééééééééééééé\"", &[]),
        // The file is right; the machine it is checked on may have another value than the one it will run on.
        ("[auth.jwt]\nsecret = \"${WORD}\"", &[&format!("2:10: warning: {SHORT}")]),
        ("[auth.jwt]\nsecret = \"\"", &["2:10: `secret` is empty"]),
        ("[auth.jwt]\nsecret_file = \"/dev/null\"", &["2:15: the file `/dev/null` is empty"]),
        (
            "[auth.jwt]\nsecret = \"a\"\nsecret_file = \"b\"",
            &["3:1: `secret` is given on line 2 already; keep one of both"],
        ),
        (
            "[auth.jwt]\njwks_url = \"https://a.example/keys\"\nsecret = \"0123456789abcdef0123456789abcdef\"",
            &["2:1: `jwks_url` contradicts `secret` on line 3; keep one of both"],
        ),
    ]);
}

#[test]
fn public_keys_come_over_tls_or_from_this_machine() {
    let in_the_clear = "2:12: `jwks_url` must begin with https://: keys could be read and changed on the way";
    for (url, expected) in [
        ("https://auth.example.com/.well-known/jwks.json?tenant=1", None),
        ("http://127.0.0.1:8000/jwks", None),
        ("http://127.8.9.1/jwks", None),
        ("http://[::1]:8000/jwks", None),
        ("http://localhost/jwks", None),
        ("http://auth.example.com/jwks", Some(in_the_clear)),
        ("http://localhost.example.com/jwks", Some(in_the_clear)),
        ("http://10.0.0.1/jwks", Some(in_the_clear)),
        ("http://[::ffff:10.0.0.1]/jwks", Some(in_the_clear)),
        ("https://auth.example.com/jwks#one", Some("2:12: `jwks_url` must not hold a `#`")),
        ("https://me:pw@auth.example.com", Some("2:12: `jwks_url` must not hold a user or a password")),
        ("jwks.json", Some("2:12: `jwks.json` is not an absolute URL that begins with http:// or https://")),
    ] {
        check(&[(&format!("[auth.jwt]\njwks_url = \"{url}\""), &Vec::from_iter(expected))]);
    }
}

#[test]
fn what_a_token_must_say_is_checked() {
    let keys = "[auth.jwt]\njwks_url = \"https://a.example/keys\"";
    for (line, expected) in [
        ("issuer = \"https://a.example/\"", &[] as &[&str]),
        (
            "issuer = \" a\"",
            &["3:10: ` a` is not an issuer as tokens name it in `iss`, such as \"https://auth.example.com/\""],
        ),
        ("audience = \"api\"", &[]),
        ("audience = [\"api\", \"web\"]", &[]),
        ("audience = []", &[]),
        ("audience = [\"api\", \"api\"]", &["3:20: this stands in the list already; remove it"]),
        (
            "audience = [\"\", 3]",
            &[
                "3:13: `` is not an audience as tokens name it in `aud`, such as \"api\"",
                "3:17: `audience` must be a text in quotes, not an integer",
            ],
        ),
        ("leeway = \"0s\"", &[]),
        ("leeway = \"10m\"", &[]),
        ("leeway = \"11m\"", &["3:10: `leeway` must be from 0s to 10m"]),
        ("cookie = \"__Host-access.token\"", &[]),
        ("cookie = \"a b\"", &["3:10: `a b` is not the name of a cookie, such as \"access_token\""]),
        ("cookie = \"a;b\"", &["3:10: `a;b` is not the name of a cookie, such as \"access_token\""]),
        (
            "cookie = \"tollgate_session\"",
            &["3:10: `tollgate_session` is the cookie of Tollgate's own sessions; name the backend's"],
        ),
        ("name_claim = \"user_metadata.name\"", &[]),
        (
            "name_claim = \"user..name\"",
            &["3:14: `user..name` is not the name of a claim, or names joined by dots, such as \"user_metadata.name\""],
        ),
    ] {
        check(&[(&format!("{keys}\n{line}"), expected)]);
    }
}

#[test]
fn routes_by_token_need_a_key_to_check_it_with_and_ask_nothing_of_a_plan() {
    let needed = "access = \"jwt\" needs [auth.jwt]: what the backend's tokens are checked with";
    let keys = "[auth.jwt]\njwks_url = \"https://a.example/keys\"\n";
    check(&[
        ("[[routes]]\npath = \"/a\"\naccess = \"jwt\"", &[&format!("3:10: {needed}")]),
        ("[auth]\n[[routes]]\npath = \"/a\"\naccess = \"jwt\"", &[&format!("4:10: {needed}")]),
        (&format!("{keys}[[routes]]\npath = \"/a\"\naccess = \"jwt\""), &[]),
        // What is wrong with keys that are there is said once.
        ("[[routes]]\npath = \"/a\"\naccess = \"jwt\"\n[auth.jwt]", &[&format!("4:1: {NO_KEYS}")]),
        ("[[routes]]\npath = \"/a\"\naccess = \"jwt\"\n[auht.jwt]", &["4:2: unknown key `auht`; did you mean `auth`?"]),
        (
            "[[routes]]\npath = \"/a\"\naccess = \"jwt\"\n[auth.jwt\nsecret = \"x\"",
            &["4:10: not TOML: unclosed table, expected `]`"],
        ),
    ]);
    let why = "a token of sign-in has no plan and no limits; write access = \"key\"";
    let contradiction = |line: usize, key: &str| format!("{line}:1: `{key}` contradicts access = \"jwt\": {why}");
    let expected = [
        contradiction(6, "min_plan"),
        contradiction(7, "feature"),
        contradiction(8, "cost"),
        contradiction(9, "meter"),
        contradiction(10, "on_limiter_down"),
    ];
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    let text = format!(
        "{keys}[[routes]]\npath = \"/a\"\naccess = \"jwt\"\nmin_plan = \"pro\"\nfeature = \"llm\"\ncost = 1\n\
         meter = \"tokens\"\non_limiter_down = \"open\"\n\
         [plans.pro]\nfeatures = [\"llm\"]\nmeters = {{ tokens = \"1/month\" }}"
    );
    check(&[(&text, &expected)]);
}

#[test]
fn meters_of_plans_are_checked() {
    let taken = "is what answers call a limit on calls; choose another name for the meter";
    let many: Vec<String> = (0..33).map(|number| format!("m{number} = \"unlimited\"")).collect();
    check(&[
        ("[plans.pro]\nmeters = { tokens = \"1_000_000/month\", images = \"unlimited\", none = \"0/month\" }", &[]),
        ("[plans.pro.meters]\ntokens = \"5/month\"", &[]),
        (
            "[plans.pro]\nmeters = [\"tokens\"]",
            &["2:10: `meters` must be a table such as { tokens = \"1_000_000/month\" }, not an array"],
        ),
        (
            "[plans.pro]\nmeters = { Tokens = \"1/month\", \"a b\" = \"1/month\", 1st = \"1/month\" }",
            &[
                "2:12: `Tokens` is not the name of a meter: up to 32 of a-z, 0-9 and `_`, beginning with a letter",
                "2:32: `a b` is not the name of a meter: up to 32 of a-z, 0-9 and `_`, beginning with a letter",
                "2:51: `1st` is not the name of a meter: up to 32 of a-z, 0-9 and `_`, beginning with a letter",
            ],
        ),
        (
            "[plans.pro]\nmeters = { calls = \"1/month\", month = \"1/month\" }",
            &[&format!("2:12: `calls` {taken}"), &format!("2:31: `month` {taken}")],
        ),
        (
            "[plans.pro]\nmeters = { a = \"5/day\", b = 5, c = \"-1/month\", d = \"9007199254740993/month\" }",
            &[
                "2:16: `5/day` is not a quota such as \"10_000/month\", or \"unlimited\"",
                "2:29: `b` must be a text such as \"10_000/month\", or \"unlimited\", not an integer",
                "2:36: `-1/month` is not a quota such as \"10_000/month\", or \"unlimited\"",
                "2:52: `9007199254740993/month` is not a quota such as \"10_000/month\", or \"unlimited\"",
            ],
        ),
        (
            "[plans.public]\nmeters = { tokens = \"1/month\" }",
            &["2:1: `public` is the plan of anonymous callers: they have no account whose meters could be counted"],
        ),
        (&format!("[plans.pro]\nmeters = {{ {} }}", many.join(", ")), &["2:10: a plan has at most 32 meters, not 33"]),
    ]);
}

#[test]
fn a_meter_that_no_plan_has_is_unknown() {
    let route = "[[routes]]\npath = \"/a\"\nmeter = \"tokns\"\n";
    check(&[
        (
            &format!("{route}[plans.pro]\nmeters = {{ tokens = \"1/month\" }}"),
            &["3:9: no plan has the meter \"tokns\"; did you mean \"tokens\"?"],
        ),
        (
            &format!("{route}[plans.pro]\nmeters = {{ scans = \"1/month\", images = \"unlimited\" }}"),
            &["3:9: no plan has the meter \"tokns\"; there are images, scans"],
        ),
        (
            &format!("{route}[plans.pro]"),
            &["3:9: no plan has the meter \"tokns\"; write `meters = { tokns = \"…/month\" }` in a plan"],
        ),
        (
            "[usage]\nclient_reported = [\"migrations\", \"scnas\", \"A\"]\n\
             [plans.free]\nmeters = { migrations = \"5/month\" }\n[plans.pro]\nmeters = { scans = \"unlimited\" }",
            &["2:43: `A` is not the name of a meter: up to 32 of a-z, 0-9 and `_`, beginning with a letter"],
        ),
        (
            "[usage]\nclient_reported = [\"migrations\", \"scnas\"]\n\
             [plans.free]\nmeters = { migrations = \"5/month\" }\n[plans.pro]\nmeters = { scans = \"unlimited\" }",
            &["2:34: no plan has the meter \"scnas\"; did you mean \"scans\"?"],
        ),
        // A meter that was lost with a broken or misspelt plan is not unknown.
        (
            &format!("{route}[plan.pro]\nmeters = {{ tokns = \"1/month\" }}"),
            &["4:2: unknown key `plan`; did you mean `plans`?"],
        ),
        (
            &format!("{route}[plans.pro]\nmetres = {{ tokns = \"1/month\" }}"),
            &["5:1: unknown key `metres` in [plans.pro]; did you mean `meters`?"],
        ),
        (&format!("{route}[plans]\npro = 3"), &["5:7: `pro` must be a table, not an integer"]),
        (
            &format!("{route}[plans.pro]\nmeters = {{ tokns = 1 }}"),
            &["5:20: `tokns` must be a text such as \"10_000/month\", or \"unlimited\", not an integer"],
        ),
    ]);
}

#[test]
fn a_cost_above_a_meter_could_never_be_paid() {
    let route = "[[routes]]\npath = \"/a\"\ncost = 10\n";
    let plans = "[plans.free]\nmeters = { tokens = \"5/month\", images = \"1/month\" }\n[plans.pro]\nrank = 1\n\
                 meters = { tokens = \"10/month\" }\n[plans.none]\nmeters = { tokens = \"0/month\" }\n[plans.other]";
    check(&[
        (
            &format!("{route}meter = \"tokens\"\n{plans}"),
            &[
                "3:8: a cost of 10 is above the 5/month of `tokens` of the plan `free` on line 6: every such call would \
               be refused",
            ],
        ),
        (&format!("{route}meter = \"tokens\"\nmin_plan = \"pro\"\n{plans}"), &[]),
        (&format!("{route}{plans}"), &[]),
    ]);
}

#[test]
fn meters_of_routes_are_checked() {
    let plan = "[plans.pro]\nmeters = { tokens = \"1/month\" }\n[plans.public]";
    let route = |access: &str| format!("[[routes]]\npath = \"/a\"\naccess = \"{access}\"\nmeter = \"tokens\"\n{plan}");
    check(&[
        (&route("key"), &[]),
        (&route("optional"), &[]),
        (&route("public"), &["4:1: `meter` contradicts access = \"public\": an anonymous caller has no meters"]),
        (
            &route("pass"),
            &[
                "4:1: `meter` contradicts access = \"pass\": what passes straight through is neither checked nor counted",
            ],
        ),
        (
            "[[routes]]\npath = \"/a\"\nmeter = \"To kens\"",
            &["3:9: `To kens` is not the name of a meter: up to 32 of a-z, 0-9 and `_`, beginning with a letter"],
        ),
    ]);
}

const SERVER: &str = "server = \"smtps://mail.example.com\"\nfrom = \"a@example.com\"";

#[test]
fn mail_needs_a_server_a_sender_and_an_address_for_its_links() {
    let url = "[gateway]\npublic_url = \"https://api.example.com\"\n";
    check(&[
        (&format!("{url}[mail]\n{SERVER}"), &[]),
        (&format!("{url}[mail]"), &["3:1: [mail] needs `from`", "3:1: [mail] needs `server`"]),
        (
            &format!("{url}[mail]\nsevrer = 1\nform = 1"),
            &[
                "4:1: unknown key `sevrer` in [mail]; did you mean `server`?",
                "5:1: unknown key `form` in [mail]; did you mean `from`?",
            ],
        ),
        (&format!("[mail]\n{SERVER}"), &["1:2: [mail] needs `public_url` in [gateway]: where the links in mail lead"]),
        // One that is there and wrong has been reported already.
        (
            &format!("[gateway]\npublic_url = \"x\"\n[mail]\n{SERVER}"),
            &["2:14: `x` is not an absolute URL that begins with http:// or https://"],
        ),
        (
            &format!("[gateway]\npubic_url = \"x\"\n[mail]\n{SERVER}"),
            &["2:1: unknown key `pubic_url` in [gateway]; did you mean `public_url`?"],
        ),
        (
            &format!("{url}mount = \"\"\n[mail]\n{SERVER}"),
            &[
                "4:2: warning: links in mail lead to `gateway.public_url`, and with `mount = \"\"` its gateway sends them \
               on to the backend",
            ],
        ),
        (
            &format!("[gateway]\npublic_url = \"http://api.example.com\"\n[mail]\n{SERVER}"),
            &[
                "2:14: warning: who opens a mailed link here is not signed in: browsers keep no session without https://",
            ],
        ),
        (&format!("[gateway]\npublic_url = \"http://localhost:8080\"\n[mail]\n{SERVER}"), &[]),
        ("[[mail]]", &["1:3: write [mail] once, without double brackets"]),
    ]);
}

#[test]
fn a_mail_server_is_checked() {
    let url = "[gateway]\npublic_url = \"https://api.example.com\"\n[mail]\nfrom = \"a@example.com\"\n";
    for (lines, expected) in [
        ("server = \"smtp://me@mail\"\npassword = \"pw\"", &[] as &[&str]),
        ("server = \"smtp://${HARD}@mail\"\npassword = \"${HARD}\"", &[]),
        ("server = \"smtp+plain://127.0.0.1:1025\"", &[]),
        ("server = 25", &["5:10: `server` must be a text in quotes, not an integer"]),
        ("server = \"mail\"", &["5:10: this is not a URL; write one such as `smtps://user@mail.example.com:465`"]),
        (
            "server = \"mail:25\"",
            &[
                "5:10: the URL must begin with smtps:// for TLS, smtp:// for STARTTLS, or smtp+plain:// for a server on \
               this machine",
            ],
        ),
        (
            "server = \"smtps://me:${WORD}@mail\"",
            &["5:10: the URL holds a password; write `password = \"${SMTP_PASSWORD}\"` or `password_file`"],
        ),
        (
            "server = \"smtp+plain://mail.example.com\"",
            &["5:10: smtp+plain:// is for a server on this machine only; write smtps:// or smtp://"],
        ),
        (
            "server = \"smtp://me@mail\"",
            &["5:10: the URL names a user and there is no `password` or `password_file` for it"],
        ),
        (
            "server = \"smtp://mail\"\npassword = \"pw\"",
            &["6:1: `password` means nothing without a user in `server` on line 5"],
        ),
        (
            "server = \"smtp://me@mail\"\npassword = \"pw\"\npassword_file = \"x\"",
            &["7:1: `password` is given on line 6 already; keep one of both"],
        ),
    ] {
        check(&[(&format!("{url}{lines}"), expected)]);
    }
    let expected = "4:8: `Acme` is not an address such as \"Acme <noreply@acme.com>\" or \"noreply@acme.com\"";
    check(&[(
        "[gateway]\npublic_url = \"https://a.example\"\n[mail]\nfrom = \"Acme\"\nserver = \"smtp://mail\"",
        &[expected],
    )]);
}

#[test]
fn the_portal_section_is_checked() {
    check(&[
        ("[portal]\nsession = \"1s\"\nsignup = false", &[]),
        (
            "[portal]\nsession = \"0s\"\nsignup = \"no\"",
            &["2:11: `session` must be from 1s to 31d", "3:10: `signup` must be true or false, not a string"],
        ),
        ("[portal]\ntitle = \"x\"", &["2:1: unknown key `title` in [portal]; known are session, signup"]),
    ]);
}

#[test]
fn what_is_kept_of_use_is_checked() {
    let request_log = "is not \"off\", \"all\", or one in so many, such as \"1/100\"";
    check(&[
        ("[usage]\nrequest_log = \"1/1_000\"\nrequest_log_retention = \"1h\"\nretention = \"3650d\"", &[]),
        ("[usage]\nrequest_log = true", &["2:15: `request_log` must be a text in quotes, not a boolean"]),
        ("[usage]\nrequest_log = \"some\"", &[&format!("2:15: `some` {request_log}")]),
        ("[usage]\nrequest_log = \"1/0\"", &[&format!("2:15: `1/0` {request_log}")]),
        ("[usage]\nrequest_log = \"2/100\"", &[&format!("2:15: `2/100` {request_log}")]),
        ("[usage]\nrequest_log = \"1/4294967296\"", &[&format!("2:15: `1/4294967296` {request_log}")]),
        (
            "[usage]\nrequest_log_retention = \"59m\"\nretention = \"31d\"",
            &["2:25: `request_log_retention` must be from 1h to 3650d", "3:13: `retention` must be from 32d to 3650d"],
        ),
        (
            "[usage]\nretention = \"3651d\"",
            &[
                "2:13: `3651d` is not a length of time up to 3650d: a whole number and ms, s, m, h or d, such as \"30s\"",
            ],
        ),
    ]);
}

#[test]
fn notices_are_checked() {
    let webhook = "[usage]\nnotice_webhook = \"https://example.com/hook\"\n";
    check(&[
        ("[usage]\nnotices = []\nkey_expiry_notice = \"0s\"", &[]),
        (
            "[usage]\nnotices = [0, 101, 50, 50, \"x\"]",
            &[
                "2:12: `notices` must be a whole number from 1 to 100",
                "2:15: `notices` must be a whole number from 1 to 100",
                "2:24: this stands in the list already; remove it",
                "2:28: `x` is not a whole number from 0, such as 10_000",
            ],
        ),
        (&format!("{webhook}notice_webhook_secret = \"0123456789abcdef\""), &[]),
        (
            webhook,
            &[
                "2:1: `notice_webhook` needs `notice_webhook_secret` or `notice_webhook_secret_file`: notices are signed",
            ],
        ),
        (
            "[usage]\nnotice_webhook_secret = \"0123456789abcdef\"",
            &["2:1: `notice_webhook_secret` means nothing without `notice_webhook`"],
        ),
        (
            &format!("{webhook}notice_webhook_secret = \"short\""),
            &["3:25: warning: the secret has fewer than 16 characters and may be guessed"],
        ),
        (&format!("{webhook}notice_webhook_secret = \"\""), &["3:25: `notice_webhook_secret` is empty"]),
        (
            "[usage]\nnotice_webhook = \"http://10.0.0.1/hook\"\nnotice_webhook_secret = \"0123456789abcdef\"",
            &["2:18: warning: notices name accounts and travel in the clear; write https://"],
        ),
        ("[usage]\nnotice_webhook = \"http://localhost:3000/hook\"\nnotice_webhook_secret = \"0123456789abcdef\"", &[]),
    ]);
}

#[test]
fn the_token_of_the_backend_is_checked() {
    check(&[
        ("[usage]\nservice_token = \"${WORD}\"", &[]),
        (
            "[usage]\nservice_token = \"short\"",
            &["2:17: warning: the token has fewer than 16 characters and may be guessed"],
        ),
        (
            "[usage]\nservice_token = \"${HARD}\"",
            &["2:17: the token holds a character that no header may hold; use letters and digits"],
        ),
        (
            "[usage]\nservice_token = \"a\"\nservice_token_file = \"b\"",
            &["3:1: `service_token` is given on line 2 already; keep one of both"],
        ),
        (
            "[keys]\nalso_accept = [\"rk_*\", \"e*\"]\n[auth.jwt]\njwks_url = \"https://a.example/keys\"",
            &[
                "2:24: warning: tokens of [auth.jwt] have this shape and would be taken for keys; write what keys begin with",
            ],
        ),
        (
            "[admin]\ntoken = \"${WORD}\"\n[usage]\nservice_token = \"${WORD}\"",
            &["4:17: warning: this is the operators' token as well, so the backend could do all that operators can"],
        ),
    ]);
}
