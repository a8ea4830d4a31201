//! The exchange about leases: nothing is admitted twice and nothing is lost, whatever becomes of asks and answers.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Runtime;
use tollgate_domain::limit::{LimitSet, Outcome, Quota, Window};
use tollgate_domain::{Rate, Timestamp, Unit};
use tollgate_limiter::protocol::{DEAD_AFTER_US, LeaseAsk, LeaseReply, LeaseServer, LeaseVerdict};
use tollgate_limiter::{Limiter, Mode, RedisLimiter, Subject, Topology};

use crate::private::Server;
use crate::support::{CALLS, account, at, bucket, call, long, quota, settings, used};

const TTL_US: i64 = 500_000;

/// Nodes of one Redis whose time a test makes.
struct Fleet {
    runtime: Runtime,
    redis: Vec<RedisLimiter>,
}

impl Fleet {
    fn new(server: &Server, nodes: u8) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let redis = runtime.block_on(async {
            let mode = Mode::Leased { ttl: Duration::from_micros(TTL_US.unsigned_abs()) };
            let node = |number| settings(Topology::Single(server.url()), mode, number);
            (1..=nodes).map(|number| RedisLimiter::with_callers_clock(&node(number)).expect("a URL")).collect()
        });
        Self { runtime, redis }
    }

    fn seed(&self, subject: Subject, limits: &LimitSet, now: Timestamp) {
        let handle = self.redis[0].open(subject);
        let (call, nothing) = (call(limits, 1), used(0, 0));
        let seeded = self.redis[0].seed(&handle, 0, &call, &nothing, now);
        assert_eq!(self.runtime.block_on(seeded), Ok(true));
    }

    /// Quota used as Redis has it; the look also tells the node the time.
    fn quota_used(&self, node: usize, subject: Subject, limits: &LimitSet, now: Timestamp) -> u64 {
        let nothing = call(limits, 0);
        let looked = self.runtime.block_on(self.redis[node].peek(subject, &nothing, now));
        match looked.expect("it answers") {
            Some(Outcome::Admitted(admitted)) => admitted.standing.last().expect("a quota with a limit").used,
            other => panic!("a look at nothing is admitted, not {other:?}"),
        }
    }

    fn ask(&self, node: usize, ask: LeaseAsk<'_>, now: Timestamp) -> LeaseReply {
        self.quota_used(node, ask.subject, ask.limits, now);
        self.runtime.block_on(self.redis[node].lease(ask)).expect("it answers")
    }
}

/// The first ask of a session: one unit now, and so many ahead.
fn first(subject: Subject, limits: &LimitSet, serial: u64, want: u64) -> LeaseAsk<'_> {
    LeaseAsk {
        subject,
        limits,
        period: long(),
        serial,
        session: serial,
        epoch: None,
        spent_total: 0,
        spent_in: long(),
        last_spend: at(0),
        keep: 0,
        cost: 1,
        reports_only: false,
        want,
    }
}

/// A later ask that needs nothing now.
fn report<'a>(of: LeaseAsk<'a>, serial: u64, reply: &LeaseReply, spent_total: u64, keep: u64) -> LeaseAsk<'a> {
    LeaseAsk { serial, epoch: Some(reply.epoch), spent_total, keep, cost: 0, want: 0, reports_only: false, ..of }
}

