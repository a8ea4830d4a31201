//! Why a subscription gives nothing, or is about to, in words: for its owner, who can do something about it, and for
//! operators, who are asked.

use tollgate_domain::{Lapse, PlanTable, Subscription, SubscriptionStatus, Timestamp};

/// The subscription whose lapse an entitlement tells of: the youngest of those that give nothing.
pub(crate) fn lapsed<'s>(
    subscriptions: &'s [Subscription],
    plans: &PlanTable,
    now: Timestamp,
) -> Option<(&'s Subscription, Lapse)> {
    let lapsed = subscriptions.iter().filter_map(|facts| facts.gives(plans, now).err().map(|lapse| (facts, lapse)));
    lapsed.max_by(|(one, _), (other, _)| (one.created_at, &one.id).cmp(&(other.created_at, &other.id)))
}

/// Why it gives nothing, for operators.
pub(crate) fn for_operator(facts: &Subscription, lapse: Lapse, plans: &PlanTable) -> String {
    let Subscription { id, status, .. } = facts;
    let withheld_at = facts.withheld.map(|withheld| format!(" at {}", withheld.at)).unwrap_or_default();
    let why = match lapse {
        Lapse::Incomplete => "its first payment has not succeeded yet".to_owned(),
        Lapse::GraceOver => match (facts.failing_since, facts.grace_until(plans)) {
            (Some(since), Some(until)) => {
                format!("its payment has failed since {since}, and the grace ended at {until}; paying lifts it")
            }
            _ => "its payment failed, and the grace is over; paying lifts it".to_owned(),
        },
        Lapse::Unpaid => "Stripe gave up charging it; paying its open invoice lifts that".to_owned(),
        Lapse::Paused => "its trial ended without a way to pay".to_owned(),
        Lapse::Ended if *status == SubscriptionStatus::IncompleteExpired => {
            "its first payment never succeeded, and it expired".to_owned()
        }
        Lapse::Ended => "it has ended".to_owned(),
        Lapse::Disputed => {
            format!("its payment was disputed{withheld_at}; a dispute that is won, or the next paid period, lifts that")
        }
        Lapse::Refunded => format!("its payment was refunded whole{withheld_at}; the next paid period lifts that"),
        Lapse::UnknownPrice => {
            let prices: Vec<&str> = facts.items.iter().map(|item| &*item.price).collect();
            format!("none of its prices ({}) is among the `stripe_prices` of a plan", prices.join(", "))
        }
    };
    format!("the subscription {id} is {status}: {why}")
}

/// What is wrong with its payment, for whoever pays; `None` where nothing is.
pub(super) fn for_owner(facts: &Subscription, plans: &PlanTable, now: Timestamp) -> Option<String> {
    let lapse = match facts.gives(plans, now) {
        Err(lapse) => lapse,
        Ok(given) => {
            let since = facts.failing_since.filter(|_| facts.status == SubscriptionStatus::PastDue)?;
            let until = match facts.grace_until(plans) {
                Some(until) if until == given.until => format!("Access lasts until {until}"),
                _ => "Access goes on".to_owned(),
            };
            return Some(format!("The payment of {since} failed. {until}; update your card in the portal."));
        }
    };
    Some(match lapse {
        Lapse::Incomplete => "The first payment has not succeeded yet; finish it, or choose the plan again.".into(),
        Lapse::GraceOver => match facts.failing_since {
            Some(since) => {
                format!("The payment of {since} failed and is still open; pay it in the portal to have access again.")
            }
            None => "A payment failed and is still open; pay it in the portal to have access again.".into(),
        },
        Lapse::Unpaid => "An invoice is unpaid; pay it in the portal to have access again.".into(),
        Lapse::Paused => "The trial is over; add a card in the portal to go on.".into(),
        // Whoever ended it needs no telling.
        Lapse::Ended => return None,
        Lapse::Disputed => {
            "The payment is disputed. Access comes back when that is settled or the next period is paid.".into()
        }
        Lapse::Refunded => "The payment was refunded. Access comes back when the next period is paid.".into(),
        Lapse::UnknownPrice => "This subscription is for something that is not sold any more; choose a plan.".into(),
    })
}

