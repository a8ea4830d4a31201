//! The handle on a running fake: what a test, a simulation or a demonstration does with it from inside the process.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use serde_json::Value;
use tokio::sync::Notify;

use crate::action::Action;
use crate::config::{Delivery, EventShape, FakeConfig};
use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::faults::Fault;
use crate::http::params::Params;
use crate::http::record::RequestRecord;
use crate::http::routes::dispatch;
use crate::http::server::{self, Running};
use crate::objects::checkout::CheckoutOutcome;
use crate::objects::checkout_outcomes;
use crate::objects::meter::MeterRecord;
use crate::objects::payment_method::{Card, set_card};
use crate::objects::webhook_endpoint;
use crate::seed::{NewPrice, Seed, Seeded};
use crate::state::table::Row;
use crate::state::{Shape, State};
use crate::webhooks::emit::SignedEvent;

/// What the handle and the server share.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Wakes the sender of webhooks.
    pub(crate) wake: Notify,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// A running fake Stripe. It stops when it is dropped.
pub struct FakeStripe {
    shared: Arc<Shared>,
    url: String,
    api_key: String,
    running: Option<Running>,
}

impl std::fmt::Debug for FakeStripe {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("FakeStripe").field("url", &self.url).finish_non_exhaustive()
    }
}

/// A registered webhook endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its id.
    pub id: String,
    /// What its events are signed with.
    pub secret: String,
}

impl FakeStripe {
    /// Starts one on a free port of the loopback interface.
    ///
    /// # Errors
    /// What binding the port or starting the thread gives.
    pub fn start(config: FakeConfig) -> io::Result<Self> {
        Self::start_on(config, TcpListener::bind(("127.0.0.1", 0))?)
    }

    /// Starts one on this listener.
    ///
    /// # Errors
    /// What taking the listener over or starting the thread gives.
    pub fn start_on(config: FakeConfig, listener: TcpListener) -> io::Result<Self> {
        let base = format!("http://{}", listener.local_addr()?);
        let api_key = config.api_keys.first().cloned().unwrap_or_default();
        let pages = config.public_url.clone().map_or_else(|| base.clone(), |url| url.trim_end_matches('/').to_owned());
        let shared = Arc::new(Shared { state: Mutex::new(State::new(config, pages)), wake: Notify::new() });
        let running = server::start(Arc::clone(&shared), listener)?;
        Ok(Self { shared, url: format!("{base}/"), api_key, running: Some(running) })
    }

    /// Stops it; dropping it does the same.
    pub fn stop(mut self) {
        self.running.take();
    }

    /// Where it listens, with a slash at the end.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// A key that may call the API.
    pub fn api_key(&self) -> &str {
        &self.api_key
    }

    /// What collected events are signed with, and those to endpoints added by [`FakeStripe::add_endpoint`].
    pub fn webhook_secret(&self) -> String {
        self.shared.lock().config.webhook_secret.clone()
    }

    /// Does something with the state, and wakes the sender afterwards.
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.shared.lock();
        state.catch_up();
        let result = act(&mut state);
        drop(state);
        self.shared.wake.notify_one();
        result
    }
}

/// The clock.
impl FakeStripe {
    /// What the clock shows, in Unix seconds.
    pub fn now(&self) -> i64 {
        self.with(|state| state.now)
    }

    /// Moves the clock and plays what falls due on the way, in the order of time.
    pub fn advance(&self, by: Duration) {
        self.with(|state| state.advance(i64::try_from(by.as_secs()).unwrap_or(i64::MAX / 2)));
    }

    /// Moves it by calendar months, the day clamped to the month's length.
    pub fn advance_months(&self, months: u32) {
        self.with(|state| state.advance(crate::state::clock::add_months(state.now, months) - state.now));
    }

    /// Moves it to a moment; one that is past changes nothing.
    pub fn advance_to(&self, time: i64) {
        self.with(|state| state.advance(time - state.now));
    }

    /// When something may next happen by itself.
    pub fn next_due(&self) -> Option<i64> {
        self.with(|state| state.agenda.next_at())
    }
}

/// Objects.
impl FakeStripe {
    /// Calls the API without HTTP: the parameters are spelt as in a form.
    ///
    /// # Errors
    /// What the API would refuse the call with.
    pub fn call(&self, method: &str, path: &str, params: &[(&str, &str)]) -> Result<Value, ApiError> {
        self.with(|state| {
            let (path, query) = path.split_once('?').unwrap_or((path, ""));
            let mut read = Params::from_pairs(params);
            read.read(query.as_bytes());
            let shape = state.event_shape();
            dispatch(state, &Call { method: method.to_owned(), path: path.to_owned(), params: read, shape })
        })
    }

    /// Any object by its id.
    pub fn object(&self, id: &str) -> Option<Value> {
        self.with(|state| {
            let shape = state.event_shape();
            state.render(id, shape)
        })
    }

    /// All subscriptions of a customer, the newest first, ended ones too.
    pub fn subscriptions_of(&self, customer: &str) -> Vec<Value> {
        self.with(|state| {
            let shape = state.event_shape();
            state
                .subscriptions
                .of_customer(customer)
                .rev()
                .map(|subscription| subscription.render(state, shape))
                .collect()
        })
    }

    /// Makes a price, with an id of one's own if wanted; one that is there already is left alone. Gives its id.
    pub fn price(&self, new: NewPrice<'_>) -> String {
        self.with(|state| state.make_price(&new))
    }

