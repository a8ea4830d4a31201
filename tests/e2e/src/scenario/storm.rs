//! Subscriptions that change without end, whose news arrives one to three times each and in no order, at a gate that is
//! killed meanwhile.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tollgate_fake_stripe::{Action, SignedEvent, sign};

use crate::backend::Backend;
use crate::clock::now_secs;
use crate::gate::Gate;
use crate::http::{Connection, Request};
use crate::setup::Setup;
use crate::stripe::{Payer, Stripe};
use crate::wait::eventually_within;

/// Deliveries at once, as Stripe makes them.
const DELIVERERS: usize = 4;
/// How long a delivery that failed rests.
const AGAIN: Duration = Duration::from_millis(20);
/// Until when everything must have been heeded once all was delivered.
const HEEDED: Duration = Duration::from_mins(20);

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Storm {
    /// Subscriptions, each of another customer.
    pub subscriptions: usize,
    /// Events at least.
    pub events: usize,
    /// How often the gate is killed.
    pub kills: usize,
    /// What chance begins with.
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct StormOutcome {
    /// Events that happened.
    pub events: usize,
    /// Deliveries that were accepted.
    pub deliveries: usize,
    /// Deliveries that were not, while the gate was dead.
    pub failed: usize,
    /// Accounts whose plan is not what Stripe's word makes it.
    pub wrong: Vec<String>,
    /// Events that were given up.
    pub dead: usize,
    /// Keys there are.
    pub keys: usize,
    /// Whether the ledger holds nothing still.
    pub ledger_is_untouched: bool,
    /// From the first event until the last was delivered.
    pub delivered_in: Duration,
    /// From then until all were heeded.
    pub heeded_in: Duration,
}

/// Numbers that look like chance and are the same each time (Knuth's MMIX constants).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let high = usize::try_from(self.0 >> 33).expect("31 bits fit");
        high % bound
    }
}

/// Events to be delivered, and what became of them.
#[derive(Default)]
struct Post {
    bag: Mutex<VecDeque<SignedEvent>>,
    all_happened: AtomicBool,
    events: AtomicUsize,
    deliveries: AtomicUsize,
    failed: AtomicUsize,
}

/// Lets it storm.
///
/// # Panics
/// When the gate does not come up, or what was delivered is not heeded in time.
#[track_caller]
pub fn storm(storm: &Storm) -> StormOutcome {
    let (backend, stripe) = (Backend::start(), Stripe::start());
    let mut gate = stripe.sell(Setup::new(&backend), "30d").start();
    let address = gate.admin_address();
    let secret = stripe.fake().webhook_secret();
    let post = Post::default();
    let began = Instant::now();
    let payers = thread::scope(|scope| {
        let happening = scope.spawn(|| happen(storm, &stripe, &post));
        let deliverers: Vec<_> = (0..DELIVERERS)
            .map(|number| {
                let (post, secret) = (&post, &secret);
                let seed = storm.seed ^ (number as u64 + 1);
                scope.spawn(move || {
                    let mut chance = Chance(seed);
                    while let Some(event) = next(post, &mut chance) {
                        deliver(&event, address, secret, post);
                    }
                })
            })
            .collect();
        for kill in 1..=storm.kills {
            // Two deliveries an event on average.
            let due = 2 * storm.events * kill / (storm.kills + 1);
            while post.deliveries.load(Ordering::Acquire) < due
                && !deliverers.iter().all(thread::ScopedJoinHandle::is_finished)
            {
                thread::sleep(Duration::from_millis(2));
            }
            gate.kill();
            gate.start_again();
        }
        happening.join().expect("it happens")
    });
    let delivered_in = began.elapsed();
    let waiting = Instant::now();
    let nothing_waits = || (count(&gate, "/admin/v1/webhooks?state=pending&limit=1") == 0).then_some(());
    let all_heeded = eventually_within(HEEDED, nothing_waits);
    assert!(all_heeded.is_some(), "events still wait:\n{}", gate.story());
    StormOutcome {
        events: post.events.load(Ordering::Acquire),
        deliveries: post.deliveries.load(Ordering::Acquire),
        failed: post.failed.load(Ordering::Acquire),
        wrong: wrong(&gate, &stripe, &payers),
        dead: count(&gate, "/admin/v1/webhooks?state=dead&limit=1"),
        keys: count(&gate, "/admin/v1/keys?limit=1"),
        ledger_is_untouched: gate.cli(&["usage", "export"]).done().stdout.lines().count() <= 1,
        delivered_in,
        heeded_in: waiting.elapsed(),
    }
}

