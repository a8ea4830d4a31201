//! Meters while the shared limiter is away: what it has not counted stands in the ledger, to be told it from there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tollgate_domain::limit::{Charged, Debit, Outcome, Seed};
use tollgate_domain::{Period, Timestamp, UsageTally};
use tollgate_limiter::{Health, InProcess, InProcessSettings, Limiter, LimiterDown, SavedSubject, Subject};

use super::support::Fixture;

const CONFIG: &str = r#"
[plans.pro]
quota = "100/month"
meters = { tokens = "20/month", images = "10/month" }
[[routes]]
path = "/local"
meter = "tokens"
cost = 5
[[routes]]
path = "/open"
meter = "tokens"
cost = 5
on_limiter_down = "open"
[[routes]]
path = "/closed"
meter = "tokens"
on_limiter_down = "closed"
"#;

/// A shared limiter that can be away for debits, or for settling alone.
struct Shaky {
    shared: InProcess,
    local: InProcess,
    switches: Arc<Switches>,
}

#[derive(Default)]
struct Switches {
    deaf: AtomicBool,
    silent: AtomicBool,
}

impl Shaky {
    fn answer<T>(&self, deaf_too: bool, answer: T) -> Result<T, LimiterDown> {
        let deaf = deaf_too && self.switches.deaf.load(Ordering::SeqCst);
        if deaf || self.switches.silent.load(Ordering::SeqCst) { Err(LimiterDown) } else { Ok(answer) }
    }
}

type Handle = (<InProcess as Limiter>::Handle, <InProcess as Limiter>::Handle);

impl Limiter for Shaky {
    type Handle = Handle;

    const IN_THIS_PROCESS: bool = false;

    fn open(&self, subject: Subject) -> Handle {
        // Its own share is kept as of a client, which needs no seed.
        (self.shared.open(subject), self.local.open(Subject::Client(1)))
    }

    async fn debit(&self, handle: &Handle, debit: &Debit<'_>, now: Timestamp) -> Result<Outcome, LimiterDown> {
        self.answer(false, ())?;
        self.shared.debit(&handle.0, debit, now).await
    }

    fn debit_locally(&self, handle: &Handle, debit: &Debit<'_>, now: Timestamp) -> Outcome {
        self.local.debit_locally(&handle.1, &Debit { meter: None, ..*debit }, now)
    }

    async fn peek(&self, subject: Subject, debit: &Debit<'_>, now: Timestamp) -> Result<Option<Outcome>, LimiterDown> {
        self.answer(false, ())?;
        self.shared.peek(subject, debit, now).await
    }

    fn ticket(&self) -> u64 {
        self.shared.ticket()
    }

    async fn seed(
        &self,
        handle: &Handle,
        ticket: u64,
        debit: &Debit<'_>,
        seed: &Seed,
        now: Timestamp,
    ) -> Result<bool, LimiterDown> {
        self.answer(false, ())?;
        self.shared.seed(&handle.0, ticket, debit, seed, now).await
    }

    async fn settle(&self, handle: &Handle, of: Charged, period: Period, units: i64) -> Result<bool, LimiterDown> {
        self.answer(true, ())?;
        self.shared.settle(&handle.0, of, period, units).await
    }

    fn settle_locally(&self, handle: &Handle, of: Charged, period: Period, units: i64) -> bool {
        self.local.settle_locally(&handle.1, of, period, units)
    }

    async fn charge(
        &self,
        subject: Subject,
        of: Charged,
        period: Period,
        units: i64,
        position: u64,
    ) -> Result<(), LimiterDown> {
        self.shared.charge(subject, of, period, units, position).await
    }

    fn save(&self, _: Timestamp) -> Vec<SavedSubject> {
        Vec::new()
    }

    fn restore(&self, _: &[SavedSubject], _: Timestamp) -> usize {
        0
    }

    fn sweep(&self, now: Timestamp) -> usize {
        self.shared.sweep(now)
    }

    fn health(&self) -> Health {
        Health::default()
    }

    async fn close(&self) {}
}

async fn fixture() -> (Fixture<Shaky>, Arc<Switches>) {
    let in_process = || InProcess::new(InProcessSettings::default());
    let switches = Arc::new(Switches::default());
    let shaky = Shaky { shared: in_process(), local: in_process(), switches: Arc::clone(&switches) };
    (Fixture::start_over(CONFIG, None, shaky).await, switches)
}

fn tally(calls: u64, units_charged: u64, units_refunded: u64) -> UsageTally {
    UsageTally { calls, units_charged, units_refunded, ..UsageTally::default() }
}

#[tokio::test]
async fn what_is_let_in_without_it_counts_for_meters_too_and_the_ledger_tells_it_later() {
    for (path, status) in [("/local", 200), ("/open", 200), ("/closed", 503)] {
        let (fixture, switches) = fixture().await;
        fixture.backend.answers("200 OK", &["Tollgate-Usage: tokens=7, images=2"]);
        switches.silent.store(true, Ordering::SeqCst);
        assert_eq!(fixture.call(&format!("GET {path}"), &[]).await.status(), status, "{path}");
        let counted = fixture.stop().await;
        let calls = u64::from(status == 200);
        let expected = UsageTally { units_debited: 5 * calls, ..tally(calls, 5 * calls, 0) };
        assert_eq!(counted.tally(None, true), expected, "{path}");
        assert_eq!(counted.tally(Some("tokens"), true), tally(calls, 7 * calls, 0), "{path}");
        assert_eq!(counted.tally(Some("images"), true), tally(calls, 2 * calls, 0), "{path}");
        assert_eq!([None, Some("tokens"), Some("images")].map(|meter| counted.tally(meter, false).calls), [0; 3]);
    }
}

#[tokio::test]
async fn a_correction_that_it_does_not_hear_of_stands_by_itself_in_the_ledger() {
    for (status, report, tokens, images) in [
        ("200 OK", "Tollgate-Usage: tokens=7, images=2", tally(0, 2, 0), tally(1, 2, 0)),
        ("200 OK", "Tollgate-Usage: tokens=1", tally(0, 0, 4), tally(0, 0, 0)),
        ("200 OK", "Tollgate-Usage: tokens=5", tally(0, 0, 0), tally(0, 0, 0)),
        ("502 Oops", "Tollgate-Usage: tokens=7, images=2", tally(0, 0, 5), tally(0, 0, 0)),
    ] {
        let (fixture, switches) = fixture().await;
        fixture.backend.answers(status, &[report]);
        switches.deaf.store(true, Ordering::SeqCst);
        fixture.call("GET /local", &[]).await;
        let counted = fixture.stop().await;
        assert_eq!(counted.tally(Some("tokens"), false), tally(1, 5, 0), "what it has counted: {report}");
        assert_eq!(counted.tally(Some("tokens"), true), tokens, "{status} {report}");
        assert_eq!(counted.tally(Some("images"), true), images, "{status} {report}");
        assert_eq!(counted.tally(Some("images"), false).calls, 0);
    }
}
