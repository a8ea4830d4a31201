//! Which books may disagree, and what is to be done about each disagreement.

use std::fmt;

use serde::Serialize;

/// Where two books disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// A gateway numbered a batch, and the ledger does not hold it.
    MissingBatch,
    /// The sum of a period is not what the ledger's lines add up to.
    PeriodSum,
    /// The sum of an hour is not what the ledger's lines add up to.
    HourSum,
    /// The limiter counts other use of a quota than the ledger.
    LimiterUse,
    /// The ledger has use that nothing is planned to tell Stripe of.
    UnplannedUse,
    /// Of a period that is over, Stripe was or is to be told more than the ledger has: units were given back afterwards.
    OverBilled,
    /// Use is planned to be told to Stripe, and has not arrived for long.
    UnsentUse,
    /// Telling Stripe of use was given up.
    FailedSend,
    /// Stripe's meter has other use than it was told.
    StripeUse,
    /// What is known of a subscription is not what Stripe says.
    SubscriptionFacts,
    /// Stripe has a subscription that is not known.
    UnknownSubscription,
    /// A subscription is known that Stripe does not have.
    VanishedSubscription,
    /// A customer pays for a plan, and no account is linked with it.
    UnlinkedCustomer,
    /// An account is linked with a customer whom Stripe does not have.
    VanishedCustomer,
    /// Somebody pays a price that no plan has.
    UnknownPrice,
    /// An account was deleted, and its subscription goes on.
    DeletedAccountPays,
    /// An account is banned, and its subscription goes on.
    BannedAccountPays,
    /// An event was given up.
    DeadEvent,
    /// An event has waited for long.
    WaitingEvent,
    /// Stripe could not deliver an event, and it is not in the inbox.
    UndeliveredEvent,
}

impl DifferenceKind {
    /// Every kind.
    pub const ALL: [Self; 20] = [
        Self::MissingBatch,
        Self::PeriodSum,
        Self::HourSum,
        Self::LimiterUse,
        Self::UnplannedUse,
        Self::OverBilled,
        Self::UnsentUse,
        Self::FailedSend,
        Self::StripeUse,
        Self::SubscriptionFacts,
        Self::UnknownSubscription,
        Self::VanishedSubscription,
        Self::UnlinkedCustomer,
        Self::VanishedCustomer,
        Self::UnknownPrice,
        Self::DeletedAccountPays,
        Self::BannedAccountPays,
        Self::DeadEvent,
        Self::WaitingEvent,
        Self::UndeliveredEvent,
    ];

    /// The word for it, as JSON has it too.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MissingBatch => "missing_batch",
            Self::PeriodSum => "period_sum",
            Self::HourSum => "hour_sum",
            Self::LimiterUse => "limiter_use",
            Self::UnplannedUse => "unplanned_use",
            Self::OverBilled => "over_billed",
            Self::UnsentUse => "unsent_use",
            Self::FailedSend => "failed_send",
            Self::StripeUse => "stripe_use",
            Self::SubscriptionFacts => "subscription_facts",
            Self::UnknownSubscription => "unknown_subscription",
            Self::VanishedSubscription => "vanished_subscription",
            Self::UnlinkedCustomer => "unlinked_customer",
            Self::VanishedCustomer => "vanished_customer",
            Self::UnknownPrice => "unknown_price",
            Self::DeletedAccountPays => "deleted_account_pays",
            Self::BannedAccountPays => "banned_account_pays",
            Self::DeadEvent => "dead_event",
            Self::WaitingEvent => "waiting_event",
            Self::UndeliveredEvent => "undelivered_event",
        }
    }

    /// What `--fix` does about it; `None` where a person must decide.
    pub fn remedy(self) -> Option<&'static str> {
        match self {
            Self::UnplannedUse => Some("plan it and tell Stripe"),
            Self::UnsentUse => Some("tell Stripe now"),
            Self::FailedSend => Some("put it back and tell Stripe"),
            Self::SubscriptionFacts | Self::UnknownSubscription | Self::VanishedSubscription => {
                Some("read the customer afresh")
            }
            Self::UnlinkedCustomer => Some("read the customer afresh, and link or make its account"),
            Self::UndeliveredEvent => Some("fetch it into the inbox"),
            Self::LimiterUse
            | Self::MissingBatch
            | Self::PeriodSum
            | Self::HourSum
            | Self::OverBilled
            | Self::StripeUse
            | Self::VanishedCustomer
            | Self::UnknownPrice
            | Self::DeletedAccountPays
            | Self::BannedAccountPays
            | Self::DeadEvent
            | Self::WaitingEvent => None,
        }
    }

    /// What a person does about it, where nothing else does.
    pub fn advice(self) -> &'static str {
        match self {
            Self::MissingBatch => {
                "let the gateway that counted it come back with its spool; if its disk is lost, these calls are not charged"
            }
            Self::PeriodSum | Self::HourSum => {
                "nothing but the store writes sums: compare with a backup, and report it as a fault of the program"
            }
            Self::LimiterUse => {
                "the limiter counts calls that are under way too; if it stays so for hours, a gateway has lost batches"
            }
            Self::OverBilled => "give the customer credit at Stripe, if the invoice is not a draft any more",
            Self::UnsentUse => "see why Stripe does not answer; it is told again without end",
            Self::FailedSend => "mend what its note says, then run this again with --fix",
            Self::StripeUse => {
                "look at the meter's events and error reports at Stripe: what it dropped is to be invoiced by hand, what \
                 it has too much of is another program's, or to be cancelled there"
            }
            Self::SubscriptionFacts | Self::UnknownSubscription | Self::VanishedSubscription => {
                "run this again with --fix, or send the customer's event again at Stripe"
            }
            Self::UnlinkedCustomer => {
                "write the account's id as `tollgate_account` into the subscription's metadata at Stripe, then run this \
                 again with --fix"
            }
            Self::VanishedCustomer => "nothing is paid; link the account anew with `tollgate accounts import`",
            Self::UnknownPrice => "add it to a plan's `stripe_prices`",
            Self::DeletedAccountPays | Self::BannedAccountPays => {
                "end the subscription at Stripe, and refund what is due, or let the account back in"
            }
            Self::DeadEvent => "read `tollgate webhooks show`, mend what it says, then `tollgate webhooks replay`",
            Self::UnplannedUse | Self::WaitingEvent => {
                "see that a process with [billing.stripe] runs, and what its log says"
            }
            Self::UndeliveredEvent => "run this again with --fix; see that Stripe reaches the webhook",
        }
    }
}

impl fmt::Display for DifferenceKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn words_are_the_same_as_in_json() {
        for kind in DifferenceKind::ALL {
            assert_eq!(serde_json::to_value(kind).expect("a word"), kind.as_str());
        }
        let kinds: BTreeSet<_> = DifferenceKind::ALL.into_iter().collect();
        assert_eq!(kinds.len(), DifferenceKind::ALL.len());
    }
}
