//! A card that fails, a grace that ends, and the payment that comes after all, while several gateways serve the key.

use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tollgate_fake_stripe::Action;

use crate::backend::Backend;
use crate::clock::{epoch_secs, instant_of};
use crate::fleet::{Fleet, Plan};
use crate::gate::Key;
use crate::load::{Call, Next, calls_of};
use crate::stores::Mode;
use crate::stripe::{Payer, SELLING, Stripe};
use crate::wait::eventually;

/// Clients at each gateway.
const CLIENTS: usize = 2;
/// How long a client rests after a call.
const REST: Duration = Duration::from_millis(2);
/// How long the grace is: long enough for the failure to be known everywhere before it is over.
const GRACE: Duration = Duration::from_secs(4);

/// What came of it.
#[derive(Clone, Debug)]
pub struct LapseOutcome {
    /// From the end of the grace, as it was told to the owner, to the last call that was let in after it, sent after it.
    pub overran: Duration,
    /// Calls that were refused although they were answered before that end.
    pub early: usize,
    /// Answers other than 200 and 402.
    pub others: usize,
    /// For each gateway, from the moment at which the payment was made to the first call that it let in.
    pub back: Vec<Duration>,
    /// Calls that were refused after one that the same gateway let in again.
    pub refused_again: usize,
}

/// Has so many subscriptions lapse and recover, one after the other, at a fleet of three gateways and two control planes
/// that Stripe's events reach in turn.
///
/// # Panics
/// When a step is not reached in time.
#[track_caller]
pub fn lapses(rounds: usize) -> Vec<LapseOutcome> {
    let (backend, stripe) = (Backend::start(), Stripe::start());
    let plan = Plan::new(Mode::Leased, SELLING).gateways(3).admins(2);
    let fleet = stripe.sell_by(plan, &format!("{}s", GRACE.as_secs())).start(&backend);
    (0..rounds)
        .map(|round| {
            // One of them works on billing; the event comes to it, or to the other.
            stripe.deliver_only_to(&fleet.admins[round % fleet.admins.len()]);
            lapse(&fleet, &stripe, round)
        })
        .collect()
}

fn lapse(fleet: &Fleet, stripe: &Stripe, round: usize) -> LapseOutcome {
    let admin = fleet.admin();
    let email = format!("payer{round}@example.com");
    let made = admin.cli(&["accounts", "create", "--email", &email, "--json"]).done().json();
    let account = made["id"].as_str().expect("an id").to_owned();
    let payer = stripe.payer(&email, "price_pro", Some(&account));
    admin.await_plan(&account, Some("pro"));
    let key = Key::of(&admin.cli(&["keys", "create", "--account", &account, "--json"]).done().json());

    let addresses = fleet.addresses();
    let latest: Vec<AtomicU16> = addresses.iter().map(|_| AtomicU16::new(0)).collect();
    let all_answer = |status: u16| latest.iter().all(|latest| latest.load(Ordering::SeqCst) == status).then_some(());
    let is_over = AtomicBool::new(false);
    let ((end, paid), calls) = thread::scope(|scope| {
        let clients = scope.spawn(|| {
            calls_of(&addresses, CLIENTS, &[&key.raw], |call| {
                latest[call.gate].store(call.status, Ordering::SeqCst);
                if is_over.load(Ordering::SeqCst) { Next::Stop } else { Next::Rest(REST) }
            })
        });
        eventually("every gateway serves the key", || all_answer(200));
        stripe.fail_now(&payer);
        let end = eventually("the failure is known", || {
            let facts = admin.account(&account)["subscriptions"][0].clone();
            let until = (facts["status"] == "past_due").then(|| seconds(&facts["grace_until"]))?;
            Some(instant_of(until))
        });
        eventually("every gateway refuses", || all_answer(402));
        let paid = pay(stripe, &payer);
        eventually("every gateway serves the key again", || all_answer(200));
        thread::sleep(Duration::from_millis(300));
        is_over.store(true, Ordering::SeqCst);
        ((end, paid), clients.join().expect("no client fails"))
    });
    outcome(&calls, addresses.len(), end, paid)
}

/// When the payment was about to be made.
fn pay(stripe: &Stripe, payer: &Payer) -> Instant {
    stripe.act(payer, Action::CardRecovers);
    let paid = Instant::now();
    stripe.act(payer, Action::PayOpenInvoice);
    paid
}

fn seconds(instant: &Value) -> f64 {
    instant.as_str().and_then(epoch_secs).unwrap_or_else(|| panic!("no instant: {instant}"))
}

fn outcome(calls: &[Call], gateways: usize, end: Instant, paid: Instant) -> LapseOutcome {
    let before_payment = || calls.iter().filter(|call| call.answered < paid);
    let late = before_payment().filter(|call| call.is_admitted() && call.sent > end);
    let back = |gate: usize| {
        let mine = calls.iter().filter(|call| call.gate == gate && call.sent >= paid);
        mine.filter(|call| call.is_admitted()).map(|call| call.answered).min().expect("it serves the key again")
    };
    let back: Vec<Instant> = (0..gateways).map(back).collect();
    LapseOutcome {
        overran: late.map(|call| call.sent.duration_since(end)).max().unwrap_or_default(),
        early: before_payment().filter(|call| call.status == 402 && call.answered < end).count(),
        others: calls.iter().filter(|call| !matches!(call.status, 200 | 402)).count(),
        refused_again: calls.iter().filter(|call| call.status == 402 && call.sent > back[call.gate]).count(),
        back: back.into_iter().map(|first| first.duration_since(paid)).collect(),
    }
}
