//! Mistakes in the settings, and between listeners.

use super::check;

const NO_DATABASE: &str = "2:12: `database` must be \"sqlite://\" and the path of a file, such as \"sqlite://tollgate.db\", \
                           or a URL that begins with postgres://";

#[test]
fn the_gateway_section_is_checked() {
    check(&[
        (
            "[gateway]\nlisten = \"localhost:8080\"",
            &["2:10: `localhost:8080` is not an address and a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\""],
        ),
        ("[gateway]\nlisten = []", &["2:10: `listen` must hold at least one address"]),
        (
            "[gateway]\nlisten = \"0.0.0.0:8080\"",
            &["2:10: warning: 0.0.0.0:8080 is a public address and keys travel in the clear; put TLS in front"],
        ),
        (
            "[gateway]\nlisten = [\"10.0.0.1:8080\", \"[fd00::1]:8080\", \"[2001:db8::1]:8080\"]",
            &["2:46: warning: [2001:db8::1]:8080 is a public address and keys travel in the clear; put TLS in front"],
        ),
        (
            "[gateway]\ntrusted_proxies = [\"10.0.0.1/8\", \"300.1.1.1\", \"::1\", \"::1\"]",
            &[
                "2:20: `10.0.0.1/8` is not an address or a network such as \"10.0.0.0/8\", no bits set beyond its prefix",
                "2:34: `300.1.1.1` is not an address or a network such as \"10.0.0.0/8\", no bits set beyond its prefix",
                "2:54: this stands in the list already; remove it",
            ],
        ),
        (
            "[gateway]\nmount = \"tollgate\"",
            &["2:9: `tollgate` is not a path such as \"/tollgate\" in its normal form, or \"\" to turn it off"],
        ),
        (
            "[gateway]\nmount = \"/tollgate/\"",
            &["2:9: `/tollgate/` is not a path such as \"/tollgate\" in its normal form, or \"\" to turn it off"],
        ),
        ("[gateway]\ninvalid_key_status = 404", &["2:22: `invalid_key_status` must be 403 or 401"]),
        ("[gateway]\ndrain_timeout = 30", &["2:17: `drain_timeout` must be a text in quotes, not an integer"]),
        ("[gateway]\nheader_timeout = \"0s\"", &["2:18: `header_timeout` must be longer than nothing"]),
        (
            "[gateway]\nbody_timeout = \"1 year\"",
            &["2:16: `1 year` is not a length of time up to 31d: a whole number and ms, s, m, h or d, such as \"30s\""],
        ),
        (
            "[gateway]\nmax_body = \"10 megabytes\"",
            &[
                "2:12: `10 megabytes` is not a size: a whole number and B, KB, MB, GB, KiB, MiB or GiB, such as \"64KiB\"",
            ],
        ),
        ("[gateway]\nmax_header = \"100B\"", &["2:14: `max_header` must be from 1KiB to 1MiB"]),
        ("[gateway]\nmax_connections = 0", &["2:19: `max_connections` must be a whole number from 1 to 1000000"]),
        ("[gateway]\nthreads = \"many\"", &["2:11: `threads` must be a whole number, or \"auto\", not a string"]),
        (
            "[gateway]\npublic_url = \"api.example.com\"",
            &["2:14: `api.example.com` is not an absolute URL that begins with http:// or https://"],
        ),
        (
            "[gateway]\npublic_url = \"https://example.com/?a=b\"",
            &["2:14: `public_url` must end with its path: no `?` and no `#`"],
        ),
        (
            "[gateway]\nupgrade_url = \"ftp://example.com/\"",
            &["2:15: `ftp://example.com/` is not an absolute URL that begins with http:// or https://"],
        ),
        (
            "[gateway]\nsignup_url = \"https://me@example.com/\"",
            &["2:14: `signup_url` must not hold a user or a password"],
        ),
    ]);
}

