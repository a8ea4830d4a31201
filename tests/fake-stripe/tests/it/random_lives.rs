//! Random lives: whatever happens, what was told last of an object is what the API shows of it.

use std::collections::HashMap;

use serde_json::Value;
use tollgate_fake_stripe::{Action, AfterRetries, Card, FakeConfig, Seed};

use crate::support::{days, fake_with};

/// What every event about a subscription or an invoice tells in full.
const TOLD: [(&str, &[&str]); 2] = [
    (
        "customer.subscription.",
        &["status", "items", "cancel_at", "canceled_at", "ended_at", "latest_invoice", "trial_end", "metadata"],
    ),
    ("invoice.", &["status", "amount_paid", "attempt_count", "lines", "status_transitions"]),
];

fn next(seed: &mut u64) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    usize::try_from(*seed >> 33).expect("31 bits")
}

#[test]
fn the_last_event_of_an_object_shows_it_as_it_is() {
    let actions: Vec<Action> = Action::plain()
        .chain(["price_pro", "price_team", "price_pro_year"].map(|price| Action::ChangePrice(price.to_owned())))
        .collect();
    for life in 0..24_u64 {
        let after_retries = [AfterRetries::Cancel, AfterRetries::Unpaid, AfterRetries::PastDue][(life % 3) as usize];
        let fake = fake_with(FakeConfig {
            after_retries,
            finalize_after_secs: if life % 2 == 0 { 0 } else { 3_600 },
            seed: life,
            ..FakeConfig::default()
        });
        let mut seed = life;
        let made = fake
            .seed(Seed {
                email: "a@example.com",
                prices: &["price_pro", "price_calls"],
                trial_days: if life % 4 == 0 { 7 } else { 0 },
                card: if life % 5 == 0 { Card::DeclinesNext(1) } else { Card::Good },
                pause_without_card: life % 2 == 0,
                ..Seed::default()
            })
            .expect("made");
        let mut history = Vec::new();
        for _ in 0..40 {
            let action = &actions[next(&mut seed) % actions.len()];
            // What is impossible just now is refused and must change nothing.
            let result = fake.act(&made.subscription, action);
            history.push(format!("{} {}", action.name(), result.is_ok()));
            fake.advance(days((next(&mut seed) % 9) as u64));
        }
        let mut last: HashMap<(String, &str), Value> = HashMap::new();
        for event in fake.take_events() {
            let Some((prefix, _)) = TOLD.iter().find(|(prefix, _)| event.kind.starts_with(prefix)) else { continue };
            let body: Value = serde_json::from_str(&event.body).expect("JSON");
            let object = body["data"]["object"].clone();
            last.insert((object["id"].as_str().expect("an id").to_owned(), prefix), object);
        }
        assert!(!last.is_empty());
        for ((id, prefix), told) in last {
            let shown = fake.object(&id).expect("it is there");
            let fields = TOLD.iter().find(|(known, _)| *known == prefix).expect("one of them").1;
            for field in fields {
                assert_eq!(told[*field], shown[*field], "life {life}: {id} {field} after {history:?}");
            }
        }
    }
}