    /// Makes a customer and its subscription.
    ///
    /// # Errors
    /// What the API would refuse it with, such as an unknown price.
    pub fn seed(&self, seed: Seed<'_>) -> Result<Seeded, ApiError> {
        self.with(|state| state.seed(&seed))
    }

    /// Gives a customer this card.
    pub fn card(&self, customer: &str, card: Card) {
        self.with(|state| set_card(state, customer, card));
    }

    /// Lets something happen to a subscription.
    ///
    /// # Errors
    /// Where it cannot happen to it as it stands, such as a refund without a paid charge.
    pub fn act(&self, subscription: &str, action: &Action) -> Result<(), ApiError> {
        self.with(|state| state.act(subscription, action))
    }

    /// Lets somebody do something on a Checkout page.
    ///
    /// # Errors
    /// Where the session is not open.
    pub fn checkout(&self, session: &str, outcome: CheckoutOutcome) -> Result<(), ApiError> {
        self.with(|state| checkout_outcomes::play(state, session, outcome, None))
    }

    /// Lets the delayed payment of a completed session arrive or fail.
    ///
    /// # Errors
    /// Where the session waits for no payment.
    pub fn async_payment(&self, session: &str, succeeded: bool) -> Result<(), ApiError> {
        self.with(|state| checkout_outcomes::async_payment(state, session, succeeded))
    }

    /// What a customer's use of a meter adds up to, `from` inclusive, `to` exclusive, in Unix seconds.
    pub fn meter_total(&self, customer: &str, event_name: &str, from: i64, to: i64) -> i64 {
        let records = self.meter_events();
        let meant = records.iter().filter(|record| record.customer == customer && record.event_name == event_name);
        meant.filter(|record| (from..to).contains(&record.timestamp)).map(|record| record.value).sum()
    }

    /// Everything that meters took, in the order of arrival.
    pub fn meter_events(&self) -> Vec<MeterRecord> {
        self.with(|state| state.meter_events.records.clone())
    }
}

/// Events and webhooks.
impl FakeStripe {
    /// Registers an endpoint that is signed with [`FakeStripe::webhook_secret`].
    pub fn add_endpoint(&self, url: &str, enabled_events: &[&str]) -> Endpoint {
        self.with(|state| {
            let secret = state.config.webhook_secret.clone();
            let events = enabled_events.iter().map(|pattern| (*pattern).to_owned()).collect();
            let id = webhook_endpoint::add(state, url, events, Some(secret.clone()));
            Endpoint { id, secret }
        })
    }

    /// Gives an endpoint a new secret; the old one goes on signing beside it for a while.
    ///
    /// # Errors
    /// Where there is no such endpoint.
    pub fn roll_secret(&self, endpoint: &str, keep_old: Duration) -> Result<String, ApiError> {
        self.with(|state| {
            webhook_endpoint::roll(state, endpoint, i64::try_from(keep_old.as_secs()).unwrap_or(i64::MAX / 2))
        })
    }

    /// Changes what becomes of events from now on.
    pub fn set_delivery(&self, delivery: Delivery) {
        self.with(|state| state.config.delivery = delivery);
    }

    /// Changes the shape of events from now on, and of answers to calls that name no version.
    pub fn set_event_shape(&self, shape: EventShape) {
        self.with(|state| state.config.event_shape = shape);
    }

    /// Takes the events that were collected, in the order they were made, signed now.
    pub fn take_events(&self) -> Vec<SignedEvent> {
        self.with(|state| {
            let positions = std::mem::take(&mut state.collected);
            positions.into_iter().map(|position| state.signed(position)).collect()
        })
    }

    /// Says that an event which was only collected has arrived: it is no longer listed as undelivered.
    pub fn mark_delivered(&self, event: &str) {
        self.with(|state| {
            if let Some(event) = state.events.get_mut(event) {
                event.marked_delivered = Some(true);
            }
        });
    }

    /// Sends an event once more. False where there is no such event.
    pub fn redeliver(&self, event: &str) -> bool {
        self.with(|state| state.redeliver(event))
    }

    /// Sendings that are under way or wait for their next attempt.
    pub fn unfinished_deliveries(&self) -> usize {
        self.with(|state| state.jobs.unfinished())
    }

    /// Blocks until nothing is left to send. False where that took longer than `timeout`.
    pub fn deliveries_settled(&self, timeout: Duration) -> bool {
        let until = Instant::now() + timeout;
        while self.unfinished_deliveries() > 0 {
            if Instant::now() > until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// Every event whose type begins with this, oldest first.
    pub fn events(&self, kind_prefix: &str) -> Vec<Value> {
        self.with(|state| {
            let meant = state.events.iter().filter(|event| event.kind.starts_with(kind_prefix));
            meant.map(|event| event.render(state, Shape::New)).collect()
        })
    }

    /// Makes an event of any type around any object, as it may come from a newer API. Gives its id.
    pub fn emit(&self, kind: &str, object: Value) -> String {
        self.with(|state| state.tell_foreign(kind, object))
    }
}

/// Faults, and what was asked.
impl FakeStripe {
    /// Lets something go wrong.
    pub fn inject(&self, fault: Fault) {
        self.with(|state| state.faults.0.push(fault));
    }

    /// Nothing goes wrong any more.
    pub fn clear_faults(&self) {
        self.with(|state| state.faults.0.clear());
    }

    /// What was asked of the API over HTTP, oldest first; the last 20 000 requests.
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.with(|state| state.requests.iter().cloned().collect())
    }

    /// Forgets what was asked.
    pub fn clear_requests(&self) {
        self.with(|state| state.requests.clear());
    }
}
