//! What a comparison found, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};
use tollgate_domain::Timestamp;

use super::plans::{Change, Difference, PlanChange, RouteChange, plan_changes, route_changes};
use super::policy::Side;
use super::replay::{RESOLUTION_US, Verdict};
use super::tally::Refusals;
use super::{Move, Person, price};
use crate::output;

/// Everything that was found.
pub(crate) struct Report {
    /// The stretch that was replayed; `None` where none was.
    replayed: Option<(Timestamp, Timestamp)>,
    plans: Vec<PlanChange>,
    routes: Vec<RouteChange>,
    enforces: bool,
    accounts: u64,
    /// Accounts by the plans they go from and to.
    moves: BTreeMap<(Option<String>, Option<String>), Moved>,
    refused_more: Vec<Affected>,
    refused_less: Vec<Affected>,
}

/// The accounts of one move.
#[derive(Default)]
struct Moved {
    accounts: u64,
    price: (Option<String>, Option<String>),
    access: (bool, bool),
    /// Routes they lose, and what they would need.
    lost: Vec<(String, String)>,
}

/// An account that would be refused more or less.
struct Affected {
    account: String,
    email: String,
    plan: (Option<String>, Option<String>),
    by: Vec<Refusals>,
    calls_before: u64,
    certain: bool,
}

impl Report {
    /// What differs between the sides, before any account is looked at.
    pub(crate) fn new(old: &Side, new: &Side, replayed: Option<(Timestamp, Timestamp)>) -> Self {
        Self {
            replayed,
            plans: plan_changes(&old.policy, &new.policy),
            routes: route_changes(&old.policy, &new.policy),
            enforces: new.enforces,
            accounts: 0,
            moves: BTreeMap::new(),
            refused_more: Vec::new(),
            refused_less: Vec::new(),
        }
    }

    /// Adds an account: what it goes from and to, what its replay came to, and what it called on routes that it loses.
    pub(crate) fn add(
        &mut self,
        person: &Person,
        moved: &Move,
        sides: (&Side, &Side),
        verdict: Verdict,
        lost: Vec<Refusals>,
    ) {
        self.accounts += 1;
        let name = |plan: &Option<tollgate_domain::PlanName>| plan.as_ref().map(ToString::to_string);
        let plan = (name(&moved.plans.0), name(&moved.plans.1));
        let price_on =
            |side: &Side, plan: &Option<String>| price(plan.as_ref().and_then(|plan| side.policy.plans.get(plan)));
        let entry = self.moves.entry(plan.clone()).or_insert_with(|| Moved {
            price: (price_on(sides.0, &plan.0), price_on(sides.1, &plan.1)),
            access: (moved.old.plan.is_some(), moved.new.plan.is_some()),
            lost: moved.lost.iter().map(|lost| (lost.route.clone(), lost.needs.clone())).collect(),
            accounts: 0,
        });
        entry.accounts += 1;
        let affected = |by, calls_before, certain| Affected {
            account: person.id.to_string(),
            email: person.email.clone(),
            plan: plan.clone(),
            by,
            calls_before,
            certain,
        };
        match verdict {
            Verdict::More { mut refused, calls_before, certain } => {
                let certain = certain || !lost.is_empty();
                refused.extend(lost);
                refused.sort_by_key(|refusals| refusals.first_at);
                self.refused_more.push(affected(refused, calls_before, certain));
            }
            Verdict::Same | Verdict::Less { .. } if !lost.is_empty() => {
                self.refused_more.push(affected(lost, 0, true));
            }
            Verdict::Less { reached } => self.refused_less.push(affected(reached, 0, true)),
            Verdict::Same => {}
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        let difference = |one: &Difference| json!({ "key": one.key, "from": one.from, "to": one.to });
        let differences = |all: &[Difference]| all.iter().map(difference).collect::<Vec<_>>();
        let plans = self.plans.iter().map(|one| {
            json!({ "plan": one.plan.as_str(), "change": one.change.as_str(), "differences": differences(&one.differences) })
        });
        let routes = self.routes.iter().map(|one| {
            json!({ "route": one.route, "change": one.change.as_str(), "differences": differences(&one.differences) })
        });
        let moves = self.moves.iter().map(|((from, to), moved)| {
            let lost = moved.lost.iter().map(|(route, needs)| json!({ "route": route, "needs": needs }));
            json!({
                "plan": { "from": from, "to": to }, "accounts": moved.accounts,
                "price": { "from": moved.price.0, "to": moved.price.1 },
                "access": { "from": moved.access.0, "to": moved.access.1 }, "routes_lost": lost.collect::<Vec<_>>(),
            })
        });
        let affected = |all: &[Affected]| all.iter().map(Affected::to_json).collect::<Vec<_>>();
        json!({
            "replayed": self.replayed.map(|(from, to)| json!({
                "from": from.to_string(), "to": to.to_string(), "resolution_ms": RESOLUTION_US / 1_000,
            })),
            "enforced": self.enforces,
            "accounts": self.accounts,
            "plans": plans.collect::<Vec<_>>(),
            "routes": routes.collect::<Vec<_>>(),
            "moves": moves.collect::<Vec<_>>(),
            "refused_more": affected(&self.refused_more),
            "refused_less": affected(&self.refused_less),
        })
    }

    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        self.write_changes(&mut text);
        self.write_moves(&mut text);
        let Some((from, to)) = self.replayed else {
            text.push_str("no use was replayed\n");
            return text;
        };
        let cut = |at: Timestamp| Timestamp::from_secs(at.as_secs());
        writeln!(text, "use of {} accounts from {} to {}, replayed:", self.accounts, cut(from), cut(to))
            .expect("writing to a string cannot fail");
        if self.refused_more.is_empty() && self.refused_less.is_empty() {
            text.push_str("nobody would be refused more or less\n");
        }
        for (heading, affected) in
            [("WOULD BE REFUSED MORE", &self.refused_more), ("WOULD BE REFUSED LESS", &self.refused_less)]
        {
            if !affected.is_empty() {
                let rows: Vec<_> = affected.iter().flat_map(Affected::rows).collect();
                text.push('\n');
                text.push_str(&output::table([heading, "E-MAIL", "PLAN", "LIMIT", "CALLS", "UNITS", "FIRST"], &rows));
            }
        }
        text
    }

