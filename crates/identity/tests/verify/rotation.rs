//! Published keys that change, and how often the issuer is asked for them.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use tollgate_identity::InvalidToken;

use crate::fixture::{Publisher, Signer, at, by_published, claims, rest, with};

/// A token that is good for two hours, so that only keys decide.
fn lasting(signer: Signer) -> String {
    signer.token(&claims(json!({ "exp": at(7_200).as_secs() })))
}

/// A token of this signer under another key's name.
fn named(signer: Signer, key_id: &str) -> String {
    let header = with(signer.header(), json!({ "kid": key_id }));
    signer.sign_text(&header.to_string(), &claims(json!({ "exp": at(7_200).as_secs() })).to_string())
}

#[tokio::test]
async fn keys_are_fetched_once_however_many_ask_at_first() {
    let publisher = Publisher::of(&[Signer::Ec1]);
    let verifier = by_published(&publisher);
    assert_eq!(publisher.fetches(), 0, "nobody needs them yet");
    let token = Signer::Ec1.usual();
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let (verifier, token) = (Arc::clone(&verifier), token.clone());
            tokio::spawn(async move { verifier.verify(&token, at(0)).await })
        })
        .collect();
    for caller in callers {
        assert!(caller.await.expect("it does not panic").is_ok());
    }
    for secs in 0..300 {
        assert!(verifier.verify(&token, at(secs)).await.is_ok());
    }
    assert_eq!(publisher.fetches(), 1);
}

#[tokio::test]
async fn tokens_that_are_no_good_anyway_ask_for_no_keys() {
    let publisher = Publisher::of(&[Signer::Ec1]);
    let verifier = by_published(&publisher);
    for token in [
        "junk".to_owned(),
        Signer::Secret(b"x").usual(),
        Signer::Ec1.token(&claims(json!({ "exp": at(-61).as_secs() }))),
        Signer::Ec2.token(&claims(json!({ "aud": "other" }))),
    ] {
        assert!(verifier.verify(&token, at(0)).await.is_err());
    }
    assert_eq!(publisher.fetches(), 0);
}

#[tokio::test]
async fn a_rotated_key_works_with_its_first_token_and_the_old_one_until_it_is_taken_back() {
    let publisher = Publisher::of(&[Signer::Rsa1]);
    let verifier = by_published(&publisher);
    let (old, new) = (lasting(Signer::Rsa1), lasting(Signer::Ec1));
    assert!(verifier.verify(&old, at(0)).await.is_ok());
    publisher.publish(&[Signer::Rsa1, Signer::Ec1]);
    assert!(verifier.verify(&new, at(1)).await.is_ok(), "a second after the last fetch");
    assert!(verifier.verify(&old, at(1)).await.is_ok());
    assert_eq!(publisher.fetches(), 2);
    publisher.publish(&[Signer::Ec1]);
    assert!(verifier.verify(&old, at(299)).await.is_ok(), "nobody knows yet");
    assert!(verifier.verify(&new, at(301)).await.is_ok());
    rest().await;
    assert_eq!(publisher.fetches(), 3, "keys are refreshed in the background");
    assert_eq!(verifier.verify(&old, at(302)).await, Err(InvalidToken::UnknownKey), "remembered or not");
    assert!(verifier.verify(&new, at(302)).await.is_ok());
}

#[tokio::test]
async fn a_key_that_was_taken_back_is_refused_after_ten_minutes_even_if_nobody_called_meanwhile() {
    let publisher = Publisher::of(&[Signer::Rsa1, Signer::Ec1]);
    let verifier = by_published(&publisher);
    let old = lasting(Signer::Rsa1);
    assert!(verifier.verify(&old, at(0)).await.is_ok());
    publisher.publish(&[Signer::Ec1]);
    assert_eq!(verifier.verify(&old, at(600)).await, Err(InvalidToken::UnknownKey));
    publisher.publish(&[]);
    let other = lasting(Signer::Ec1);
    assert!(verifier.verify(&other, at(620)).await.is_ok());
    assert_eq!(
        verifier.verify(&other, at(1_300)).await,
        Err(InvalidToken::UnknownKey),
        "no keys at all is a word, too"
    );
}

#[tokio::test]
async fn a_key_exchanged_under_its_old_name_works_once_keys_are_refreshed() {
    let publisher = Publisher::of(&[]);
    let exchanged = |signer: Signer| with(signer.published(), json!({ "kid": "k" }));
    publisher.publish_keys(&[exchanged(Signer::Ec1)]);
    let verifier = by_published(&publisher);
    assert!(verifier.verify(&named(Signer::Ec1, "k"), at(0)).await.is_ok());
    publisher.publish_keys(&[exchanged(Signer::Ec2)]);
    assert_eq!(verifier.verify(&named(Signer::Ec2, "k"), at(1)).await, Err(InvalidToken::Signature));
    assert!(verifier.verify(&named(Signer::Ec2, "k"), at(600)).await.is_ok());
    assert_eq!(verifier.verify(&named(Signer::Ec1, "k"), at(600)).await, Err(InvalidToken::Signature));
}

