//! Many of everything: it must stay quick, because whoever tests with it tests with thousands.

use std::time::{Duration, Instant};

use tollgate_fake_stripe::Seed;

use crate::support::fake;

/// Far more than it takes, for a machine that is busy with other things.
const BOUND: Duration = Duration::from_mins(2);

#[test]
fn hundreds_of_subscriptions_renew_and_each_is_read_quickly() {
    let fake = fake();
    let began = Instant::now();
    let made: Vec<_> = (0..500)
        .map(|number| {
            fake.seed(Seed { email: &format!("c{number}@example.com"), prices: &["price_pro"], ..Seed::default() })
                .expect("made")
        })
        .collect();
    fake.advance_months(2);
    let events = fake.take_events();
    assert!(events.len() >= 500 * 9 + 2 * 500 * 6, "{} events", events.len());
    assert!(began.elapsed() < BOUND, "{} events took {:?}", events.len(), began.elapsed());
    let began = Instant::now();
    for one in made.iter().step_by(20) {
        let list =
            fake.call("GET", "/v1/subscriptions", &[("customer", &one.customer), ("status", "all")]).expect("a list");
        assert_eq!(list["data"][0]["id"].as_str(), Some(one.subscription.as_str()));
        let open = fake
            .call("GET", "/v1/invoices", &[("subscription", &one.subscription), ("status", "open")])
            .expect("a list");
        assert_eq!(open["data"].as_array().map(Vec::len), Some(0));
    }
    assert!(began.elapsed() < Duration::from_secs(20), "50 reads took {:?}", began.elapsed());
}
