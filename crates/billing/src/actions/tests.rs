//! Actions against the stand-in of Stripe, with a store in memory.

mod cancel;
mod change;
mod checkout;
mod faults;
pub(crate) mod harness;
mod metered;
mod portal;
mod preview;

use super::*;

/// What each error says to whom.
#[test]
fn what_an_owner_reads_tells_nothing_internal() {
    let cause = || ApiError::Refused {
        status: 400,
        code: Some("resource_missing".into()),
        message: "No such price: 'price_gone'".into(),
        param: Some("line_items[0][price]".into()),
    };
    for error in [ActionError::Misconfigured { cause: cause() }, ActionError::from(cause())] {
        let (shown, kept) = (error.to_string(), std::error::Error::source(&error).map(ToString::to_string));
        assert!(!shown.contains("price") && !shown.contains("Stripe"), "{shown}");
        assert!(kept.is_some_and(|kept| kept.contains("price_gone")));
    }
    let away = ActionError::from(ApiError::Unavailable("connection refused to 10.0.0.1".into()));
    assert!(matches!(away, ActionError::Unavailable { .. }) && !away.to_string().contains("10.0.0.1"));
}

#[test]
fn a_declined_card_is_told_in_the_banks_words_and_a_confirmation_in_ours() {
    let refused = |code: &str| ApiError::Refused {
        status: 402,
        code: Some(code.into()),
        message: "Your card was declined.".into(),
        param: None,
    };
    assert_eq!(ActionError::from(refused("card_declined")).to_string(), "Your card was declined.");
    for code in NEEDS_CONFIRMATION {
        assert_eq!(ActionError::from(refused(code)).to_string(), CONFIRM, "{code}");
    }
}

#[test]
fn each_click_has_an_idempotency_key_of_its_own() {
    let (one, other) = (once("change"), once("change"));
    assert_ne!(one, other);
    assert!(one.starts_with("tollgate-change-") && one.len() <= 255);
}