fn spare(reply: &LeaseReply) -> u64 {
    match reply.verdict {
        LeaseVerdict::Granted { spare } => spare,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_held_is_missing_for_others_until_it_is_given_back() {
    let Some(server) = Server::start(&[]) else { return };
    let fleet = Fleet::new(&server, 2);
    for (number, limits) in (1..).zip([quota(100), bucket(1, Unit::Day, 100), crate::support::window(100, Unit::Day)]) {
        let limits = LimitSet { quota: Quota { limit: Some(100) }, ..limits };
        let subject = account(number);
        fleet.seed(subject, &limits, at(0));
        let ask = first(subject, &limits, 1, 1_000);
        let reply = fleet.ask(0, ask, at(0));
        assert_eq!(spare(&reply), 72, "three quarters of 99, in whole fours");
        assert_eq!(reply.outstanding_others, 0);
        let all = LeaseAsk { cost: 28, ..first(subject, &limits, 1, 28) };
        let refused = fleet.ask(1, all, at(1_000));
        assert_eq!((&refused.verdict, refused.outstanding_others), (&LeaseVerdict::Refused, 72));
        assert_eq!(refused.reading.quota.used, 1, "what is held is not used");
        let report = LeaseAsk { last_spend: at(1_500), ..report(ask, 2, &reply, 1 + 30, 0) };
        assert_eq!(spare(&fleet.ask(0, report, at(2_000))), 0);
        let rest = LeaseAsk { serial: 2, session: 2, cost: 69, want: 69, ..all };
        assert_eq!(spare(&fleet.ask(1, rest, at(3_000))), 0);
        assert_eq!(fleet.quota_used(0, subject, &limits, at(3_000)), 100);
        let one_more = LeaseAsk { serial: 3, session: 3, ..first(subject, &limits, 3, 1) };
        assert_eq!(fleet.ask(1, one_more, at(4_000)).verdict, LeaseVerdict::Refused);
    }
}

#[test]
fn an_exact_debit_respects_what_is_held_and_is_told_to_wait_for_it() {
    let Some(server) = Server::start(&[]) else { return };
    let fleet = Fleet::new(&server, 1);
    let (limits, subject) = (quota(10), account(1));
    fleet.seed(subject, &limits, at(0));
    assert_eq!(spare(&fleet.ask(0, first(subject, &limits, 1, 100), at(0))), 6);
    let own = LimitSet::default();
    let handle = fleet.redis[0].open(subject);
    let by_key = tollgate_domain::limit::Debit { key: Some((crate::support::key(1), &own)), ..call(&limits, 4) };
    let seed = tollgate_domain::limit::Seed {
        key: Some((crate::support::key(1), tollgate_domain::limit::Spending::default())),
        ..used(0, 0)
    };
    assert_eq!(fleet.runtime.block_on(fleet.redis[0].seed(&handle, 0, &by_key, &seed, at(1))), Ok(true));
    match fleet.runtime.block_on(fleet.redis[0].debit(&handle, &by_key, at(1))).expect("it answers") {
        Outcome::Refused(refused) => {
            assert_eq!(refused.by.kind(), tollgate_domain::limit::LimitKind::Rate);
            assert_eq!(refused.wait_us, TTL_US);
        }
        other => panic!("{other:?}"),
    }
    let tokens = crate::support::meter("tokens");
    let metered = tollgate_domain::limit::Debit { key: None, meter: Some((tokens, quota(3).quota)), ..by_key };
    let seed = tollgate_domain::limit::Seed {
        meter: Some((tokens, tollgate_domain::limit::Spending::default())),
        ..used(0, 0)
    };
    assert_eq!(fleet.runtime.block_on(fleet.redis[0].seed(&handle, 0, &metered, &seed, at(1))), Ok(true));
    match fleet.runtime.block_on(fleet.redis[0].debit(&handle, &metered, at(1))).expect("it answers") {
        Outcome::Refused(refused) => {
            // More than the meter has left, which no lease that comes back changes.
            assert_eq!(refused.by, tollgate_domain::limit::LimitLabel::Meter);
            assert_eq!(refused.wait_us, long().end - at(1));
        }
        other => panic!("{other:?}"),
    }
    let fits = tollgate_domain::limit::Debit { cost: 3, ..by_key };
    let outcome = fleet.runtime.block_on(fleet.redis[0].debit(&handle, &fits, at(2))).expect("it answers");
    assert!(matches!(outcome, Outcome::Admitted(_)));
}

#[test]
fn a_grant_that_was_never_heard_comes_back_with_the_next_ask() {
    let Some(server) = Server::start(&[]) else { return };
    let fleet = Fleet::new(&server, 1);
    let (limits, subject) = (quota(100), account(1));
    fleet.seed(subject, &limits, at(0));
    let lost = first(subject, &limits, 7, 40);
    assert_eq!(spare(&fleet.ask(0, lost, at(0))), 39);
    let again = LeaseAsk { serial: 8, ..lost };
    let reply = fleet.ask(0, again, at(1_000));
    assert_eq!(spare(&reply), 39);
    assert_eq!(reply.reading.quota.used, 1, "the unheard cost is corrected");
    assert_eq!(fleet.ask(0, lost, at(2_000)).verdict, LeaseVerdict::Overtaken);
    let ended = fleet.ask(0, report(again, 9, &reply, 1, 0), at(3_000));
    assert_eq!(spare(&ended), 0);
    assert_eq!(fleet.quota_used(0, subject, &limits, at(3_000)), 1);
    let repeated = fleet.ask(0, report(again, 10, &reply, 1, 0), at(4_000));
    assert_eq!(repeated.reading.quota.used, 1, "nothing is counted of a session that has ended");
}

#[test]
fn a_lease_that_is_not_reported_counts_as_spent_until_it_is_and_leaves_quota_with_its_node() {
    let Some(server) = Server::start(&[]) else { return };
    let fleet = Fleet::new(&server, 2);
    let limits =
        LimitSet { windows: [Window { limit: 1_000, length: Unit::Hour }].into_iter().collect(), ..quota(100) };
    let subject = account(1);
    fleet.seed(subject, &limits, at(0));
    let ask = first(subject, &limits, 1, 41);
    let reply = fleet.ask(0, ask, at(0));
    assert_eq!(spare(&reply), 40);
    assert_eq!(fleet.quota_used(1, subject, &limits, at(TTL_US - 1)), 1);
    assert_eq!(fleet.quota_used(1, subject, &limits, at(TTL_US)), 41);
    let late = fleet.ask(0, report(ask, 2, &reply, 1 + 12, 0), at(TTL_US + 1_000));
    assert_eq!((late.reading.quota.used, late.kept), (13, 0));
    assert_eq!(late.reading.windows[0].total, 41, "only quota is put right");
    let other = first(subject, &limits, 3, 41);
    let reply = fleet.ask(0, other, at(2 * TTL_US));
    assert_eq!(spare(&reply), 40);
    let expired_us = 3 * TTL_US;
    assert_eq!(fleet.quota_used(1, subject, &limits, at(expired_us + DEAD_AFTER_US - 1)), 54);
    // A look changes nothing: somebody must call for it to be settled.
    assert_eq!(fleet.quota_used(1, subject, &limits, at(expired_us + DEAD_AFTER_US)), 14);
    fleet.ask(1, first(subject, &limits, 1, 1), at(expired_us + DEAD_AFTER_US));
    let revived = fleet.ask(0, report(other, 4, &reply, 1 + 5, 0), at(expired_us + DEAD_AFTER_US + 1));
    assert_eq!(revived.reading.quota.used, 20, "one that was only cut off still tells what it spent");
}

#[test]
fn what_was_spent_of_a_lost_state_is_the_ledgers_to_tell() {
    let Some(server) = Server::start(&[]) else { return };
    let fleet = Fleet::new(&server, 1);
    let (limits, subject) = (quota(100), account(1));
    fleet.seed(subject, &limits, at(0));
    let ask = first(subject, &limits, 1, 41);
    let reply = fleet.ask(0, ask, at(0));
    server.run::<()>(&["FLUSHALL"]);
    fleet.seed(subject, &limits, at(1_000));
    let other = fleet.ask(0, report(ask, 2, &reply, 21, 20), at(2_000));
    assert_ne!(other.epoch, reply.epoch);
    assert_eq!((other.kept, other.reading.quota.used), (0, 0));
}

#[derive(Clone, Debug)]
enum Step {
    /// Time passes.
    Wait(i64),
    /// A node spends from what it holds.
    Spend { node: usize, units: u64 },
    /// A node asks; the ask takes some time to arrive, and its answer may be lost.
    Ask { node: usize, cost: u64, want: u64, late_us: i64, keeps: bool, is_lost: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0_i64..=TTL_US / 4).prop_map(Step::Wait),
        1 => (TTL_US / 2..=3 * TTL_US).prop_map(Step::Wait),
        6 => (0_usize..3, 1_u64..30).prop_map(|(node, units)| Step::Spend { node, units }),
        6 => (0_usize..3, 0_u64..3, 0_u64..60, prop_oneof![Just(0_i64), 0..=TTL_US], any::<bool>(), 0_u8..5).prop_map(
            |(node, cost, want, late_us, keeps, lost)| Step::Ask { node, cost, want, late_us, keeps, is_lost: lost == 0 },
        ),
    ]
}

/// A node as the protocol wants it.
#[derive(Clone, Default)]
struct Node {
    serial: u64,
    session: u64,
    epoch: Option<u64>,
    spent_total: u64,
    last_spend_us: i64,
    left: u64,
    deadline_us: i64,
}

struct Simulated<'a> {
    fleet: &'a Fleet,
    subject: Subject,
    limits: LimitSet,
    nodes: [Node; 3],
    now_us: i64,
    admitted: Vec<(i64, u64)>,
}

