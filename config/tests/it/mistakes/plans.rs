//! Mistakes in `[plans]`.

use super::check;

#[test]
fn what_plans_show_is_checked() {
    check(&[
        ("[plans.\"x y\"]", &["1:8: `x y` cannot name a plan: up to 32 letters, digits, `-` and `_`"]),
        ("[plans.pro]\nrank = \"high\"", &["2:8: `rank` must be a whole number, not a string"]),
        ("[plans.pro]\napi = 1", &["2:7: `api` must be true or false, not an integer"]),
        (
            "[plans.pro]\nprice = \"29\"",
            &["2:9: write an amount, a currency and an interval, such as `29 USD/month` or `290.50 EUR/year`"],
        ),
        ("[plans.pro]\ndisplay_name = \" \"", &["2:16: this must be a line of text"]),
    ]);
}

#[test]
fn rate_and_burst_are_checked() {
    check(&[
        (
            "[plans.pro]\nrate = \"600 per minute\"",
            &["2:8: bad rate `600 per minute`: write a count, a slash and a unit, such as `600/minute`"],
        ),
        (
            "[plans.pro]\nrate = \"600/fortnight\"",
            &[
                "2:8: bad rate `600/fortnight`: `fortnight` is not a unit: write `second`, `minute`, `hour`, `day` or a number of days up to `31d`",
            ],
        ),
        ("[plans.pro]\nrate = 600", &["2:8: `rate` must be a rate in quotes, such as \"600/minute\", not an integer"]),
        ("[plans.pro]\nburst = 5", &["2:1: `burst` means nothing without a `rate`"]),
        (
            "[plans.pro]\nrate = \"600/minute\"\nburst = 0",
            &["3:9: `burst` must be a whole number from 1 to 9007199254740992; to admit nothing write a rate of 0"],
        ),
        (
            "[plans.pro]\nrate = \"600/minute\"\nburst = -1",
            &["3:9: `burst` must be a whole number from 1 to 9007199254740992; to admit nothing write a rate of 0"],
        ),
        (
            "[plans.pro]\nrate = \"0/minute\"\nburst = 5",
            &["3:9: a burst of 5 contradicts the rate on line 2, which admits nothing"],
        ),
        ("[plans.pro]\nrate = \"unlimited\"\nburst = 5", &["3:1: `burst` contradicts the unlimited rate on line 2"]),
        (
            "[plans.pro]\nrate = \"999983/day\"\nburst = 999983",
            &[
                "3:9: a burst of 999983 at 999983/day cannot be counted exactly: lower the burst, or give the rate in a shorter unit",
            ],
        ),
    ]);
}

#[test]
fn windows_and_quota_are_checked() {
    check(&[
        ("[plans.pro]\nwindows = [\"1/day\", \"2/1d\"]", &["2:21: there is a window of one day on line 2 already"]),
        (
            "[plans.pro]\nwindows = [\"1/minute\", \"1/hour\", \"1/day\", \"1/2d\", \"1/3d\"]",
            &["2:11: a plan has at most 4 windows, not 5"],
        ),
        (
            "[plans.pro]\nwindows = [\"3/second\", \"1/32d\", \"x\"]",
            &[
                "2:12: a window lasts a minute, an hour, a day or up to 31d; limit seconds with `rate`",
                "2:24: bad rate `1/32d`: `32d` is not a unit: write `second`, `minute`, `hour`, `day` or a number of days up to `31d`",
                "2:33: bad rate `x`: write a count, a slash and a unit, such as `600/minute`",
            ],
        ),
        (
            "[plans.pro]\nwindows = [\"9007199254740993/day\"]",
            &[
                "2:12: 9007199254740993 is more than can be counted exactly: at most 9_007_199_254_740_992, or \"unlimited\"",
            ],
        ),
        (
            "[plans.pro]\nquota = \"10_000\"",
            &["2:9: `10_000` is not a quota such as \"10_000/month\", or \"unlimited\""],
        ),
        (
            "[plans.pro]\nquota = 10_000",
            &["2:9: `quota` must be a text such as \"10_000/month\", or \"unlimited\", not an integer"],
        ),
        (
            "[plans.pro]\nquota = \"10_000/day\"",
            &["2:9: `10_000/day` is not a quota such as \"10_000/month\", or \"unlimited\""],
        ),
        (
            "[plans.pro]\nquota_period = \"monthly\"",
            &["2:16: `monthly` is not one of \"billing\", \"calendar\", \"rolling-30d\""],
        ),
    ]);
}

#[test]
fn what_plans_gate_is_checked() {
    check(&[
        ("[plans.pro]\nmax_keys = -1", &["2:12: `max_keys` must be a whole number from 0 to 9007199254740992"]),
        (
            "[plans.pro]\nfeatures = [\"a b\", \"x\", \"x\"]",
            &[
                "2:13: `a b` is not the name of a feature: up to 64 letters, digits, `-`, `_` and `.`",
                "2:25: this stands in the list already; remove it",
            ],
        ),
        (
            "[plans.pro]\nstripe_prices = [\"price a\"]",
            &["2:18: `price a` is not the id of a Stripe price, such as \"price_1Abc\""],
        ),
        (
            "[plans.pro]\nstripe_prices = [\"price_a\"]\n[plans.team]\nstripe_prices = [\"price_b\", \"price_a\"]",
            &["4:29: this Stripe price buys the plan `pro` on line 2 already"],
        ),
        (
            "[plans.public]\napi = false\nmax_keys = 3\nstripe_prices = [\"p\"]",
            &[
                "2:1: `public` is the plan of anonymous callers: leave out the public routes instead",
                "3:1: `public` is the plan of anonymous callers: they have no keys",
                "4:1: `public` is the plan of anonymous callers: they cannot buy anything",
            ],
        ),
    ]);
}
