//! An issuer that does not answer, or not what it should.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use tollgate_identity::{InvalidToken, JWKS_BYTES_MAX, Verifier};

use crate::fixture::{Answer, Publisher, Signer, at, by_published, claims, rest, with};

fn lasting(signer: Signer) -> String {
    signer.token(&claims(json!({ "exp": at(72_000).as_secs() })))
}

async fn verify(verifier: &Verifier, signer: Signer, secs: i64) -> Result<(), InvalidToken> {
    verifier.verify(&lasting(signer), at(secs)).await.map(|_| ())
}

#[tokio::test]
async fn without_any_keys_nobody_knows_until_they_are_there() {
    let publisher = Publisher::of(&[Signer::Ec1]);
    publisher.answers(Answer::Failure);
    let verifier = by_published(&publisher);
    for _ in 0..10 {
        let refused = verify(&verifier, Signer::Ec1, 0).await;
        assert_eq!(refused, Err(InvalidToken::Unavailable));
        assert!(refused.is_err_and(InvalidToken::is_temporary));
    }
    assert_eq!(publisher.fetches(), 1, "it is not asked again at once");
    publisher.publish(&[Signer::Ec1]);
    assert_eq!(verify(&verifier, Signer::Ec1, 1).await, Err(InvalidToken::Unavailable));
    assert_eq!(verify(&verifier, Signer::Ec1, 2).await, Ok(()));
}

#[tokio::test]
async fn old_keys_work_on_for_an_hour_without_the_issuer() {
    let publisher = Publisher::of(&[Signer::Ec1]);
    let verifier = by_published(&publisher);
    assert_eq!(verify(&verifier, Signer::Ec1, 0).await, Ok(()));
    publisher.answers(Answer::Failure);
    for secs in [300, 301, 599, 600, 601, 1_800, 3_599] {
        assert_eq!(verify(&verifier, Signer::Ec1, secs).await, Ok(()), "{secs}");
        rest().await;
    }
    assert!((3..=6).contains(&publisher.fetches()), "{}", publisher.fetches());
    for secs in [3_600, 3_601, 36_000] {
        assert_eq!(verify(&verifier, Signer::Ec1, secs).await, Err(InvalidToken::Unavailable), "{secs}");
    }
    publisher.publish(&[Signer::Ec1]);
    assert_eq!(verify(&verifier, Signer::Ec1, 36_010).await, Ok(()));
}

#[tokio::test]
async fn a_clock_that_was_set_back_keeps_no_key_alive() {
    let publisher = Publisher::of(&[Signer::Ec1]);
    let verifier = by_published(&publisher);
    assert_eq!(verify(&verifier, Signer::Ec1, 36_000).await, Ok(()));
    publisher.publish(&[Signer::Ec2]);
    assert_eq!(verify(&verifier, Signer::Ec1, 0).await, Err(InvalidToken::UnknownKey));
}

#[tokio::test]
async fn whether_an_unknown_key_is_new_nobody_knows_while_the_issuer_is_away() {
    let publisher = Publisher::of(&[Signer::Ec1]);
    let verifier = by_published(&publisher);
    assert_eq!(verify(&verifier, Signer::Ec1, 0).await, Ok(()));
    publisher.answers(Answer::Failure);
    assert_eq!(verify(&verifier, Signer::Ec2, 1).await, Err(InvalidToken::Unavailable));
    assert_eq!(verify(&verifier, Signer::Ec2, 2).await, Err(InvalidToken::Unavailable));
    assert_eq!(verify(&verifier, Signer::Ec1, 2).await, Ok(()));
    assert_eq!(publisher.fetches(), 2);
}

#[tokio::test]
async fn what_is_no_key_set_changes_nothing() {
    let publisher = Publisher::of(&[Signer::Ec1]);
    let verifier = by_published(&publisher);
    assert_eq!(verify(&verifier, Signer::Ec1, 0).await, Ok(()));
    let set = json!({ "keys": [Signer::Ec2.published()] }).to_string();
    let too_long = format!("{set}{}", " ".repeat(JWKS_BYTES_MAX));
    let many: Vec<_> =
        (0..101).map(|number| with(Signer::Ec2.published(), json!({ "kid": number.to_string() }))).collect();
    let too_many = json!({ "keys": many }).to_string();
    let mut secs = 0;
    for text in ["", "<html>", "{}", "null", r#"{"keys":{}}"#, &set[..set.len() - 1], &too_long, &too_many] {
        secs += 301;
        publisher.answers(Answer::Text(text.into()));
        let before = publisher.fetches();
        assert_eq!(verify(&verifier, Signer::Ec1, secs).await, Ok(()));
        rest().await;
        assert!(publisher.fetches() > before && verify(&verifier, Signer::Ec1, secs).await == Ok(()), "{secs}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_issuer_is_waited_for_a_few_seconds_and_only_by_those_who_must() {
    let publisher = Publisher::of(&[Signer::Ec1]);
    publisher.answers(Answer::Silence);
    let verifier = by_published(&publisher);
    let start = Instant::now();
    assert_eq!(verify(&verifier, Signer::Ec1, 0).await, Err(InvalidToken::Unavailable));
    assert_eq!(start.elapsed(), Duration::from_secs(5));
    publisher.publish(&[Signer::Ec1]);
    assert_eq!(verify(&verifier, Signer::Ec1, 10).await, Ok(()));
    publisher.answers(Answer::Silence);
    let start = Instant::now();
    for secs in [320, 321, 600] {
        assert_eq!(verify(&verifier, Signer::Ec1, secs).await, Ok(()));
    }
    assert_eq!(start.elapsed(), Duration::ZERO, "the refresh is nobody's to wait for");
    // Keys as old as that are waited for once; then it is known that the issuer is silent.
    assert_eq!(verify(&verifier, Signer::Ec1, 610).await, Ok(()));
    assert_eq!(start.elapsed(), Duration::from_secs(5));
    for secs in 611..700 {
        assert_eq!(verify(&verifier, Signer::Ec1, secs).await, Ok(()));
    }
    assert_eq!(start.elapsed(), Duration::from_secs(5));
}

#[tokio::test]
async fn a_source_that_panics_costs_its_own_fetch_only() {
    let publisher = Publisher::of(&[Signer::Ec1]);
    publisher.answers(Answer::Panic);
    let verifier = by_published(&publisher);
    assert_eq!(verify(&verifier, Signer::Ec1, 0).await, Err(InvalidToken::Unavailable));
    publisher.publish(&[Signer::Ec1]);
    assert_eq!(verify(&verifier, Signer::Ec1, 2).await, Ok(()));
}

#[tokio::test]
async fn a_caller_who_leaves_does_not_take_the_keys_along() {
    let publisher = Publisher::of(&[Signer::Ec1]);
    let verifier = by_published(&publisher);
    let leaving = {
        let verifier = Arc::clone(&verifier);
        tokio::spawn(async move { verify(&verifier, Signer::Ec1, 0).await })
    };
    while publisher.fetches() == 0 {
        tokio::task::yield_now().await;
    }
    leaving.abort();
    assert_eq!(verify(&verifier, Signer::Ec1, 0).await, Ok(()));
    assert_eq!(publisher.fetches(), 1);
}