impl Simulated<'_> {
    fn admit(&mut self, units: u64) {
        if units > 0 {
            self.admitted.push((self.now_us, units));
        }
    }

    fn follow(&mut self, step: &Step) {
        match *step {
            Step::Wait(micros) => self.now_us += micros,
            Step::Spend { node, units } => {
                let node = &mut self.nodes[node];
                let units = if self.now_us < node.deadline_us { units.min(node.left) } else { 0 };
                if units > 0 {
                    node.left -= units;
                    node.spent_total += units;
                    node.last_spend_us = self.now_us;
                }
                self.admit(units);
            }
            Step::Ask { node, cost, want, late_us, keeps, is_lost } => {
                self.ask(node, cost, want, late_us, keeps, is_lost);
            }
        }
    }

    fn ask(&mut self, index: usize, cost: u64, want: u64, late_us: i64, keeps: bool, is_lost: bool) {
        let sent_us = self.now_us;
        let node = &mut self.nodes[index];
        node.serial += 1;
        if node.session == 0 {
            *node = Node { serial: node.serial, session: node.serial, ..Node::default() };
        }
        if sent_us >= node.deadline_us || !keeps {
            node.left = 0;
        }
        let limits = self.limits.clone();
        let ask = LeaseAsk {
            subject: self.subject,
            limits: &limits,
            period: long(),
            serial: node.serial,
            session: node.session,
            epoch: node.epoch,
            spent_total: node.spent_total,
            spent_in: long(),
            last_spend: Timestamp::from_micros(node.last_spend_us),
            keep: node.left,
            cost,
            reports_only: cost == 0 && want == 0 && node.left == 0,
            want: want.max(cost),
        };
        self.now_us += late_us;
        let reply = self.fleet.ask(index, ask, Timestamp::from_micros(self.now_us));
        let node = &mut self.nodes[index];
        let granted = match reply.verdict {
            LeaseVerdict::Granted { spare } => Some(spare),
            LeaseVerdict::Refused => None,
            other => panic!("{other:?}"),
        };
        if is_lost {
            // As the connection does with an answer that comes too late.
            if granted == Some(0) && ask.keep == 0 && cost > 0 {
                let handle = self.fleet.redis[index].open(self.subject);
                let units = -i64::try_from(cost).expect("a small number");
                let given_back = self.fleet.redis[index].settle(&handle, CALLS, long(), units);
                self.fleet.runtime.block_on(given_back).expect("it answers");
            }
            return;
        }
        let debited = granted.map_or(0, |_| cost);
        if self.now_us >= node.deadline_us || reply.kept == 0 {
            node.left = 0;
        }
        node.left += granted.unwrap_or(0);
        node.deadline_us = sent_us + TTL_US;
        node.spent_total += debited;
        node.epoch = Some(reply.epoch);
        if reply.kept == 0 && granted.unwrap_or(0) == 0 && ask.keep == 0 {
            node.session = 0;
        }
        self.admit(debited);
    }

    fn total(&self) -> u64 {
        self.admitted.iter().map(|(_, units)| units).sum()
    }
}