/// Everything that happens at Stripe: customers subscribe, then their subscriptions change.
fn happen(storm: &Storm, stripe: &Stripe, post: &Post) -> Vec<Payer> {
    let mut chance = Chance(storm.seed);
    let price = |chance: &mut Chance| if chance.below(2) == 0 { "price_pro" } else { "price_team" };
    let collect = |chance: &mut Chance| {
        let happened = stripe.fake().take_events();
        post.events.fetch_add(happened.len(), Ordering::AcqRel);
        let mut bag = post.bag.lock().expect("nobody panics with it");
        for event in happened {
            for _ in 0..=chance.below(3) {
                bag.push_back(event.clone());
            }
        }
    };
    let mut payers = Vec::with_capacity(storm.subscriptions);
    for number in 0..storm.subscriptions {
        payers.push(stripe.payer(&email(number), price(&mut chance), None));
        if number % 64 == 0 {
            collect(&mut chance);
        }
    }
    collect(&mut chance);
    while post.events.load(Ordering::Acquire) < storm.events {
        for _ in 0..64 {
            let payer = &payers[chance.below(payers.len())];
            let action = match chance.below(12) {
                0 => Action::ChangePrice(price(&mut chance).into()),
                1 => Action::CardFails,
                2 | 3 => Action::CardRecovers,
                4 => Action::RenewNow,
                5 => Action::PayOpenInvoice,
                6 => Action::CancelAtPeriodEnd,
                7 => Action::Reactivate,
                8 if chance.below(10) == 0 => Action::CancelNow,
                9 => Action::Pause,
                10 => Action::Resume,
                _ => Action::Touch,
            };
            // What cannot be done to it as it stands is not done.
            drop(stripe.fake().act(&payer.subscription, &action));
        }
        collect(&mut chance);
    }
    post.all_happened.store(true, Ordering::Release);
    payers
}

fn email(number: usize) -> String {
    format!("payer-{number}@example.com")
}

/// Any of the events that wait; none once nothing waits and nothing more happens.
fn next(post: &Post, chance: &mut Chance) -> Option<SignedEvent> {
    loop {
        let is_last_look = post.all_happened.load(Ordering::Acquire);
        let mut bag = post.bag.lock().expect("nobody panics with it");
        if !bag.is_empty() {
            let index = chance.below(bag.len());
            return bag.swap_remove_back(index);
        }
        drop(bag);
        if is_last_look {
            return None;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Delivers an event until it is taken, as Stripe would, but with less patience.
fn deliver(event: &SignedEvent, address: std::net::SocketAddr, secret: &str, post: &Post) {
    loop {
        let at = i64::try_from(now_secs()).expect("a time of this age");
        let signature = sign(event.body.as_bytes(), secret, at);
        let request = Request::post("/stripe/webhook", event.body.as_bytes())
            .header("content-type", "application/json")
            .header("stripe-signature", &signature);
        let answer = Connection::try_open(address).and_then(|mut connection| connection.send(&request));
        match answer {
            Ok(answer) if (200..300).contains(&answer.status) => {
                post.deliveries.fetch_add(1, Ordering::AcqRel);
                return;
            }
            Ok(answer) => assert!(answer.status >= 500, "{}: {}", answer.status, answer.text()),
            Err(_) => {}
        }
        post.failed.fetch_add(1, Ordering::AcqRel);
        thread::sleep(AGAIN);
    }
}

/// Accounts whose plan is not what Stripe's word makes it, by a rule of this test's own.
fn wrong(gate: &Gate, stripe: &Stripe, payers: &[Payer]) -> Vec<String> {
    let shown = gate.cli_within(&["accounts", "list", "--json"], Duration::from_mins(5)).done().json();
    let accounts = shown.as_array().or_else(|| shown["items"].as_array()).expect("accounts");
    let plan_of = |email: &str| {
        let account = accounts.iter().find(|account| account["email"] == email);
        account.map(|account| account["plan"]["effective"].as_str().map(str::to_owned))
    };
    let mut wrong = Vec::new();
    for (number, payer) in payers.iter().enumerate() {
        let object = stripe.fake().object(&payer.subscription).expect("it is there");
        let has_access = ["trialing", "active", "past_due"].contains(&object["status"].as_str().expect("a status"));
        let plan = match object["items"]["data"][0]["price"]["id"].as_str() {
            Some("price_pro") if has_access => Some("pro".to_owned()),
            Some("price_team") if has_access => Some("team".to_owned()),
            _ => None,
        };
        let email = email(number);
        let shown = plan_of(&email);
        // Somebody of whom nothing but an end was ever known may have no account.
        if shown.clone().flatten() != plan {
            wrong.push(format!("{email}: {} at Stripe, {shown:?} here", object["status"]));
        }
    }
    wrong
}

fn count(gate: &Gate, target: &str) -> usize {
    let listed: Value = gate.operator(target).expect(200).json();
    listed["items"].as_array().expect("items").len()
}
