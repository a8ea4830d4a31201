//! Whatever is done to a token, it is not believed, and nothing panics.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use serde_json::json;
use tokio::runtime::Runtime;
use tollgate_identity::{InvalidToken, Verifier};

use crate::fixture::{Publisher, SECRET, Signer, at, by_published, by_secret, claims};

const HS: Signer = Signer::Secret(SECRET);

/// The usual tokens: signing is slow without optimisation.
static TOKENS: LazyLock<[String; 3]> = LazyLock::new(|| [Signer::Rsa1, Signer::Ec1, Signer::Ec2].map(Signer::usual));

/// One runtime for all cases; a property is no async function.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("threads can be made"));

fn verify(verifier: &Verifier, token: &str) -> Result<(), InvalidToken> {
    RUNTIME.block_on(verifier.verify(token, at(0))).map(|_| ())
}

#[tokio::test]
async fn no_character_of_a_token_can_be_exchanged() {
    let (by_secret, by_keys) = (by_secret(), by_published(&Publisher::of(&[Signer::Ec1])));
    for (verifier, token) in [(&by_secret, HS.usual()), (&*by_keys, Signer::Ec1.usual())] {
        assert!(verifier.verify(&token, at(0)).await.is_ok());
        for (place, character) in token.char_indices() {
            let other = if character == 'A' { "B" } else { "A" };
            let altered = format!("{}{other}{}", &token[..place], &token[place + 1..]);
            assert!(verifier.verify(&altered, at(0)).await.is_err(), "{altered}");
            let cut = &token[..place];
            assert!(verifier.verify(cut, at(0)).await.is_err(), "{cut}");
        }
        assert!(verifier.verify(&token, at(0)).await.is_ok());
    }
}

fn json_values() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        any::<i64>().prop_map(|value| json!(value)),
        any::<f64>().prop_map(|value| json!(value)),
        ".{0,12}".prop_map(|value| json!(value)),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|values| json!(values)),
            prop::collection::hash_map(".{0,6}", inner, 0..3).prop_map(|values| json!(values)),
        ]
    })
}

fn some_claims() -> impl Strategy<Value = serde_json::Value> {
    let names = prop::sample::select(vec!["exp", "nbf", "iss", "aud", "sub", "email", "email_verified", "name"]);
    prop::collection::vec((names, json_values()), 0..4).prop_map(|changes| {
        let mut claims = claims(json!({}));
        for (name, value) in changes {
            claims[name] = value;
        }
        claims
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_text_is_believed(text in ".{0,300}", parts in "[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,90}") {
        let (by_secret, by_keys) = (by_secret(), by_published(&Publisher::of(&[])));
        for token in [&text, &parts] {
            prop_assert!(verify(&by_secret, token).is_err());
            prop_assert!(verify(&by_keys, token).is_err());
        }
    }

    #[test]
    fn no_header_and_no_claims_are_believed_without_the_signature(
        header in json_values(), claims in some_claims(), signature in prop::collection::vec(any::<u8>(), 0..80)
    ) {
        let verifier = by_secret();
        for header in [header, json!({ "alg": "HS256" })] {
            let message =
                format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
            let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(&signature));
            prop_assert!(verify(&verifier, &token).is_err());
        }
    }

    #[test]
    fn whatever_is_signed_is_judged_without_panic(header in json_values(), claims in some_claims()) {
        let verifier = by_secret();
        for header in [header.to_string(), HS.header().to_string()] {
            let token = HS.sign_text(&header, &claims.to_string());
            if let Ok(who) = RUNTIME.block_on(verifier.verify(&token, at(0))) {
                prop_assert!((1..=255).contains(&who.subject.chars().count()));
                prop_assert!(who.email.is_some() || !who.email_verified);
                prop_assert!(who.expires_at > at(-60));
            }
        }
    }
}

proptest! {
    // Each case waits for keys several times.
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_published_is_read_without_panic(
        key in json_values(), member in prop::sample::select(vec!["kty", "n", "e", "x", "y", "crv", "kid", "use", "key_ops", "alg"]),
        text in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let publisher = Publisher::of(&[]);
        let altered = [Signer::Rsa1, Signer::Ec1].map(|signer| {
            let mut published = signer.published();
            published[member] = key.clone();
            published
        });
        publisher.publish_keys(&[altered[0].clone(), altered[1].clone(), key, Signer::Ec2.published()]);
        let verifier = by_published(&publisher);
        let [rsa_1, ec_1, ec_2] = &*TOKENS;
        for token in [rsa_1, ec_1] {
            let _either = verify(&verifier, token);
        }
        prop_assert_eq!(verify(&verifier, ec_2), Ok(()));
        publisher.answers(crate::fixture::Answer::Text(text));
        prop_assert_eq!(verify(&by_published(&publisher), ec_2), Err(InvalidToken::Unavailable));
    }
}
