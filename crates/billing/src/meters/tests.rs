//! What is done about one send, whatever its past; beneath, what arrives, whatever happens on the way.

pub(crate) mod harness;
mod interleavings;
mod telling;

use tollgate_domain::{AccountId, Period};
use tollgate_store::{SendState, SentUse};

use super::step::*;
use super::*;
use crate::api::ApiError;

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).expect(text)
}

fn send(used: &str, first_tried: Option<&str>) -> MeterSend {
    MeterSend {
        identifier: "tg_1".into(),
        account: AccountId::new(Timestamp::EPOCH, [7; 10]),
        customer: "cus_1".into(),
        meter: None,
        event_name: "api_calls".into(),
        period: Period { start: at("2026-03-01"), end: at("2026-04-01") },
        units: 5,
        at: at(used),
        state: SendState::Pending,
        first_tried_at: first_tried.map(at),
        sent_at: None,
        attempts: 3,
        note: None,
    }
}

#[test]
fn a_send_is_told_until_its_identifier_protects_no_more() {
    let used = "2026-03-10T10:00:00Z";
    let told = Timestamp::parse(used).expect("a time");
    for (first_tried, now, expected) in [
        (None, "2026-03-10T10:00:30Z", Step::Tell(told)),
        (Some("2026-03-10T10:00:30Z"), "2026-03-11T09:00:00Z", Step::Tell(told)),
        (Some("2026-03-10T10:00:30Z"), "2026-03-11T09:01:00Z", Step::Ask(Some(told))),
        (Some("2026-04-30T00:00:00Z"), "2026-05-07", Step::Ask(None)),
        (None, "2026-05-07", Step::Settle(too_old())),
    ] {
        assert_eq!(step(&send(used, first_tried), at(now)), expected, "{first_tried:?} at {now}");
    }
    let early = step(&send(used, None), at("2026-02-20"));
    assert!(matches!(early, Step::Settle(SendOutcome::Retry { at, .. }) if at == self::at("2026-03-01")), "{early:?}");
}

#[test]
fn what_is_in_doubt_follows_from_the_sums() {
    let known = |sent, doubtful| SentUse { sent, doubtful, newest: None };
    for (told, known, expected) in [
        (100, known(100, 5), Verdict::Absent),
        (105, known(100, 5), Verdict::Arrived),
        (0, known(0, 5), Verdict::Absent),
        (112, known(100, 12), Verdict::Arrived),
        (107, known(100, 12), Verdict::Unclear),
        (103, known(100, 5), Verdict::Unclear),
        (99, known(100, 5), Verdict::Unclear),
        (-3, known(0, 5), Verdict::Unclear),
    ] {
        assert_eq!(verdict(told, known, 5), expected, "{told} told, {known:?} known");
    }
}

#[test]
fn a_refusal_is_given_up_and_silence_is_not() {
    let (send, now) = (send("2026-03-10", None), at("2026-03-10"));
    let silence = TellError::Unknown(ApiError::Unavailable("not within 10 s".into()));
    let again = outcome(&send, Err(silence), now);
    assert!(matches!(again, SendOutcome::Retry { at, .. } if at == now.plus_micros(8 * 15_000_000)), "{again:?}");
    let refused = outcome(&send, Err(TellError::Refused("no such customer".into())), now);
    assert!(matches!(&refused, SendOutcome::Failed { note } if note.contains("reconcile --fix")), "{refused:?}");
    assert_eq!(outcome(&send, Ok(()), now), SendOutcome::Sent);

    let missing = ApiError::Refused { status: 404, code: None, message: "no meter".into(), param: None };
    assert!(matches!(unanswered(&send, &missing, now), SendOutcome::Failed { .. }));
    let locked_out = ApiError::Refused { status: 401, code: None, message: "no".into(), param: None };
    assert!(matches!(unanswered(&send, &locked_out, now), SendOutcome::Retry { .. }));
}

#[test]
fn asking_on_is_in_vain_only_where_nothing_got_an_answer() {
    let answers = |all: &[bool]| {
        let mut answers = Answers::default();
        for in_vain in all {
            answers.add(*in_vain);
        }
        answers.are_in_vain()
    };
    assert!(!answers(&[]), "nothing was asked");
    assert!(answers(&[true, true]));
    assert!(!answers(&[true, false]));
}
