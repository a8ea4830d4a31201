//! Subscriptions as Stripe lists them, against what is known of them. Pure: nothing is asked here.

use std::collections::HashSet;

use tollgate_domain::{Account, PlanTable, Subscription, SubscriptionStatus, Timestamp};

use super::kind::DifferenceKind;
use super::report::{Difference, Figure};
use crate::api::objects::{self, Expandable};
use crate::refresh::{self, Facts, Read, Rules};

/// Whether whoever has a subscription in this state pays for it, or will. A word of a later version is taken for yes.
pub(super) fn is_running(status: &str) -> bool {
    use SubscriptionStatus::{Active, PastDue, Trialing, Unpaid};
    SubscriptionStatus::parse(status).is_none_or(|status| matches!(status, Trialing | Active | PastDue | Unpaid))
}

/// The first price of a subscription none of whose prices is a plan's. Prices that are paid by use buy no plan, and stand
/// beside one that does.
pub(super) fn unknown_price(listed: &objects::Subscription, plans: &PlanTable) -> Option<String> {
    let items = &listed.items.data;
    if items.iter().any(|item| plans.of_price(item.price_id()).is_some()) {
        return None;
    }
    let is_metered = |item: &&objects::SubscriptionItem| match &item.price {
        Some(Expandable::Whole(price)) => {
            price.recurring.as_ref().is_some_and(|recurring| recurring.usage_type == "metered")
        }
        Some(Expandable::Id(_)) | None => false,
    };
    items.iter().find(|item| !is_metered(item)).map(|item| item.price_id().to_owned())
}

/// Whether what was read of some of an account's subscriptions is other than what is known.
pub(super) fn differs(read: &Read, account: &Account, plans: &PlanTable, rules: Rules) -> bool {
    let read_ids: HashSet<&str> = read.subscriptions.iter().map(|listed| listed.id.as_str()).collect();
    let known = account.subscriptions.iter().filter(|known| read_ids.contains(&*known.id));
    let known = Account { subscriptions: known.cloned().collect(), ..account.clone() };
    !differences(read, &known, plans, rules).is_empty()
}

/// How what was read of an account's subscriptions differs from what is known of them: one line a subscription.
pub(super) fn differences(read: &Read, account: &Account, plans: &PlanTable, rules: Rules) -> Vec<Difference> {
    let Facts { subscriptions, .. } = refresh::facts(read, &account.subscriptions, plans, rules);
    let is_listed = |id: &str| read.subscriptions.iter().any(|listed| listed.id == id);
    let difference = |fresh: &Subscription| {
        let known = account.subscriptions.iter().find(|known| known.id == fresh.id);
        let status = |facts: &Subscription| Figure::from(facts.status.as_str());
        let (kind, what, expected, found) = match known {
            None if fresh.status.is_final() => return None,
            None => (DifferenceKind::UnknownSubscription, "status", Some(status(fresh)), None),
            Some(known) if !is_listed(&fresh.id) && known.status.is_final() => return None,
            Some(known) if !is_listed(&fresh.id) => {
                (DifferenceKind::VanishedSubscription, "status", None, Some(status(known)))
            }
            Some(known) => {
                let (expected, found) = unequal(fresh, known)?;
                (DifferenceKind::SubscriptionFacts, "facts", Some(Figure::Text(expected)), Some(Figure::Text(found)))
            }
        };
        Some(Difference::new(kind, what).of(account.id).about(&*fresh.id).figures(expected, found))
    };
    subscriptions.iter().filter_map(difference).collect()
}

/// What differs between what Stripe says of a subscription and what is known of it, as two lists of the same names; what is
/// Tollgate's own is left out.
fn unequal(fresh: &Subscription, known: &Subscription) -> Option<(String, String)> {
    let time = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), |at| at.to_string());
    let of = |facts: &Subscription| {
        let mut items: Vec<_> = facts.items.iter().collect();
        items.sort_by(|one, other| one.id.cmp(&other.id));
        let prices: Vec<&str> = items.iter().map(|item| &*item.price).collect();
        let periods: Vec<_> = items.iter().map(|item| format!("{}..{}", item.period.start, item.period.end)).collect();
        [
            ("status", facts.status.as_str().to_owned()),
            ("prices", prices.join("+")),
            ("periods", periods.join("+")),
            ("failing_since", time(facts.failing_since)),
            ("cancel_at", time(facts.cancel_at)),
            ("trial_end", time(facts.trial_end)),
            ("created", time(Some(facts.created_at))),
        ]
    };
    let pairs = of(fresh).into_iter().zip(of(known)).filter(|(fresh, known)| fresh != known);
    let (expected, found): (Vec<_>, Vec<_>) =
        pairs.map(|((name, fresh), (_, known))| (format!("{name} {fresh}"), format!("{name} {known}"))).unzip();
    (!expected.is_empty()).then(|| (expected.join(", "), found.join(", ")))
}

#[cfg(test)]
mod tests {
    use tollgate_domain::{Period, SubscriptionItem};

    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect(text)
    }

    fn facts(status: SubscriptionStatus) -> Subscription {
        Subscription {
            id: "sub_1".into(),
            status,
            created_at: at("2026-01-01"),
            items: vec![SubscriptionItem {
                id: "si_1".into(),
                price: "price_pro".into(),
                period: Period { start: at("2026-03-01"), end: at("2026-04-01") },
            }],
            plan_price: None,
            failing_since: None,
            cancel_at: None,
            trial_end: None,
            withheld: None,
        }
    }

    #[test]
    fn only_what_stripe_says_is_compared() {
        let known = facts(SubscriptionStatus::Active);
        let own = Subscription {
            plan_price: Some("price_old".into()),
            withheld: Some(tollgate_domain::Withheld {
                at: at("2026-03-02"),
                cause: tollgate_domain::WithheldCause::Refund,
            }),
            ..known.clone()
        };
        assert_eq!(unequal(&known, &own), None);
        let failing = Subscription { failing_since: Some(at("2026-03-02")), ..facts(SubscriptionStatus::PastDue) };
        let (expected, found) = unequal(&failing, &known).expect("two facts differ");
        assert_eq!(expected, "status past_due, failing_since 2026-03-02T00:00:00Z");
        assert_eq!(found, "status active, failing_since -");
    }

    #[test]
    fn whoever_pays_or_will_is_running() {
        for (status, expected) in [
            ("trialing", true),
            ("active", true),
            ("past_due", true),
            ("unpaid", true),
            ("incomplete", false),
            ("incomplete_expired", false),
            ("canceled", false),
            ("paused", false),
            ("a_word_of_tomorrow", true),
        ] {
            assert_eq!(is_running(status), expected, "{status}");
        }
    }
}