    /// What is to be said beside the data.
    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.enforces {
            notes.push("`enforce = false`: what would be refused is only logged and counted".to_owned());
        }
        if self.refused_more.iter().any(|affected| !affected.certain) {
            notes.push(
                "`burst?`: the ledger knows a call's time to a quarter of a second, within which these calls may also have \
                 passed"
                    .to_owned(),
            );
        }
        if self.routes.iter().any(|route| route.change != Change::Changed) {
            notes.push(
                "routes are added or removed: which calls they take from others their paths decide, which the ledger does not \
                 keep"
                    .to_owned(),
            );
        }
        notes
    }

    fn write_changes(&self, text: &mut String) {
        let plans = self.plans.iter().map(|one| ("plan", one.plan.to_string(), one.change, &one.differences));
        let routes = self.routes.iter().map(|one| ("route", one.route.clone(), one.change, &one.differences));
        let mut rows = Vec::new();
        for (kind, name, change, differences) in plans.chain(routes) {
            let mut lead = [format!("{kind} {name}"), change.as_str().to_owned()];
            if differences.is_empty() {
                let [what, change] = lead.clone();
                rows.push([what, change, String::new(), String::new(), String::new()]);
            }
            for one in differences {
                let [what, change] = lead;
                let side = |value: &Option<String>| value.clone().unwrap_or_default();
                rows.push([what, change, one.key.clone(), side(&one.from), side(&one.to)]);
                // The name stands on its first line only.
                lead = [" ".to_owned(), " ".to_owned()];
            }
        }
        if rows.is_empty() {
            text.push_str("plans and routes are the same\n");
        } else {
            text.push_str(&output::table(["WHAT", "CHANGE", "KEY", "IN FORCE", "NEW"], &rows));
        }
        text.push('\n');
    }

    fn write_moves(&self, text: &mut String) {
        let mut rows = Vec::new();
        for ((from, to), moved) in &self.moves {
            let access = |has: bool, plan: &Option<String>| match (plan, has) {
                (None, _) => "no plan".to_owned(),
                (Some(plan), true) => plan.clone(),
                (Some(plan), false) => format!("{plan} (no API)"),
            };
            let arrow =
                |before: String, after: String| if before == after { before } else { format!("{before} -> {after}") };
            let price = |price: &Option<String>| price.clone().unwrap_or_else(|| "-".to_owned());
            let lost: Vec<String> =
                moved.lost.iter().map(|(route, needs)| format!("{route} (needs {needs})")).collect();
            rows.push([
                arrow(access(moved.access.0, from), access(moved.access.1, to)),
                moved.accounts.to_string(),
                arrow(price(&moved.price.0), price(&moved.price.1)),
                lost.join(", "),
            ]);
        }
        if !rows.is_empty() {
            text.push_str(&output::table(["ACCOUNTS ON", "COUNT", "PRICE", "ROUTES LOST"], &rows));
            text.push('\n');
        }
    }
}

impl Affected {
    fn to_json(&self) -> Value {
        let by = self.by.iter().map(|refusals| {
            let Refusals { limit, calls, units, first_at } = refusals;
            json!({ "limit": limit, "calls": calls, "units": units, "first_at": first_at.to_string() })
        });
        json!({
            "account": self.account, "email": self.email, "plan": { "from": self.plan.0, "to": self.plan.1 },
            "calls": self.by.iter().map(|refusals| refusals.calls).sum::<u64>(),
            "units": self.by.iter().map(|refusals| refusals.units).sum::<u64>(),
            "first_at": self.by.iter().map(|refusals| refusals.first_at).min().map(|at| at.to_string()),
            "by": by.collect::<Vec<_>>(), "calls_before": self.calls_before, "certain": self.certain,
        })
    }

    fn rows(&self) -> Vec<[String; 7]> {
        let plan = |plan: &Option<String>| plan.clone().unwrap_or_else(|| "none".to_owned());
        let plans = match (plan(&self.plan.0), plan(&self.plan.1)) {
            (before, after) if before == after => before,
            (before, after) => format!("{before} -> {after}"),
        };
        let rows = self.by.iter().enumerate().map(|(index, refusals)| {
            let lead = if index == 0 {
                [self.account.clone(), self.email.clone(), plans.clone()]
            } else {
                [" ", " ", " "].map(ToOwned::to_owned)
            };
            let [account, email, plans] = lead;
            let doubt = if !self.certain && refusals.limit.ends_with("burst") { "?" } else { "" };
            let first = Timestamp::from_secs(refusals.first_at.as_secs()).to_string();
            let limit = format!("{}{doubt}", refusals.limit);
            [account, email, plans, limit, refusals.calls.to_string(), refusals.units.to_string(), first]
        });
        rows.collect()
    }
}