#[cfg(test)]
mod tests {
    use tollgate_domain::{DAY_US, Period, Plan, PlanName, SubscriptionItem, Withheld, WithheldCause};

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_773_144_000);

    fn plans() -> PlanTable {
        let pro = Plan {
            stripe_prices: vec!["price_pro".into()],
            ..Plan::unlimited(PlanName::new("pro").expect("a good name"))
        };
        PlanTable::new([pro], None).with_grace(7 * DAY_US)
    }

    fn facts(status: SubscriptionStatus) -> Subscription {
        Subscription {
            id: "sub_1".into(),
            status,
            created_at: NOW + -40 * DAY_US,
            items: vec![SubscriptionItem {
                id: "si_1".into(),
                price: "price_pro".into(),
                period: Period { start: NOW + -10 * DAY_US, end: NOW + 20 * DAY_US },
            }],
            plan_price: Some("price_pro".into()),
            failing_since: None,
            cancel_at: None,
            trial_end: None,
            withheld: None,
        }
    }

    #[test]
    fn each_lapse_is_told_to_operators_with_its_subscription_status_and_times() {
        use SubscriptionStatus::{Active, Canceled, Incomplete, IncompleteExpired, PastDue, Paused, Unpaid};
        let failing = Subscription { failing_since: Some(NOW + -8 * DAY_US), ..facts(PastDue) };
        let withheld = |cause| Subscription { withheld: Some(Withheld { at: NOW, cause }), ..facts(Active) };
        let mut unknown = facts(Active);
        unknown.items[0].price = "price_other".into();
        unknown.plan_price = None;
        for (facts, part) in [
            (
                failing,
                "past_due: its payment has failed since 2026-03-02T12:00:00Z, and the grace ended at 2026-03-09T12:00:00Z",
            ),
            (facts(Incomplete), "incomplete: its first payment has not succeeded"),
            (facts(IncompleteExpired), "incomplete_expired: its first payment never succeeded"),
            (facts(Unpaid), "unpaid: Stripe gave up"),
            (facts(Paused), "paused: its trial ended"),
            (facts(Canceled), "canceled: it has ended"),
            (withheld(WithheldCause::Dispute), "disputed at 2026-03-10T12:00:00Z"),
            (withheld(WithheldCause::Refund), "refunded whole at 2026-03-10T12:00:00Z"),
            (unknown, "none of its prices (price_other)"),
        ] {
            let facts = [facts];
            let (found, lapse) = lapsed(&facts, &plans(), NOW).expect("it gives nothing");
            let words = for_operator(found, lapse, &plans());
            assert!(words.starts_with("the subscription sub_1 is ") && words.contains(part), "{words}");
            let owner = for_owner(found, &plans(), NOW);
            assert_eq!(owner.is_none(), lapse == Lapse::Ended, "{owner:?}");
        }
    }

    #[test]
    fn the_owner_hears_of_a_failed_payment_while_access_lasts_and_of_nothing_when_all_is_well() {
        let failing = Subscription { failing_since: Some(NOW + -DAY_US), ..facts(SubscriptionStatus::PastDue) };
        let words = for_owner(&failing, &plans(), NOW).expect("something is wrong");
        assert!(words.contains("2026-03-09T12:00:00Z failed. Access lasts until 2026-03-16T12:00:00Z"), "{words}");
        for status in [SubscriptionStatus::Active, SubscriptionStatus::Trialing, SubscriptionStatus::PastDue] {
            assert_eq!(for_owner(&facts(status), &plans(), NOW), None, "{status}");
        }
    }

    #[test]
    fn of_several_the_youngest_that_gives_nothing_is_told() {
        let old = Subscription { id: "sub_0".into(), ..facts(SubscriptionStatus::Canceled) };
        let young = Subscription { created_at: NOW, ..facts(SubscriptionStatus::Unpaid) };
        let good = Subscription { id: "sub_2".into(), created_at: NOW + 1, ..facts(SubscriptionStatus::Active) };
        let all = [young.clone(), good, old];
        assert_eq!(lapsed(&all, &plans(), NOW), Some((&young, Lapse::Unpaid)));
        assert_eq!(lapsed(&[], &plans(), NOW), None);
    }
}
