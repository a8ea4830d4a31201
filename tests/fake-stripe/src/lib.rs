//! A fake Stripe: stateful, in today's and yesterday's shapes, with a clock of its own.
//!
//! It plays customers, prices, subscriptions, invoices, Checkout, the Customer Portal, disputes, refunds, meters and
//! webhooks as far as billing needs them, and refuses what it does not play instead of pretending. Nothing of it is part
//! of the product: the product only sees another address in place of `https://api.stripe.com/`.
//!
//! ```
//! use tollgate_fake_stripe::{FakeConfig, FakeStripe, NewPrice, Seed};
//!
//! let fake = FakeStripe::start(FakeConfig::default())?;
//! fake.price(NewPrice { id: "price_pro", unit_amount: 2900, ..NewPrice::default() });
//! let made = fake.seed(Seed { email: "a@example.com", prices: &["price_pro"], ..Seed::default() })?;
//! fake.advance_months(1);
//! let subscription = fake.object(&made.subscription).expect("it was made");
//! assert_eq!(subscription["status"], "active");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![recursion_limit = "512"]

mod action;
mod billing;
mod config;
mod fake;
mod http;
mod objects;
mod pages;
mod seed;
mod state;
mod webhooks;

pub use action::{Action, UnknownAction};
pub use config::{
    API_VERSION, AfterRetries, ClockStart, DEFAULT_START, Delivery, EventShape, FakeConfig, Mode, OLD_API_VERSION,
    SignatureTime,
};
pub use fake::{Endpoint, FakeStripe};
pub use http::error::ApiError;
pub use http::faults::{Fault, FaultKind, When};
pub use http::record::RequestRecord;
pub use objects::checkout::CheckoutOutcome;
pub use objects::meter::MeterRecord;
pub use objects::payment_method::Card;
pub use seed::{NewPrice, Seed, Seeded};
pub use state::clock::Interval;
pub use webhooks::emit::SignedEvent;
pub use webhooks::sign::{sign, signature_header};
