//! Trials: the warning before one ends, and what its end needs.

use super::end;
use crate::objects::payment_method::Card;
use crate::objects::subscription::{MissingPaymentMethod, Status};
use crate::state::State;

/// Three days before a trial ends, or at its start if it is shorter.
pub(crate) fn will_end(state: &mut State, id: &str) {
    let planned = state.subscriptions.get(id).is_some_and(|subscription| {
        subscription.status == Status::Trialing
            && subscription.trial_end.is_some_and(|at| at - state.now <= 3 * crate::state::clock::DAY)
    });
    if planned {
        state.emit("customer.subscription.trial_will_end", id);
    }
}

/// Whether a subscription goes on after its trial; without a card it may pause or end instead.
pub(crate) fn goes_on(state: &mut State, id: &str) -> bool {
    let Some(subscription) = state.subscriptions.get(id) else { return false };
    let has_card = state.customers.get(&subscription.customer).is_some_and(|customer| customer.card != Card::None);
    if has_card {
        return true;
    }
    match subscription.missing_payment_method {
        MissingPaymentMethod::CreateInvoice => true,
        MissingPaymentMethod::Cancel => {
            end::end(state, id, "payment_failed");
            false
        }
        MissingPaymentMethod::Pause => {
            super::pause::pause(state, id);
            false
        }
    }
}
