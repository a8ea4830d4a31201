//! Every rule of the file, broken one at a time: what is said, and where.

mod billing;
mod cors;
mod customers;
mod fleet;
mod later;
mod plans;
mod routes;
mod settings;
mod syntax;

use crate::said;

/// Each case is a file and everything that is said about it; an empty list means that nothing is.
fn check(cases: &[(&str, &[&str])]) {
    for (text, expected) in cases {
        assert_eq!(said(text), *expected, "{text}");
    }
}

#[test]
fn seven_mistakes_are_seven_diagnostics_in_the_order_of_the_file() {
    let text = r#"
[gateway]
listn = "127.0.0.1:8080"

[metrics]
listen = "127.0.0.1:8081"

[plans.pro]
rate = "600 per minute"
stripe_prices = ["price_a"]

[plans.team]
rate = "600/minute"
burst = 0
stripe_prices = ["price_a"]

[[routes]]
path = "/events/*"
min_plan = "por"

[[routes]]
path = "/events/search"
"#;
    insta::assert_snapshot!(said(text).join("\n"), @r#"
    3:1: unknown key `listn` in [gateway]; did you mean `listen`?
    6:10: `metrics.listen` 127.0.0.1:8081 overlaps `admin.listen` 127.0.0.1:8081 (its default)
    9:8: bad rate `600 per minute`: write a count, a slash and a unit, such as `600/minute`
    14:9: `burst` must be a whole number from 1 to 9007199254740992; to admit nothing write a rate of 0
    15:18: this Stripe price buys the plan `pro` on line 10 already
    19:12: there is no plan "por"; did you mean "pro"?
    22:8: this route can never match: `/events/*` on line 18 comes first; move this one up
    "#);
}
