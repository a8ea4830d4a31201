//! What a believed token says of its bearer, and when it is believed.

use std::time::Duration;

use serde_json::{Value, json};
use tollgate_domain::Timestamp;
use tollgate_identity::{Identity, InvalidToken, Verifier, VerifierSettings};

use crate::fixture::{NOON_SECS, Publisher, SECRET, Signer, at, by_published, by_secret, claims, settings};

const HS: Signer = Signer::Secret(SECRET);

async fn identity(verifier: &Verifier, changes: Value) -> Identity {
    verifier.verify(&HS.token(&claims(changes)), at(0)).await.expect("it is good")
}

#[tokio::test]
async fn every_kind_of_key_tells_the_bearer() {
    let changes = json!({ "email": "ada@example.com", "email_verified": true, "name": "Ada" });
    let expected = Identity {
        subject: "user-1".into(),
        email: Some("ada@example.com".into()),
        email_verified: true,
        name: Some("Ada".into()),
        expires_at: at(600),
    };
    let claims = claims(changes);
    assert_eq!(by_secret().verify(&HS.token(&claims), at(0)).await, Ok(expected.clone()));
    let verifier = by_published(&Publisher::of(&[Signer::Rsa1, Signer::Ec1]));
    for signer in [Signer::Rsa1, Signer::Ec1] {
        let token = signer.token(&claims);
        for _ in 0..2 {
            assert_eq!(verifier.verify(&token, at(0)).await, Ok(expected.clone()), "{signer:?}, remembered too");
        }
    }
}

#[tokio::test]
async fn a_token_is_believed_from_not_before_to_before_expiry_give_or_take_the_leeway() {
    let by_keys = by_published(&Publisher::of(&[Signer::Ec1]));
    let by_secret = by_secret();
    let claims = claims(json!({ "nbf": NOON_SECS, "exp": NOON_SECS + 100 }));
    let (secret_token, key_token) = (HS.token(&claims), Signer::Ec1.token(&claims));
    for (now, expected) in [
        (at(-60) + -1, Err(InvalidToken::NotYetValid)),
        (at(-60), Ok(())),
        (at(0), Ok(())),
        (at(160) + -1, Ok(())),
        (at(160), Err(InvalidToken::Expired)),
        // Remembered by then.
        (at(-60) + -1, Err(InvalidToken::NotYetValid)),
        (Timestamp::from_micros(i64::MAX), Err(InvalidToken::Expired)),
        (Timestamp::from_micros(i64::MIN), Err(InvalidToken::NotYetValid)),
    ] {
        assert_eq!(by_secret.verify(&secret_token, now).await.map(|_| ()), expected, "secret, {now}");
        assert_eq!(by_keys.verify(&key_token, now).await.map(|_| ()), expected, "published, {now}");
    }
}

#[tokio::test]
async fn instants_may_have_a_fraction_and_lie_anywhere() {
    #[expect(clippy::cast_precision_loss, reason = "a few billions are exact")]
    let halves = NOON_SECS as f64 + 0.5;
    let verifier =
        Verifier::new(VerifierSettings { secret: Some(SECRET.to_vec()), leeway: Duration::ZERO, ..settings() }, None);
    let token = HS.token(&claims(json!({ "exp": halves })));
    assert_eq!(verifier.verify(&token, at(0) + 499_999).await.map(|who| who.expires_at), Ok(at(0) + 500_000));
    assert_eq!(verifier.verify(&token, at(0) + 500_000).await, Err(InvalidToken::Expired));
    for never in [json!(1e300), json!(u64::MAX), json!(i64::MAX)] {
        let token = HS.token(&claims(json!({ "exp": never })));
        assert_eq!(
            verifier.verify(&token, at(0)).await.map(|who| who.expires_at),
            Ok(Timestamp::from_micros(i64::MAX))
        );
    }
}

#[tokio::test]
async fn without_expected_audience_only_tokens_for_nobody_in_particular_are_believed() {
    let settings = VerifierSettings { secret: Some(SECRET.to_vec()), audience: Vec::new(), ..settings() };
    let verifier = Verifier::new(settings, None);
    for (audience, expected) in [
        (json!(null), Ok(())),
        (json!([]), Ok(())),
        (json!("tollgate"), Err(InvalidToken::Audience)),
        (json!(["tollgate"]), Err(InvalidToken::Audience)),
        (json!(""), Err(InvalidToken::Audience)),
    ] {
        let token = HS.token(&claims(json!({ "aud": audience })));
        assert_eq!(verifier.verify(&token, at(0)).await.map(|_| ()), expected, "{audience}");
    }
}

