//! Whatever order, number or delay of events, whatever shape: the same end. The oracle asks the fake what is so, and knows
//! nothing of events.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use serde_json::Value;
use tollgate_billing::is_used;
use tollgate_domain::AccountId;
use tollgate_fake_stripe::{Action, AfterRetries, EventShape, FakeConfig, Seed, Seeded, SignedEvent};
use tollgate_store::{Billing as _, Store as _};

use crate::world::{GRACE_DAYS, Settings, World};

/// Numbers that are as good as random, the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(sides).unwrap()).unwrap()
    }

    fn shuffle<T>(&mut self, things: &mut [T]) {
        for at in (1..things.len()).rev() {
            things.swap(at, self.roll(at + 1));
        }
    }
}

/// The plan that a customer has a right to, by what its subscriptions and invoices are now.
fn oracle(world: &World, customer: &str) -> Option<String> {
    let now = world.fake.now();
    let query = [("customer", customer), ("status", "open"), ("limit", "100")];
    let open = world.fake.call("GET", "/v1/invoices", &query).unwrap();
    let failing_since = |subscription: &str| {
        let invoices = open["data"].as_array().unwrap().iter();
        let mine = invoices.filter(|invoice| {
            let new = invoice.pointer("/parent/subscription_details/subscription").and_then(Value::as_str);
            new.or(invoice["subscription"].as_str()) == Some(subscription) && invoice["attempt_count"] != 0
        });
        mine.filter_map(|invoice| invoice["status_transitions"]["finalized_at"].as_i64()).min()
    };
    let gives = |subscription: &Value| {
        let is_entitled = match subscription["status"].as_str().unwrap() {
            "active" | "trialing" => true,
            "past_due" => failing_since(subscription["id"].as_str().unwrap())
                .is_none_or(|since| now < since + GRACE_DAYS * 86_400),
            _ => false,
        };
        let price = subscription["items"]["data"][0]["price"]["id"].as_str().unwrap();
        is_entitled.then(|| price.strip_prefix("price_").unwrap().to_owned())
    };
    // `pro` comes before `team` in the alphabet as in rank.
    world.fake.subscriptions_of(customer).iter().filter_map(gives).max()
}

async fn agree_with_the_oracle(world: &World, owners: &[(AccountId, Seeded)], what: &str) {
    for (account, made) in owners {
        assert_eq!(world.plan(*account).await, oracle(world, &made.customer), "{what}: {}", made.customer);
    }
    let left = world.store.inbox_state().await.unwrap();
    assert_eq!((left.pending, left.dead), (0, 0), "{what}");
}

/// Every order of so many things.
fn permutations(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for shorter in permutations(count - 1) {
        for at in 0..count {
            let mut longer = shorter.clone();
            longer.insert(at, count - 1);
            all.push(longer);
        }
    }
    all
}

async fn owners(world: &World, count: usize) -> Vec<(AccountId, Seeded)> {
    let mut owners = Vec::new();
    for at in 0..count {
        let account = world.account(&format!("{at:05}@example.com")).await;
        owners.push((account.id, world.subscribe(account.id, &["price_pro"])));
    }
    owners
}

/// Of each customer, what was told, in the order in which it happened.
fn told(world: &World) -> BTreeMap<String, Vec<SignedEvent>> {
    let mut by_customer: BTreeMap<String, Vec<SignedEvent>> = BTreeMap::new();
    for event in world.fake.take_events().into_iter().filter(|event| is_used(&event.kind)) {
        by_customer.entry(event.customer.clone().unwrap()).or_default().push(event);
    }
    by_customer
}

