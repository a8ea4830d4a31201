//! What is no TOML, no known key, no set variable.

use super::check;

#[test]
fn unknown_keys_are_named_with_the_nearest_known_one() {
    check(&[
        ("[gateway]\nlistn = \"127.0.0.1:8080\"", &["2:1: unknown key `listn` in [gateway]; did you mean `listen`?"]),
        ("[gatway]\nlisten = \"127.0.0.1:8080\"", &["1:2: unknown key `gatway`; did you mean `gateway`?"]),
        (
            "[plans.pro]\nrate_limit = \"600/minute\"\nburst = 60",
            &[
                "2:1: unknown key `rate_limit` in [plans.pro]; known are rank, api, display_name, description, highlights, price, rate, burst, windows, quota, quota_period, meters, max_keys, features, stripe_prices",
            ],
        ),
        ("[[routes]]\npth = \"/a\"", &["2:1: unknown key `pth` in [[routes]]; did you mean `path`?"]),
        (
            "[cors]\norigin = [\"https://example.com\"]",
            &["2:1: unknown key `origin` in [cors]; did you mean `origins`?"],
        ),
        ("[log]\nformat = \"line\"\ncolour = true", &["3:1: unknown key `colour` in [log]; known are format, level"]),
        (
            "[plan.pro]\nrate = \"1/minute\"\n[[routes]]\npath = \"/a\"\nmin_plan = \"pro\"",
            &["1:2: unknown key `plan`; did you mean `plans`?"],
        ),
        (
            "[plans.pro]\nburst = 60\n[foo]\n[[routes]]\nuri = \"/a\"\n[[routes]]\npath = \"/b\"\nmin_plan = \"por\"",
            &[
                "2:1: `burst` means nothing without a `rate`",
                "3:2: unknown key `foo`; known are gateway, upstream, admin, metrics, store, keys, limits, log, auth, mail, portal, usage, billing, accounts, plans, routes, cors",
                "4:1: this route has no `path`",
                "5:1: unknown key `uri` in [[routes]]; known are name, path, methods, headers, query, access, min_plan, feature, cost, cost_max, meter, max_body, encoded_slash, path_params, on_limiter_down",
                "8:12: there is no plan \"por\"; did you mean \"pro\"?",
            ],
        ),
        ("[metrics]\n\"ligne\\u0007\" = 1", &["2:1: unknown key `ligne\\u{7}` in [metrics]; known are listen"]),
    ]);
}

#[test]
fn tables_and_lists_have_their_own_brackets() {
    check(&[
        ("gateway = 3", &["1:11: `gateway` must be a table, not an integer"]),
        ("[[gateway]]\nlisten = \"127.0.0.1:8080\"", &["1:3: write [gateway] once, without double brackets"]),
        ("[routes]\npath = \"/a\"", &["1:2: write each route under [[routes]], in double brackets"]),
        ("routes = [\"/a\"]", &["1:11: `routes` must be a table, not a string"]),
        ("[plans]\npro = 3", &["2:7: `pro` must be a table, not an integer"]),
        ("[plans.pro]\nhighlights = \"x\"", &["2:14: `highlights` must be a list in brackets, not a string"]),
    ]);
}

#[test]
fn what_is_no_toml_is_reported_beside_the_rest() {
    check(&[
        (
            "[plans.pro]\nrate = 600/minute\nquota = \"lots\"",
            &[
                "2:11: not TOML: invalid float, expected nothing; texts stand in quotes",
                "3:9: `lots` is not a quota such as \"10_000/month\", or \"unlimited\"",
            ],
        ),
        (
            "[gateway]\nlisten = \"127.0.0.1:8080\"\nmount = \"/a\"\nlisten = \"127.0.0.1:8081\"",
            &["4:1: duplicate key `listen`: line 2 has it already; keep one of them"],
        ),
        (
            "[plans.pro]\nrate = \"1/minute\"\n[plans.team]\n[plans.pro]\nrate = \"2/minute\"",
            &["4:8: duplicate key `pro`: line 1 has it already; keep one of them"],
        ),
        (
            "[plans.pro]\nfeatures = [\"a\"\nquota = \"1/month\"\n[[routes]]\npath = \"/x\"\nmin_plan = \"pro\"",
            &["2:12: not TOML: unclosed array, expected `]`; it begins here"],
        ),
        (
            "[log]\n= 3\nformat\nlevel = \"loud\"",
            &[
                "2:1: not TOML: unquoted keys cannot be empty, expected letters, numbers, `-`, `_`",
                "3:7: not TOML: key with no value, expected `=`",
                "4:9: `loud` is not one of \"error\", \"warn\", \"info\", \"debug\", \"trace\"",
            ],
        ),
        (
            "[plans.pro\nrate = \"1/minute\"\n[[routes]]\npath = \"/a\"\nmin_plan = \"pro\"",
            &["1:11: not TOML: unclosed table, expected `]`"],
        ),
        (
            "[gateway\nmount = \"/a\"\n[log]\nformat = \"line\"\n[[routes]]\npath = \"/a\"\nmin_plan = \"pro\"",
            &[
                "1:9: not TOML: unclosed table, expected `]`",
                "7:12: there is no plan \"pro\"; there are no plans in this file",
            ],
        ),
        (
            "[keys]\nprefix = \"\"\"abc\nheader = \"x\"",
            &["2:10: not TOML: invalid multi-line basic string, expected `\"`; it begins here"],
        ),
    ]);
}

#[test]
fn variables_must_be_set_and_closed() {
    check(&[
        ("[gateway]\nlisten = \"127.0.0.1:${NOPE}\"", &["2:21: the environment variable `NOPE` is not set"]),
        ("[gateway]\npublic_url = \"${EMPTY}\"", &["2:15: the environment variable `EMPTY` is empty"]),
        (
            "[gateway]\npublic_url = \"https://${\"",
            &["2:23: `${` is not closed by `}`; write `$${` where a literal `${` is meant"],
        ),
        (
            "[gateway]\npublic_url = \"${a b}\"",
            &["2:15: `a b` is no name of a variable; write `$${` where a literal `${` is meant"],
        ),
        (
            "[gateway]\nlisten = \"0.0.0.0:1${PORT}\"",
            &["2:10: warning: 0.0.0.0:18090 is a public address and keys travel in the clear; put TLS in front"],
        ),
    ]);
}
