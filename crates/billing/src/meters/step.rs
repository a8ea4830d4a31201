//! What is done about one send: it is told, Stripe is asked whether it has it, or it is settled; and what follows from the
//! answers. Nothing here writes anything.

use tollgate_domain::Timestamp;
use tollgate_store::{AdminStore, MeterSend, SendOutcome, SentUse, StoreError};

use super::place::{self, Place};
use super::sink::{MeterEvent, MeterSink, TellError};
use crate::api::ApiError;

/// What is to be done about a send now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is told, at this second.
    Tell(Timestamp),
    /// Stripe is asked whether it has it; if it has not, it is told at this second, or given up where there is none.
    Ask(Option<Timestamp>),
    /// It is settled without being told.
    Settle(SendOutcome),
}

/// What is to be done about a send.
pub(super) fn step(send: &MeterSend, now: Timestamp) -> Step {
    match place::place(send.at, send.period, now) {
        Place::NotYet(at) => Step::Settle(SendOutcome::Retry { at, note: "its period has not begun yet".into() }),
        Place::TooOld if send.first_tried_at.is_some() => Step::Ask(None),
        Place::TooOld => Step::Settle(too_old()),
        Place::At(at) if place::is_doubtful(send.first_tried_at, now) => Step::Ask(Some(at)),
        Place::At(at) => Step::Tell(at),
    }
}

pub(super) fn too_old() -> SendOutcome {
    SendOutcome::Failed {
        note: "its period ended over 35 days ago, and Stripe takes nothing so old: invoice it by hand, or let it be"
            .into(),
    }
}

/// Whether a send that was tried long ago has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Arrived,
    Absent,
    Unclear,
}

/// Compares what the sink has of a period with what is known to have been sent, where a send of so many units is in doubt.
pub(super) fn verdict(told: i64, known: SentUse, units: u64) -> Verdict {
    let difference = i128::from(told) - i128::from(known.sent);
    if difference == 0 {
        Verdict::Absent
    } else if difference == i128::from(units) || difference == i128::from(known.doubtful) {
        Verdict::Arrived
    } else {
        Verdict::Unclear
    }
}

/// What is done about a send, once Stripe was asked where that had to be.
pub(super) enum Decision {
    Tell(Timestamp),
    Settle(SendOutcome),
    Unanswered(ApiError),
}

pub(super) async fn decide(
    store: &dyn AdminStore,
    sink: &dyn MeterSink,
    send: &MeterSend,
    now: Timestamp,
) -> Result<Decision, StoreError> {
    let at = match step(send, now) {
        Step::Tell(at) => return Ok(Decision::Tell(at)),
        Step::Settle(outcome) => return Ok(Decision::Settle(outcome)),
        Step::Ask(at) => at,
    };
    let told = match sink.told(&send.event_name, &send.customer, send.period).await {
        Ok(told) => told,
        Err(error) => return Ok(Decision::Unanswered(error)),
    };
    let known = store.sent_between(send.account, send.meter.as_ref(), place::minutes(send.period)).await?;
    Ok(match (verdict(told, known, send.units), at) {
        (Verdict::Arrived, _) => Decision::Settle(SendOutcome::Sent),
        (Verdict::Absent, Some(at)) => Decision::Tell(at),
        (Verdict::Absent, None) => Decision::Settle(too_old()),
        (Verdict::Unclear, _) => Decision::Settle(SendOutcome::Failed { note: unclear(told, known, send) }),
    })
}

/// What becomes of a send of which Stripe did not tell whether it has arrived.
pub(super) fn unanswered(send: &MeterSend, error: &ApiError, now: Timestamp) -> SendOutcome {
    let note = format!("whether it arrived is not known. {error}");
    match error {
        ApiError::Refused { .. } if !error.is_about_stripe() => SendOutcome::Failed { note },
        _ => SendOutcome::Retry { at: place::again_at(now, send.attempts), note },
    }
}

pub(super) fn event(send: &MeterSend, at: Timestamp) -> MeterEvent {
    MeterEvent {
        event_name: send.event_name.clone(),
        customer: send.customer.clone(),
        units: send.units,
        identifier: send.identifier.clone(),
        at,
    }
}

pub(super) fn outcome(send: &MeterSend, told: Result<(), TellError>, now: Timestamp) -> SendOutcome {
    match told {
        Ok(()) => SendOutcome::Sent,
        Err(error @ (TellError::Unknown(_) | TellError::Later(_))) => {
            SendOutcome::Retry { at: place::again_at(now, send.attempts), note: error.to_string() }
        }
        Err(TellError::Refused(says)) => SendOutcome::Failed {
            note: format!("{says}. Once that is mended, `tollgate reconcile --fix` sends it again"),
        },
    }
}

fn unclear(told: i64, known: SentUse, send: &MeterSend) -> String {
    let (units, sent, customer, period) = (send.units, known.sent, &send.customer, send.period);
    format!(
        "whether it arrived cannot be told: of {customer} Stripe has {told} units from {} to {}, {sent} are known to have \
         been sent, and this is {units} more. Compare with the meter's events at Stripe; were they not sent, `tollgate \
         reconcile --fix` sends them once the rest agrees",
        period.start, period.end
    )
}