#[tokio::test]
async fn every_order_of_a_history_with_repetitions_ends_in_the_same_entitlement() {
    const EVENTS: usize = 6;
    let orders = permutations(EVENTS);
    assert_eq!(orders.len(), 720);
    let fake =
        FakeConfig { event_shape: EventShape::Mixed, after_retries: AfterRetries::PastDue, ..Default::default() };
    let world = World::with(Settings { fake, ..Settings::default() }).await;
    let owners = owners(&world, orders.len()).await;
    for (_, made) in &owners {
        world.act(made, &Action::CardFails);
    }
    world.act(&owners[0].1, &Action::Renew);
    for (at, (_, made)) in owners.iter().enumerate() {
        match at % 5 {
            0 => world.act(made, &Action::CancelNow),
            1 => {
                world.act(made, &Action::CardRecovers);
                world.act(made, &Action::PayOpenInvoice);
            }
            2 => world.act(made, &Action::Touch),
            3 => world.act(made, &Action::VoidInvoice),
            _ => {
                world.act(made, &Action::CardRecovers);
                world.act(made, &Action::ChangePrice("price_team".into()));
            }
        }
    }
    let mut dice = Dice(7);
    let told = told(&world);
    let mut deliveries: Vec<Vec<&SignedEvent>> = Vec::new();
    for ((_, made), order) in owners.iter().zip(&orders) {
        let events = &told[&made.customer];
        assert!(events.len() >= EVENTS, "{:?}", events.iter().map(|event| &event.kind).collect::<Vec<_>>());
        // The newest are turned every way; what came before them comes anywhere.
        let (older, newest) = events.split_at(events.len() - EVENTS);
        let mut ordered: Vec<&SignedEvent> = order.iter().map(|at| &newest[*at]).collect();
        for event in older {
            ordered.insert(dice.roll(ordered.len() + 1), event);
        }
        for _ in 0..dice.roll(4) {
            let again = ordered[dice.roll(ordered.len())];
            ordered.insert(dice.roll(ordered.len() + 1), again);
        }
        deliveries.push(ordered);
    }
    let rounds = deliveries.iter().map(Vec::len).max().unwrap();
    for round in 0..rounds {
        for event in deliveries.iter().filter_map(|ordered| ordered.get(round)) {
            world.deliver(event).await;
        }
        if round == 3 || round == 7 {
            world.billing.work_once().await.unwrap();
        }
    }
    world.billing.work_once().await.unwrap();
    agree_with_the_oracle(&world, &owners, "when all was told").await;
    // Time alone ends grace.
    world.advance_days(u64::try_from(GRACE_DAYS).unwrap());
    for (account, made) in &owners {
        assert_eq!(world.plan(*account).await, oracle(&world, &made.customer), "{}", made.customer);
    }
}

/// Something that may happen, whether or not it can.
fn any_action(dice: &mut Dice) -> Action {
    let words = [
        "card_fails",
        "card_recovers",
        "pay_open_invoice",
        "cancel_at_period_end",
        "reactivate",
        "touch",
        "void_invoice",
        "mark_uncollectible",
        "change_price:price_team",
        "change_price:price_pro",
        "cancel_now",
        "pause_collection",
        "resume_collection",
        "end_trial",
    ];
    let word = words[dice.roll(words.len())];
    match word.split_once(':') {
        Some((_, price)) => Action::ChangePrice(price.into()),
        None => Action::from_str(word).unwrap(),
    }
}

async fn live_and_tell(seed: u64) {
    let mut dice = Dice(seed);
    let after_retries = [AfterRetries::Cancel, AfterRetries::Unpaid, AfterRetries::PastDue][dice.roll(3)];
    let fake = FakeConfig { event_shape: EventShape::Mixed, after_retries, ..Default::default() };
    let world = World::with(Settings { fake, ..Settings::default() }).await;
    let owners = owners(&world, 12).await;
    let mut late: Vec<SignedEvent> = Vec::new();
    for _ in 0..60 {
        let (_, made) = &owners[dice.roll(owners.len())];
        match dice.roll(8) {
            0 => world.fake.advance(Duration::from_hours(u64::try_from(dice.roll(24 * 9)).unwrap())),
            1 => {
                // Another subscription beside it.
                let prices: &[&str] = if dice.roll(2) == 0 { &["price_pro"] } else { &["price_team"] };
                let trial_days = u32::try_from(dice.roll(2) * 5).unwrap();
                let seed = Seed { customer: Some(&made.customer), prices, trial_days, ..Seed::default() };
                world.fake.seed(seed).unwrap();
            }
            // What cannot happen does not.
            _ => drop(world.fake.act(&made.subscription, &any_action(&mut dice))),
        }
        late.extend(world.fake.take_events());
        dice.shuffle(&mut late);
        for _ in 0..dice.roll(4) {
            let Some(event) = late.pop() else { break };
            world.deliver(&event).await;
            match dice.roll(4) {
                // It comes again, much later.
                0 => late.insert(0, event),
                // Stripe knows that it came.
                _ => world.fake.mark_delivered(&event.id),
            }
        }
        if dice.roll(3) == 0 {
            world.billing.work_once().await.unwrap();
        }
    }
    // Some never come, and are found by a sweep; of some not even that is known.
    for (at, event) in late.iter().enumerate() {
        match at % 3 {
            0 => drop(world.deliver(event).await),
            1 => world.fake.mark_delivered(&event.id),
            _ => {}
        }
    }
    world.billing.sweep_once().await.unwrap();
    world.billing.work_once().await.unwrap();
    agree_with_the_oracle(&world, &owners, &format!("seed {seed}")).await;
    for (account, _) in &owners {
        assert!(world.store.keys(Some(*account), None, 1).await.unwrap().items.is_empty(), "no event makes a key");
    }
}

#[tokio::test]
async fn lives_told_late_doubled_shuffled_or_not_at_all_end_as_they_are() {
    for seed in 1..=8_u64 {
        live_and_tell(u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15)).await;
    }
}
