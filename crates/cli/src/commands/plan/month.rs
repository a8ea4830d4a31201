//! `plan diff` over two months of use in a real store, asked of a running process: whom it names is whom the limiter
//! refuses.
//!
//! What people called is decided twice by the limiter that embedded gateways use, call by call and at the call's own
//! time. Under the plans in force it tells what the ledger has, which is written as a gateway writes it, in batches of a
//! quarter of a second; under the new plans it tells who is refused. The comparison sees the ledger alone, through the
//! admin API.

mod people;
mod simulation;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;
use tollgate_config::Policy;
use tollgate_domain::{
    KeyHash, MeterName, NodeId, RouteName, StatusClass, UsageBatch, UsageKey, UsageLine, UsageTally,
};
use tollgate_store::{
    CreateAccount, EventOutcome, History, ImportedKey, NewAccount, NewAudit, SqliteStore, Store, UsageEvent,
};
use url::Url;

use super::*;
use crate::client::Token;
use crate::client::tests::install_crypto_provider;
use crate::run::{self, Role, Running};
use people::{Person as Somebody, Way, people};
use simulation::{Charge, Simulation};

/// How often a gateway hands over what it counted.
const BATCH_US: i64 = 250_000;
/// How far its handing over lies beside the clock's quarters.
const PHASE_US: i64 = 87_123;

const POLICY: &str = r#"
[accounts]
default_plan = "steady"
[plans.steady]
quota = "120/month"
[plans.bucket]
rate = "30/minute"
burst = 20
[plans.slower]
rate = "60/minute"
burst = 10
[plans.windows]
windows = ["30/hour", "120/day"]
[plans.quota]
quota = "200/month"
[plans.meter]
meters = { tokens = "2_000/month" }
[plans.all]
rate = "30/minute"
burst = 20
windows = ["30/hour", "120/day"]
quota = "200/month"
meters = { tokens = "2_000/month" }
[plans.roomier]
windows = ["12/hour"]
quota = "100/month"
meters = { tokens = "500/month" }
[plans.laid]
quota = "200/month"
quota_period = "calendar"
[plans.gone]
quota = "300/month"
[[routes]]
name = "costly"
path = "/costly"
cost = 5
[[routes]]
name = "settled"
path = "/settled"
cost_max = 8
[[routes]]
name = "metered"
path = "/metered"
meter = "tokens"
cost = 7
"#;

/// What the changed file says instead.
const CHANGES: [(&str, &str); 9] = [
    ("burst = 20\n[plans.slower]\nrate = \"60/minute\"", "burst = 8\n[plans.slower]\nrate = \"20/minute\""),
    ("windows = [\"30/hour\", \"120/day\"]\n[plans.quota]", "windows = [\"20/hour\", \"70/day\"]\n[plans.quota]"),
    ("quota = \"200/month\"\n[plans.meter]", "quota = \"150/month\"\n[plans.meter]"),
    ("{ tokens = \"2_000/month\" }\n[plans.all]", "{ tokens = \"1_000/month\" }\n[plans.all]"),
    ("burst = 20\nwindows = [\"30/hour\", \"120/day\"]", "burst = 12\nwindows = [\"24/hour\", \"90/day\"]"),
    (
        "quota = \"200/month\"\nmeters = { tokens = \"2_000/month\" }\n[plans.roomier]",
        "quota = \"160/month\"\nmeters = { tokens = \"1_500/month\" }\n[plans.roomier]",
    ),
    (
        "windows = [\"12/hour\"]\nquota = \"100/month\"\nmeters = { tokens = \"500/month\" }",
        "windows = [\"40/hour\"]\nquota = \"300/month\"\nmeters = { tokens = \"unlimited\" }",
    ),
    ("quota = \"200/month\"\nquota_period = \"calendar\"", "quota = \"120/month\"\nquota_period = \"rolling-30d\""),
    ("[plans.gone]\nquota = \"300/month\"\n", ""),
];

fn instant(text: &str) -> Timestamp {
    Timestamp::parse(text).expect(text)
}

/// From where on use is decided anew.
fn from() -> Timestamp {
    instant("2026-03-05T00:00:00Z")
}

fn to() -> Timestamp {
    from() + 30 * tollgate_domain::DAY_US
}

fn tokens() -> MeterName {
    MeterName::new("tokens").expect("a name")
}

fn policy(text: &str) -> Policy {
    tollgate_config::parse(text, Path::new("tollgate.toml"), &|_: &str| None).expect("a good file").config.policy
}

fn changed() -> String {
    CHANGES.iter().fold(POLICY.to_owned(), |text, (before, after)| {
        assert_eq!(text.matches(before).count(), 1, "{before}");
        text.replace(before, after)
    })
}