#[test]
fn listeners_must_not_overlap() {
    check(&[
        (
            "[gateway]\nlisten = [\"127.0.0.1:8080\", \"127.0.0.1:8080\"]",
            &["2:29: `gateway.listen` 127.0.0.1:8080 overlaps `gateway.listen` 127.0.0.1:8080 on line 2"],
        ),
        (
            "[gateway]\nlisten = \"127.0.0.1:9000\"\n[admin]\nlisten = \"127.0.0.1:9000\"",
            &["4:10: `admin.listen` 127.0.0.1:9000 overlaps `gateway.listen` 127.0.0.1:9000 on line 2"],
        ),
        (
            "[metrics]\nlisten = \"127.0.0.1:9000\"\n[gateway]\nlisten = \"[::]:9000\"",
            &[
                "4:10: `gateway.listen` [::]:9000 overlaps `metrics.listen` 127.0.0.1:9000 on line 2",
                "4:10: warning: [::]:9000 is a public address and keys travel in the clear; put TLS in front",
            ],
        ),
        (
            "[gateway]\nlisten = \"127.0.0.1:9464\"",
            &["2:10: `gateway.listen` 127.0.0.1:9464 overlaps `metrics.listen` 127.0.0.1:9464 (its default)"],
        ),
        ("[gateway]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"", &[]),
        (
            "[gateway]\nlisten = \"127.0.0.1:9000\"\n[admin]\nlisten = \"[::1]:9000\"\n[metrics]\nlisten = \"127.0.0.2:9000\"",
            &[],
        ),
    ]);
}

#[test]
fn the_upstream_section_is_checked() {
    check(&[
        (
            "[upstream]\nurl = \"127.0.0.1:8501\"",
            &["2:7: this is not a URL; write one such as `http://127.0.0.1:8501`"],
        ),
        ("[upstream]\nurl = \"postgres://localhost\"", &["2:7: the URL must begin with http:// or https://"]),
        (
            "[upstream]\nurl = \"http://me:hunter2@localhost\"",
            &["2:7: the URL holds a user or a password; send them with `add_headers`"],
        ),
        (
            "[upstream]\nurl = \"http://localhost:8501/a/%2e%2e/b?c\"",
            &["2:7: the URL must end with its path: no `?` and no `#`"],
        ),
        (
            "[upstream]\nurl = \"http://localhost:8501/a//b\"",
            &["2:7: the URL's path cannot be used: it holds an empty segment; requests with `//` are refused"],
        ),
        (
            "[upstream]\nurl = \"http://localhost:8080/\"",
            &["2:7: `upstream.url` leads to `gateway.listen` 127.0.0.1:8080: an endless loop"],
        ),
        (
            "[upstream]\nurl = [\"http://a\", \"http://b\"]",
            &["2:1: `url` (several upstreams) comes with a later version; remove it"],
        ),
        ("[upstream]\nhost = \"a b\"", &["2:8: `a b` is not a host name or address, with a port if need be"]),
        (
            "[upstream]\nhost = \"me@example.com\"",
            &["2:8: `me@example.com` is not a host name or address, with a port if need be"],
        ),
        (
            "[upstream]\nadd_headers = { host = \"x\", \"bad name\" = \"y\", x-ok = \"1\", X-OK = \"2\", x_tollgate_plan = \"1\", x-nl = \"a\\nb\" }",
            &[
                "2:17: the gateway itself sets or removes `host`; write `host = \"…\"`",
                "2:42: this is not the name of a header: letters, digits and `-`, such as \"x-api-key\"",
                "2:47: `x-ok` is given twice",
                "2:71: the gateway itself sets or removes `x_tollgate_plan`",
                "2:101: the value of `x-nl` holds a character that no header may hold",
            ],
        ),
        (
            "[upstream]\nadd_headers = { x-key_file = \"/nonexistent\" }",
            &["2:30: the file `/nonexistent` cannot be read: No such file or directory (os error 2)"],
        ),
    ]);
}

#[test]
fn the_admin_and_store_sections_are_checked() {
    check(&[
        (
            "[admin]\nlisten = \"0.0.0.0:8081\"",
            &[
                "2:10: warning: 0.0.0.0:8081 is a public address and the operators' token travels in the clear; put TLS in front",
            ],
        ),
        ("[admin]\ntoken = \"short\"", &["2:9: warning: the token has fewer than 16 characters and may be guessed"]),
        ("[admin]\ntoken = \"\"", &["2:9: `token` is empty"]),
        ("[admin]\ntoken = \"a\"\ntoken_file = \"b\"", &["3:1: `token` is given on line 2 already; keep one of both"]),
        ("[admin]\ntoken_file = \"/dev/null\"", &["2:14: the file `/dev/null` is empty"]),
        (
            "[admin]\nurl = \"unix:/run/tollgate\"",
            &["2:7: `unix:/run/tollgate` is not an absolute URL that begins with http:// or https://"],
        ),
        ("[store]\ndatabase = \"tollgate.db\"", &[NO_DATABASE]),
        ("[store]\ndatabase = \"sqlite://\"", &[NO_DATABASE]),
    ]);
}

#[test]
fn the_keys_section_is_checked() {
    check(&[
        (
            "[keys]\nprefix = \"sk_live\"",
            &["2:10: warning: keys that begin with `sk_` look like Stripe's own, and secret scanners will report them"],
        ),
        (
            "[keys]\nprefix = \"tg-live\"",
            &[
                "2:10: `tg-live` is not a prefix: up to 32 letters, digits and underscores, the first and the last no underscore",
            ],
        ),
        (
            "[keys]\nheader = \"x api key\"",
            &["2:10: this is not the name of a header: letters, digits and `-`, such as \"x-api-key\""],
        ),
        (
            "[keys]\nheader = \"Authorization\"",
            &["2:10: `Authorization: Bearer` is read besides the header named here; name another"],
        ),
        (
            "[keys]\nheader = \"Cookie\"",
            &["2:10: `cookie` cannot carry a key; name another header, such as \"x-api-key\""],
        ),
        (
            "[keys]\nquery = \"api key\"",
            &["2:9: `api key` is not the name of a query parameter: letters, digits, `-`, `_` and `.`"],
        ),
        (
            "[keys]\npepper = \"a\"\npepper_file = \"b\"",
            &["3:1: `pepper` is given on line 2 already; keep one of both"],
        ),
        (
            "[keys]\nalso_accept = [\"*\", \"clé_*\"]",
            &[
                "2:16: warning: this lets any text cause a look-up; write what your keys begin with",
                "2:21: `clé_*` is not the shape of a key: visible ASCII, `*` for any of it, such as \"rk_*\"",
            ],
        ),
    ]);
}

#[test]
fn the_remaining_sections_are_checked() {
    check(&[
        (
            "[limits]\nmode = \"leasd\"\nrate_scope = \"user\"\nheaders = true\nenforce = \"yes\"",
            &[
                "2:8: `leasd` is not one of \"leased\", \"exact\"; did you mean \"leased\"?",
                "3:14: `user` is not one of \"account\", \"key\"",
                "4:11: `headers` must be a text in quotes, not a boolean",
                "5:11: `enforce` must be true or false, not a string",
            ],
        ),
        (
            "[log]\nformat = \"text\"\nlevel = 3",
            &["2:10: `text` is not one of \"json\", \"line\"", "3:9: `level` must be a text in quotes, not an integer"],
        ),
        (
            "[accounts]\ndefault_plan = \"fre\"\n[plans.free]",
            &["2:16: there is no plan \"fre\"; did you mean \"free\"?"],
        ),
        ("[accounts]\ndefault_plan = \"free\"", &["2:16: there is no plan \"free\"; there are no plans in this file"]),
        (
            "[accounts]\ndefault_plan = \"public\"\n[plans.public]",
            &["2:16: `public` is the plan of anonymous callers; no account can have it"],
        ),
    ]);
}
