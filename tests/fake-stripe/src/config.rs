//! How a fake Stripe is set up: its clock, its keys, the shape of what it says, what it does with events.
//!
//! Owns plain data and defaults. Everything here can be read; what can be changed while it runs is changed through
//! [`FakeStripe`](crate::FakeStripe).

use std::time::Duration;

/// The API version that today's shapes belong to.
pub const API_VERSION: &str = "2026-09-30.endive";

/// A version from before periods moved to the items (2025-03-31), for the old shapes.
pub const OLD_API_VERSION: &str = "2024-06-20";

/// 2026-01-01T00:00:00Z, where a clock of its own starts unless told otherwise.
pub const DEFAULT_START: i64 = 1_767_225_600;

/// How a fake Stripe is set up.
#[derive(Clone, Debug)]
pub struct FakeConfig {
    /// Where its clock starts and whether it runs by itself.
    pub clock: ClockStart,
    /// Which time webhooks are signed with.
    pub signature_time: SignatureTime,
    /// What `livemode` says everywhere.
    pub livemode: bool,
    /// The keys that may call the API. The first is what [`FakeStripe::api_key`](crate::FakeStripe::api_key) gives.
    pub api_keys: Vec<String>,
    /// Signs events that are collected, and those to endpoints added without a secret of their own.
    pub webhook_secret: String,
    /// The shape of events, and of answers to calls that name no version.
    pub event_shape: EventShape,
    /// What becomes of events.
    pub delivery: Delivery,
    /// Days from one failed attempt to charge an invoice to the next.
    pub retry_days: Vec<u32>,
    /// What becomes of a subscription once the last retry has failed.
    pub after_retries: AfterRetries,
    /// Seconds that a renewal's invoice stays a draft. Stripe takes about an hour; 0 finalises at once.
    pub finalize_after_secs: i64,
    /// Whether signatures also carry a `v0`, which no receiver may believe.
    pub sign_v0: bool,
    /// Seed of everything random: ids, shuffles, rates. The same seed and calls give the same ids.
    pub seed: u64,
    /// Seconds until a meter event shows in summaries.
    pub meter_summary_lag_secs: i64,
    /// What pages' addresses begin with, where it is not the address the fake listens on.
    pub public_url: Option<String>,
}

impl Default for FakeConfig {
    fn default() -> Self {
        Self {
            clock: ClockStart::Fixed(DEFAULT_START),
            signature_time: SignatureTime::Fake,
            livemode: false,
            api_keys: vec!["sk_test_tollgate_fake".to_owned()],
            webhook_secret: "whsec_tollgate_fake".to_owned(),
            event_shape: EventShape::New,
            delivery: Delivery::default(),
            retry_days: vec![3, 5, 7],
            after_retries: AfterRetries::Cancel,
            finalize_after_secs: 0,
            sign_v0: false,
            seed: 1,
            meter_summary_lag_secs: 0,
            public_url: None,
        }
    }
}

impl FakeConfig {
    /// For a receiver that lives in real time: the clock runs, and signatures carry the real time however far the
    /// clock was moved.
    pub fn real_time() -> Self {
        Self { clock: ClockStart::Real, signature_time: SignatureTime::Real, ..Self::default() }
    }
}

/// Where the clock starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockStart {
    /// The real time, plus whatever it is moved by.
    Real,
    /// This moment (Unix seconds); it stands still until it is moved.
    Fixed(i64),
}

/// Which time webhooks are signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureTime {
    /// The real time: for receivers that check against their own clock.
    Real,
    /// The fake's time: for receivers that share its clock.
    Fake,
}

/// The shape of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventShape {
    /// Today's: periods on the items, an invoice's subscription under `parent`.
    New,
    /// From before 2025-03-31: periods on the subscription, `invoice.subscription`.
    Old,
    /// Every event one or the other.
    Mixed,
}

/// What becomes of a subscription once the last retry has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterRetries {
    /// It is cancelled.
    Cancel,
    /// It becomes `unpaid`; invoices go on as drafts.
    Unpaid,
    /// It stays `past_due`.
    PastDue,
}

/// What becomes of events.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Sent, or only collected.
    pub mode: Mode,
    /// Whether waiting events leave in random order.
    pub shuffle: bool,
    /// How many times more each event is sent.
    pub duplicates: u32,
    /// Share of events (0 to 1) that are never sent, and so stay undelivered.
    pub drop: f64,
    /// Events on their way at once; at least 1. With 1 and no shuffle, order is kept.
    pub concurrency: usize,
    /// Real time from a failed attempt to the next. An event whose last attempt failed stays undelivered.
    pub retry_after: Vec<Duration>,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            mode: Mode::Off,
            shuffle: false,
            duplicates: 0,
            drop: 0.0,
            concurrency: 4,
            retry_after: [50, 200, 500, 1_000, 2_000, 5_000, 10_000].map(Duration::from_millis).to_vec(),
        }
    }
}

/// Whether events are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Only collected, for [`FakeStripe::take_events`](crate::FakeStripe::take_events).
    Off,
    /// Sent to every registered endpoint that wants them.
    On,
}