#[tokio::test]
async fn unknown_keys_make_the_issuer_be_asked_once_in_ten_seconds() {
    let publisher = Publisher::of(&[Signer::Ec1]);
    let verifier = by_published(&publisher);
    assert!(verifier.verify(&Signer::Ec1.usual(), at(0)).await.is_ok());
    let signed = Signer::Ec2.usual();
    let (_, rest) = signed.split_once('.').expect("three parts");
    for secs in 0..60 {
        for number in 0..5 {
            let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"ES256","kid":"{secs}-{number}"}}"#));
            let junk = format!("{header}.{rest}");
            assert_eq!(verifier.verify(&junk, at(secs)).await, Err(InvalidToken::UnknownKey));
        }
    }
    assert_eq!(publisher.fetches(), 1 + 6);
    publisher.publish(&[Signer::Ec1, Signer::Ec2]);
    assert!(verifier.verify(&lasting(Signer::Ec2), at(60)).await.is_ok(), "at the latest ten seconds later");
}

#[tokio::test]
async fn all_who_bring_the_new_key_at_once_wait_for_the_same_fetch() {
    let publisher = Publisher::of(&[Signer::Rsa1]);
    let verifier = by_published(&publisher);
    assert!(verifier.verify(&lasting(Signer::Rsa1), at(0)).await.is_ok());
    publisher.publish(&[Signer::Rsa1, Signer::Ec1]);
    let token = Signer::Ec1.usual();
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let (verifier, token) = (Arc::clone(&verifier), token.clone());
            tokio::spawn(async move { verifier.verify(&token, at(1)).await })
        })
        .collect();
    for caller in callers {
        assert!(caller.await.expect("it does not panic").is_ok());
    }
    assert_eq!(publisher.fetches(), 2);
}

#[tokio::test]
async fn a_fetch_that_was_answered_before_the_rotation_is_followed_by_another() {
    let publisher = Publisher::of(&[Signer::Rsa1]);
    let verifier = by_published(&publisher);
    assert!(verifier.verify(&lasting(Signer::Rsa1), at(0)).await.is_ok());
    // The refresh is answered with the old keys, which are under way when the new one is published.
    assert!(verifier.verify(&lasting(Signer::Rsa1), at(301)).await.is_ok());
    while publisher.fetches() < 2 {
        tokio::task::yield_now().await;
    }
    publisher.publish(&[Signer::Rsa1, Signer::Ec1]);
    assert!(verifier.verify(&lasting(Signer::Ec1), at(301)).await.is_ok());
    assert_eq!(publisher.fetches(), 3);
}

#[tokio::test]
async fn a_token_that_names_no_key_is_tried_against_those_of_its_kind() {
    let publisher = Publisher::of(&[Signer::Ec1, Signer::Rsa1, Signer::Rsa2]);
    let verifier = by_published(&publisher);
    let unnamed = |signer: Signer| {
        let header = with(signer.header(), json!({ "kid": null }));
        signer.sign_text(&header.to_string(), &claims(json!({})).to_string())
    };
    for signer in [Signer::Rsa1, Signer::Rsa2, Signer::Ec1] {
        assert!(verifier.verify(&unnamed(signer), at(0)).await.is_ok(), "{signer:?}");
    }
    assert_eq!(verifier.verify(&unnamed(Signer::Ec2), at(1)).await, Err(InvalidToken::UnknownKey));
    publisher.publish(&[Signer::Ec2]);
    assert!(verifier.verify(&unnamed(Signer::Ec2), at(12)).await.is_ok(), "a rotation without names");
}

#[tokio::test]
async fn of_many_keys_of_a_kind_only_a_few_are_tried_for_a_token_without_a_name() {
    let publisher = Publisher::of(&[]);
    let mut keys: Vec<_> =
        (0..4).map(|number| with(Signer::Ec1.published(), json!({ "kid": number.to_string() }))).collect();
    keys.push(Signer::Ec2.published());
    publisher.publish_keys(&keys);
    let verifier = by_published(&publisher);
    let header = with(Signer::Ec2.header(), json!({ "kid": null }));
    let unnamed = Signer::Ec2.sign_text(&header.to_string(), &claims(json!({})).to_string());
    assert_eq!(verifier.verify(&unnamed, at(0)).await, Err(InvalidToken::UnknownKey));
    assert!(verifier.verify(&Signer::Ec2.usual(), at(0)).await.is_ok());
}
