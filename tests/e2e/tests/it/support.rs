//! What tests of several promises need: keys that were made elsewhere, and files of them; example files, and somebody who
//! pays on the page that a gate gave the address of.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::Value;
use tollgate_e2e::{Answer, Gate, Stripe};
pub(crate) use tollgate_e2e::{foreign_key, sha256};
use tollgate_fake_stripe::{Action, CheckoutOutcome, Interval, NewPrice};

/// Writes a CSV file into the gate's folder.
pub(crate) fn write_csv(gate: &Gate, header: &str, rows: impl Iterator<Item = String>) -> PathBuf {
    let mut text = format!("{header}\n");
    for row in rows {
        writeln!(text, "{row}").expect("writing to a string cannot fail");
    }
    let path = gate.folder().join("import.csv");
    std::fs::write(&path, text).expect("the file can be written");
    path
}

/// Imports such a file, and asserts that it was taken.
#[track_caller]
pub(crate) fn import_keys(gate: &Gate, header: &str, rows: impl Iterator<Item = String>) {
    let path = write_csv(gate, header, rows);
    gate.cli(&["keys", "import", path.to_str().expect("temporary paths are text")]).done();
}

/// An example file of the repository, with a Stripe that nobody answers for.
pub(crate) fn example(name: &str) -> String {
    asking_stripe(name, "http://127.0.0.1:9/", "sk_test_of_nobody", "whsec_of_nobody_at_all")
}

/// The same with this stand-in for Stripe, which has the prices that the examples name.
pub(crate) fn selling(name: &str, stripe: &Stripe) -> String {
    let fake = stripe.fake();
    for (id, product, unit_amount) in [
        ("price_unlimited", "Unlimited", 4_900),
        ("price_business", "Business", 9_900),
        ("price_enterprise", "Enterprise", 49_900),
    ] {
        let interval = Interval::Month;
        fake.price(NewPrice { id, product, unit_amount, currency: "usd", interval, ..NewPrice::default() });
    }
    asking_stripe(name, &fake.url(), fake.api_key(), &fake.webhook_secret())
}

/// An example file whose variables have these values, where it has them, and which asks another address than Stripe's.
fn asking_stripe(name: &str, url: &str, key: &str, secret: &str) -> String {
    let path = format!("{}/../../config/examples/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    // Keys of live mode are for live deployments; a test is none.
    text.replace("\nlivemode = true\n", &format!("\nlivemode = false\napi_base = \"{url}\"\n"))
        .replace("${STRIPE_SECRET_KEY}", key)
        .replace("${STRIPE_WEBHOOK_SECRET}", secret)
}

/// Pays, or does something else, on the page whose address this answer gave.
#[track_caller]
pub(crate) fn at_checkout(stripe: &Stripe, given: &Answer, outcome: CheckoutOutcome) {
    let session = session_of(stripe, given);
    stripe.fake().checkout(&session, outcome).unwrap_or_else(|error| panic!("{}: {error:?}", given.text()));
}

/// Has something happen to a subscription at Stripe.
#[track_caller]
pub(crate) fn act(stripe: &Stripe, subscription: &str, action: &Action) {
    stripe.fake().act(subscription, action).unwrap_or_else(|error| panic!("{action:?}: {error:?}"));
}

/// The id of that page.
#[track_caller]
pub(crate) fn session_of(stripe: &Stripe, given: &Answer) -> String {
    let body = given.json();
    let url = body["checkout_url"].as_str().unwrap_or_else(|| panic!("no checkout_url in {body:#}"));
    let page = format!("{}c/pay/", stripe.fake().url());
    url.strip_prefix(&page).unwrap_or_else(|| panic!("{url} is no page of {page}")).to_owned()
}

/// The one of these objects whose field has this value.
#[track_caller]
pub(crate) fn named<'a>(list: &'a Value, field: &str, value: &str) -> &'a Value {
    let found = list.as_array().and_then(|list| list.iter().find(|entry| entry[field] == value));
    found.unwrap_or_else(|| panic!("no {field} {value} in {list:#}"))
}
