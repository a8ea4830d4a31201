//! How soon the webhook's door says that it has stored an event.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tollgate_fake_stripe::{Action, SignedEvent, sign};

use crate::backend::Backend;
use crate::clock::now_secs;
use crate::http::{Connection, Request};
use crate::setup::Setup;
use crate::stripe::Stripe;

/// Subscriptions that the events tell of.
const PAYERS: usize = 100;
/// Deliveries that may be under way at once: enough for the rate at the slowest answer that is still of use.
const CONNECTIONS: usize = 64;

/// From sending each event until its 2xx, while so many come a second for this long, each due at its own time whatever
/// became of those before it. The worker heeds them meanwhile.
///
/// # Panics
/// When one is refused.
#[track_caller]
pub fn acknowledged(a_second: usize, seconds: usize) -> Vec<Duration> {
    let (backend, stripe) = (Backend::start(), Stripe::start());
    let gate = stripe.sell(Setup::new(&backend), "1h").start();
    let payers: Vec<_> =
        (0..PAYERS).map(|number| stripe.payer(&format!("payer-{number}@example.com"), "price_pro", None)).collect();
    let mut events: Vec<SignedEvent> = stripe.fake().take_events();
    for number in 0.. {
        if events.len() >= a_second * seconds {
            break;
        }
        stripe.act(&payers[number % PAYERS], Action::Touch);
        events.extend(stripe.fake().take_events());
    }
    let (address, secret) = (gate.admin_address(), stripe.fake().webhook_secret());
    let (next, began) = (AtomicUsize::new(0), Instant::now());
    let one = || {
        let mut times = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(event) = events.get(number) else { return times };
            let due = began
                + Duration::from_secs(1) * u32::try_from(number).expect("few") / u32::try_from(a_second).expect("few");
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let at = i64::try_from(now_secs()).expect("a time of this age");
            let request = Request::post("/stripe/webhook", event.body.as_bytes())
                .header("stripe-signature", &sign(event.body.as_bytes(), &secret, at));
            // From when it was due: one that had to wait for a connection waited for us.
            let answer = Connection::open(address).send(&request).expect("an answer");
            assert!((200..300).contains(&answer.status), "{}: {}", answer.status, answer.text());
            times.push(due.elapsed());
        }
    };
    thread::scope(|scope| {
        let senders: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(one)).collect();
        senders.into_iter().flat_map(|sender| sender.join().expect("no sender fails")).collect()
    })
}