/// A file for a process of its own, with nobody else's ports.
fn config(folder: &TempDir) -> std::path::PathBuf {
    let held: [TcpListener; 3] =
        std::array::from_fn(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"));
    let [gateway, admin, metrics]: [SocketAddr; 3] =
        held.each_ref().map(|listener| listener.local_addr().expect("a bound address"));
    let file = folder.path().join("tollgate.toml");
    let sections = format!(
        "[gateway]\nlisten = \"{gateway}\"\n[upstream]\nurl = \"http://127.0.0.1:9\"\n[admin]\nlisten = \"{admin}\"\n\
         [metrics]\nlisten = \"{metrics}\"\n[store]\ndatabase = \"sqlite://tollgate.db\"\n[log]\nlevel = \"error\"\n"
    );
    std::fs::write(&file, sections + POLICY).expect("written");
    file
}

/// Makes everybody's account; those that come from elsewhere are imported as the cycle they bring tells.
async fn make_accounts(store: &SqliteStore, people: &[Somebody], policy: &Policy) {
    let audit = NewAudit { actor: "operator".into(), action: "test", at: from(), detail: json!({}) };
    for person in people {
        let plan = PlanName::new(person.plan);
        match person.cycle_start {
            None => {
                let new = NewAccount {
                    id: person.id,
                    email: person.email.clone(),
                    name: None,
                    assigned_plan: plan,
                    created_at: person.created_at,
                };
                let made = store.create_account(&new, &audit).await.expect("the store answers");
                assert!(matches!(made, CreateAccount::Created(_)), "{made:?}");
            }
            Some(cycle_start) => {
                let key = ImportedKey {
                    id: person.key,
                    hash: KeyHash::from_bytes([person.number; 32]),
                    email: person.email.clone(),
                    account_id_if_new: person.id,
                    plan,
                    name: None,
                    revoked: false,
                    cap: None,
                    used: 3,
                    cycle_start: Some(cycle_start),
                    expires_at: None,
                };
                let report = store.import_keys(&[key], &policy.plans, person.created_at, &audit).await;
                assert_eq!(report.expect("the store answers").accounts_created, 1);
            }
        }
    }
}

/// What one flush of a gateway counted.
type Counted = HashMap<UsageKey, UsageTally>;

/// Writes what was let in as a gateway and a backend would.
async fn write_ledger(store: &SqliteStore, people: &[Somebody], admitted: &[Vec<Charge>]) {
    let mut flushes: BTreeMap<i64, Counted> = BTreeMap::new();
    for (person, charges) in people.iter().zip(admitted) {
        for (number, charge) in charges.iter().enumerate() {
            let call = &charge.call;
            let Some(route) = call.way.route() else {
                let event = UsageEvent {
                    id: number.to_string(),
                    account: person.id,
                    key: None,
                    meters: [(tokens(), charge.meter.expect("an event counts its meter"))].into(),
                    at: call.at,
                    period: charge.period,
                    dimensions: BTreeMap::new(),
                    metadata: json!({}),
                };
                let (outcomes, _) = store.record_events(&[event], call.at).await.expect("the store answers");
                assert_eq!(outcomes, [EventOutcome::Recorded]);
                continue;
            };
            let flush = (call.at.as_micros() + call.takes_us - PHASE_US).div_euclid(BATCH_US) + 1;
            let counted = flushes.entry(flush).or_default();
            let mut add = |meter: Option<MeterName>, debited: u64, units: u64| {
                let asked = call.way.cost();
                let key = UsageKey {
                    account: person.id,
                    key: person.key,
                    route: RouteName::new(route).expect("a name"),
                    status: if call.fails { StatusClass::ServerError } else { StatusClass::Success },
                    period: charge.period,
                    meter,
                    detached: false,
                };
                counted.entry(key).or_default().add(&UsageTally {
                    calls: 1,
                    units_debited: debited,
                    units_charged: asked.max(units),
                    units_refunded: asked.saturating_sub(units),
                    calls_unenforced: 0,
                });
            };
            add(None, call.way.cost(), charge.units);
            if let Some(units) = charge.meter {
                add(Some(tokens()), 0, units);
            }
        }
    }
    let node = NodeId::new(from(), [7; 10]);
    for (sequence, (flush, counted)) in (1..).zip(flushes) {
        let end = Timestamp::from_micros(flush * BATCH_US + PHASE_US);
        let lines = counted.into_iter().map(|(key, tally)| UsageLine { key, tally }).collect();
        let batch = UsageBatch { node, sequence, start: end + -BATCH_US, end, lines, requests: Vec::new() };
        assert!(store.store_batch(&batch).await.expect("the store answers"));
    }
}

/// A process over a ledger of everybody's use, and what was let in.
struct Deployment {
    running: Running,
    people: Vec<Somebody>,
    /// Everybody's calls that were let in.
    admitted: Vec<Vec<Charge>>,
    runtime: tokio::runtime::Runtime,
    folder: TempDir,
}

impl Deployment {
    fn start() -> Self {
        install_crypto_provider();
        let folder = tempfile::tempdir().expect("a folder");
        let file = config(&folder);
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let (policy, people) = (policy(POLICY), people());
        let admitted = runtime.block_on(async {
            let simulation = Simulation::new(&policy.plans, &policy.plans, from());
            let mut admitted = Vec::new();
            for person in &people {
                admitted.push(simulation.run(person, &person.calls).await.admitted);
            }
            let store = SqliteStore::open(&folder.path().join("tollgate.db")).await.expect("a store");
            make_accounts(&store, &people, &policy).await;
            write_ledger(&store, &people, &admitted).await;
            store.close().await;
            admitted
        });
        let running = run::start(run::load_config(Some(&file)).expect("a good file"), Role::Up).expect("it starts");
        Self { running, people, admitted, runtime, folder }
    }

    fn client(&self) -> AdminClient {
        let admin = self.running.admin.expect("it has an admin API");
        let base = Url::parse(&format!("http://{admin}")).expect("a URL");
        AdminClient::new(base, Token::Known(self.running.operator_token.clone())).expect("a client")
    }

    /// What `plan diff` finds of this file.
    fn compared(&self, text: &str) -> Value {
        let file = self.folder.path().join("new.toml");
        std::fs::write(&file, text).expect("written");
        let client = self.client();
        let found = self.runtime.block_on(async {
            let (old, new) = (side_in_force(&client).await?, new_side(&file)?);
            report(&client, &old, &new, Some((from(), to()))).await
        });
        found.expect("compared").to_json()
    }

    /// Whom the limiter refuses of what was let in, and who stood at a limit more often under the plans in force.
    fn simulated(&self, text: &str) -> (BTreeSet<String>, BTreeSet<String>) {
        let (old, new) = (policy(POLICY), policy(text));
        let (before, after) =
            (Simulation::new(&old.plans, &old.plans, from()), Simulation::new(&old.plans, &new.plans, from()));
        let (mut more, mut less) = (BTreeSet::new(), BTreeSet::new());
        for (person, admitted) in self.people.iter().zip(&self.admitted) {
            let calls: Vec<_> = admitted.iter().map(|charge| charge.call).collect();
            let (old, new) =
                self.runtime.block_on(async { (before.run(person, &calls).await, after.run(person, &calls).await) });
            assert_eq!(old.refused, 0, "{}: what was let in is let in again", person.email);
            if new.refused > 0 {
                more.insert(person.email.clone());
            } else if old.reached > new.reached {
                less.insert(person.email.clone());
            }
        }
        (more, less)
    }
}

fn named(report: &Value, list: &str) -> BTreeSet<String> {
    let list = report[list].as_array().expect("a list");
    list.iter().map(|one| text(one, "/email")).collect()
}

#[test]
fn over_a_month_of_use_whom_a_comparison_names_is_whom_the_limiter_refuses() {
    let deployment = Deployment::start();
    let report = deployment.compared(&changed());
    let (more, less) = deployment.simulated(&changed());
    assert_eq!(named(&report, "refused_more"), more);
    assert_eq!(named(&report, "refused_less"), less);

    // Everybody whose case is known beforehand is where it says, so that both are not wrong alike.
    let known: Vec<_> =
        deployment.people.iter().filter_map(|person| Some((person.email.clone(), person.is_refused?))).collect();
    assert!(known.len() >= 20, "{}", known.len());
    for (email, is_refused) in known {
        assert_eq!(more.contains(&email), is_refused, "{email}");
    }
    // Every kind of limit refuses somebody, and nobody is everybody.
    let limits: BTreeSet<String> = report["refused_more"]
        .as_array()
        .expect("a list")
        .iter()
        .flat_map(|one| one["by"].as_array().expect("a list").iter().map(|by| text(by, "/limit")))
        .collect();
    assert_eq!(limits, ["burst", "day", "hour", "meter tokens", "month"].map(str::to_owned).into());
    let people = deployment.people.len();
    assert!(people >= 40 && more.len() > 10 && less.len() >= 3 && more.len() + less.len() + 10 < people, "{people}");
    assert_eq!(report["accounts"], people);

    let same = deployment.compared(POLICY);
    assert_eq!(named(&same, "refused_more"), BTreeSet::new(), "the same plans change nothing");
    assert_eq!(named(&same, "refused_less"), BTreeSet::new());
}
