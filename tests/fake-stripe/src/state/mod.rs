//! Everything the fake knows, behind one lock: its objects, its clock, what falls due, what was sent.
//!
//! Owns look-up and rendering by id. What happens to objects is in `objects` and `billing`, what is told of it in
//! `webhooks`.

pub(crate) mod clock;
pub(crate) mod due;
pub(crate) mod random;
pub(crate) mod table;

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde_json::Value;

use crate::config::{API_VERSION, EventShape, FakeConfig, OLD_API_VERSION};
use crate::http::error::ApiError;
use crate::http::faults::Faults;
use crate::http::idempotency::Kept;
use crate::http::record::RequestRecord;
use crate::objects::charge::Charge;
use crate::objects::checkout::Session;
use crate::objects::customer::Customer;
use crate::objects::dispute::Dispute;
use crate::objects::event::Event;
use crate::objects::invoice::Invoice;
use crate::objects::meter::{Meter, MeterEvents};
use crate::objects::payment_method::PaymentMethod;
use crate::objects::portal::PortalSession;
use crate::objects::price::Price;
use crate::objects::product::Product;
use crate::objects::refund::Refund;
use crate::objects::subscription::Subscription;
use crate::objects::webhook_endpoint::WebhookEndpoint;
use crate::webhooks::deliver::Jobs;

use clock::Clock;
use due::Agenda;
use random::Random;
use table::{Row, Table};

/// Metadata of an object.
pub(crate) type Metadata = BTreeMap<String, String>;

/// Which of Stripe's shapes an object is shown in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    New,
    Old,
}

impl Shape {
    /// The shape of a version such as `2025-03-31.basil`.
    pub(crate) fn of_version(version: &str) -> Self {
        // Versions begin with a date, so they compare as text.
        if version.get(..10).is_some_and(|date| date < "2025-03-31") { Self::Old } else { Self::New }
    }

    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::New => API_VERSION,
            Self::Old => OLD_API_VERSION,
        }
    }
}

/// Everything the fake knows.
pub(crate) struct State {
    pub(crate) config: FakeConfig,
    /// What addresses of pages begin with, without a slash at the end.
    pub(crate) base: String,
    pub(crate) clock: Clock,
    /// The moment that is being played, in Unix seconds.
    pub(crate) now: i64,
    pub(crate) random: Random,
    pub(crate) agenda: Agenda,
    pub(crate) customers: Table<Customer>,
    pub(crate) payment_methods: Table<PaymentMethod>,
    pub(crate) products: Table<Product>,
    pub(crate) prices: Table<Price>,
    pub(crate) subscriptions: Table<Subscription>,
    pub(crate) invoices: Table<Invoice>,
    pub(crate) charges: Table<Charge>,
    pub(crate) refunds: Table<Refund>,
    pub(crate) disputes: Table<Dispute>,
    pub(crate) sessions: Table<Session>,
    pub(crate) portal_sessions: Table<PortalSession>,
    pub(crate) endpoints: Table<WebhookEndpoint>,
    pub(crate) meters: Table<Meter>,
    pub(crate) meter_events: MeterEvents,
    pub(crate) events: Table<Event>,
    /// Positions of events that are collected and not yet taken.
    pub(crate) collected: Vec<usize>,
    pub(crate) jobs: Jobs,
    /// The types of event that are not told just now.
    pub(crate) muted: &'static [&'static str],
    /// The call that is being answered, for `event.request`.
    pub(crate) request: Option<RequestOrigin>,
    pub(crate) kept: HashMap<String, Kept>,
    pub(crate) faults: Faults,
    pub(crate) requests: VecDeque<RequestRecord>,
}

/// What an event says of the call that caused it.
#[derive(Clone, Debug)]
pub(crate) struct RequestOrigin {
    pub(crate) id: String,
    pub(crate) idempotency_key: Option<String>,
}

/// An object as it was, to tell later what changed.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) shape: Shape,
    pub(crate) value: Value,
}

impl State {
    pub(crate) fn new(config: FakeConfig, base: String) -> Self {
        let clock = Clock::new(config.clock);
        Self {
            now: clock.now(),
            clock,
            random: Random::new(config.seed),
            base,
            agenda: Agenda::default(),
            customers: Table::default(),
            payment_methods: Table::default(),
            products: Table::default(),
            prices: Table::default(),
            subscriptions: Table::default(),
            invoices: Table::default(),
            charges: Table::default(),
            refunds: Table::default(),
            disputes: Table::default(),
            sessions: Table::default(),
            portal_sessions: Table::default(),
            endpoints: Table::default(),
            meters: Table::default(),
            meter_events: MeterEvents::default(),
            events: Table::default(),
            collected: Vec::new(),
            jobs: Jobs::default(),
            muted: &[],
            request: None,
            kept: HashMap::new(),
            faults: Faults::default(),
            requests: VecDeque::new(),
            config,
        }
    }

    /// A new id of this kind.
    pub(crate) fn new_id(&mut self, prefix: &str) -> String {
        let length = match prefix {
            "cus" | "prod" => 14,
            "cs_test" | "cs_live" => 58,
            _ => 24,
        };
        self.random.id(prefix, length)
    }

    /// The shape of the next event, or of an answer to a call that names no version.
    pub(crate) fn event_shape(&mut self) -> Shape {
        match self.config.event_shape {
            EventShape::Old => Shape::Old,
            EventShape::Mixed if self.random.chance(0.5) => Shape::Old,
            EventShape::New | EventShape::Mixed => Shape::New,
        }
    }

    /// The object of this id, by its prefix.
    pub(crate) fn row(&self, id: &str) -> Option<&dyn Row> {
        let prefix = id.rsplit_once('_').map_or("", |(prefix, _)| prefix);
        match prefix {
            "cus" => dynamic(self.customers.get(id)),
            "pm" | "pm_card" => dynamic(self.payment_methods.get(id)),
            "sub" => dynamic(self.subscriptions.get(id)),
            "in" => dynamic(self.invoices.get(id)),
            "ch" => dynamic(self.charges.get(id)),
            "re" => dynamic(self.refunds.get(id)),
            "du" => dynamic(self.disputes.get(id)),
            "cs_test" | "cs_live" => dynamic(self.sessions.get(id)),
            "bps" => dynamic(self.portal_sessions.get(id)),
            "we" => dynamic(self.endpoints.get(id)),
            "mtr" => dynamic(self.meters.get(id)),
            "evt" => dynamic(self.events.get(id)),
            // Products and prices may have names of one's own.
            _ => dynamic(self.prices.get(id)).or_else(|| dynamic(self.products.get(id))),
        }
    }

    /// The object of this id as the API shows it.
    pub(crate) fn render(&self, id: &str, shape: Shape) -> Option<Value> {
        self.row(id).map(|row| row.render(self, shape))
    }

    /// The object as it is now, to compare with later.
    pub(crate) fn snapshot(&mut self, id: &str) -> Snapshot {
        let shape = self.event_shape();
        Snapshot { shape, value: self.render(id, shape).unwrap_or(Value::Null) }
    }

    /// A customer that is not deleted.
    pub(crate) fn living_customer(&self, id: &str) -> Result<&Customer, ApiError> {
        self.customers
            .get(id)
            .filter(|customer| !customer.deleted)
            .ok_or_else(|| ApiError::no_such("customer", id, "customer"))
    }
}

fn dynamic<T: Row>(row: Option<&T>) -> Option<&dyn Row> {
    row.map(|row| row as &dyn Row)
}