#[tokio::test]
async fn one_of_several_audiences_is_enough_and_no_issuer_is_asked_for_where_none_is_set() {
    let settings = VerifierSettings { secret: Some(SECRET.to_vec()), issuer: None, ..settings() };
    let verifier = Verifier::new(settings, None);
    for changes in [
        json!({ "aud": ["other", "tollgate-2"], "iss": null }),
        json!({ "aud": "tollgate-2", "iss": "https://elsewhere.example" }),
        json!({ "iss": 7 }),
    ] {
        assert_eq!(identity(&verifier, changes).await.subject, "user-1");
    }
}

#[tokio::test]
async fn subjects_are_taken_as_they_are() {
    let long = "ü".repeat(255);
    for subject in ["auth0|65f", " spaced ", "7", "日本", long.as_str()] {
        assert_eq!(identity(&by_secret(), json!({ "sub": subject })).await.subject, subject);
    }
}

#[tokio::test]
async fn only_true_itself_verifies_an_address_that_looks_like_one() {
    let longest = format!("{}@example.com", "x".repeat(242));
    for (email, verified, expected) in [
        (json!("ada@example.com"), json!(true), (Some("ada@example.com"), true)),
        (json!("ada@localhost"), json!(true), (Some("ada@localhost"), true)),
        (json!(longest), json!(true), (Some(longest.as_str()), true)),
        (json!("ada@example.com"), json!("true"), (Some("ada@example.com"), false)),
        (json!("ada@example.com"), json!(1), (Some("ada@example.com"), false)),
        (json!("ada@example.com"), json!(null), (Some("ada@example.com"), false)),
        (json!("ada@example.com"), json!(false), (Some("ada@example.com"), false)),
        (json!(format!("x{longest}")), json!(true), (None, false)),
        (json!("ada"), json!(true), (None, false)),
        (json!("@example.com"), json!(true), (None, false)),
        (json!("ada@"), json!(true), (None, false)),
        (json!("ada@eve@example.com"), json!(true), (None, false)),
        (json!("ada @example.com"), json!(true), (None, false)),
        (json!("ada@example.com\r\nBcc: eve@example.com"), json!(true), (None, false)),
        (json!(["ada@example.com"]), json!(true), (None, false)),
        (json!(null), json!(true), (None, false)),
    ] {
        let who = identity(&by_secret(), json!({ "email": email, "email_verified": verified })).await;
        assert_eq!((who.email.as_deref(), who.email_verified), expected, "{email} {verified}");
    }
}

#[tokio::test]
async fn a_name_is_found_where_the_settings_say_and_made_fit_to_be_shown() {
    let all = json!({
        "name": "Ada",
        "user_metadata": { "full_name": "Ada Lovelace", "deep": { "er": "Countess" } },
        "https://example.com/name": "Augusta",
        "wide": " \tAda\u{0}\r\nLovelace ",
        "long": format!("{} {}", "ü".repeat(199), "x".repeat(99)),
        "blank": " \n ",
        "number": 7,
        "list": ["Ada"],
    });
    let longest = "ü".repeat(199);
    for (path, expected) in [
        ("name", Some("Ada")),
        ("user_metadata.full_name", Some("Ada Lovelace")),
        ("user_metadata.deep.er", Some("Countess")),
        ("https://example.com/name", Some("Augusta")),
        ("wide", Some("AdaLovelace")),
        ("long", Some(longest.as_str())),
        ("blank", None),
        ("number", None),
        ("list", None),
        ("list.0", None),
        ("user_metadata", None),
        ("user_metadata.none", None),
        ("name.first", None),
        ("none.at.all", None),
        ("", None),
        (".", None),
    ] {
        let settings = VerifierSettings { secret: Some(SECRET.to_vec()), name_claim: path.into(), ..settings() };
        let who = identity(&Verifier::new(settings, None), all.clone()).await;
        assert_eq!(who.name.as_deref(), expected, "{path}");
    }
}