fn holds(simulated: &Simulated<'_>, rate: Rate, burst: u64, window: Window) -> Result<(), TestCaseError> {
    let per = i128::from(rate.per.micros());
    for (first, (from_us, _)) in simulated.admitted.iter().enumerate() {
        let mut admitted = 0;
        for (to_us, units) in &simulated.admitted[first..] {
            admitted += i128::from(*units);
            let elapsed = i128::from(to_us - from_us);
            let allowed = i128::from(burst) * per + i128::from(rate.count) * elapsed;
            prop_assert!(admitted * per <= allowed, "{admitted} in {elapsed} us by the bucket");
            let fits = elapsed >= i128::from(window.length.micros()) || admitted <= i128::from(window.limit);
            prop_assert!(fits, "{admitted} in {elapsed} us by the window");
        }
    }
    Ok(())
}

#[test]
fn whatever_becomes_of_asks_and_answers_no_limit_is_passed_and_quota_is_right_in_the_end() {
    let Some(server) = Server::start(&[]) else { return };
    let fleet = Fleet::new(&server, 3);
    let number = std::cell::Cell::new(0);
    let mut runner = TestRunner::new(Config { cases: 60, failure_persistence: None, ..Config::default() });
    let inputs = (1_u64..200, 1_u64..60, 1_u64..200, 1_u64..400, proptest::collection::vec(step(), 1..80));
    let outcome = runner.run(&inputs, |(count, burst, limit, most, steps)| {
        number.set(number.get() + 1);
        let rate = Rate { count, per: Unit::Second };
        let window = Window { limit, length: Unit::Second };
        let mut limits = bucket(count, Unit::Second, burst);
        limits.windows.push(window);
        limits.quota = Quota { limit: Some(most) };
        let subject = account(number.get());
        fleet.seed(subject, &limits, at(0));
        let (nodes, now_us) = (<[Node; 3]>::default(), at(0).as_micros());
        let mut simulated =
            Simulated { fleet: &fleet, subject, limits: limits.clone(), nodes, now_us, admitted: Vec::new() };
        for step in &steps {
            simulated.follow(step);
        }
        holds(&simulated, rate, burst, window)?;
        prop_assert!(simulated.total() <= most);
        // Everybody reports: quota is what was admitted. Once more, and nothing has changed.
        for _ in 0..2 {
            simulated.now_us += TTL_US;
            for node in 0..3 {
                simulated.ask(node, 0, 0, 0, false, false);
            }
            let now = Timestamp::from_micros(simulated.now_us);
            prop_assert_eq!(fleet.quota_used(0, subject, &limits, now), simulated.total());
        }
        Ok(())
    });
    outcome.expect("no limit is passed");
}
