//! Tokens that are not to be believed, each for its one fault: the same token without it is.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tollgate_identity::{InvalidToken, Verifier, VerifierSettings};

use crate::fixture::{Publisher, SECRET, Signer, at, by_published, by_secret, claims, settings, with};

const HS: Signer = Signer::Secret(SECRET);

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

async fn check(verifier: &Verifier, token: &str, expected: InvalidToken, why: &str) {
    assert_eq!(verifier.verify(token, at(0)).await, Err(expected), "{why}: {token}");
}

#[tokio::test]
async fn claims_that_are_not_as_expected() {
    let verifier = by_secret();
    assert!(verifier.verify(&HS.usual(), at(0)).await.is_ok());
    let published = Publisher::of(&[Signer::Ec1]);
    let by_keys = by_published(&published);
    assert!(by_keys.verify(&Signer::Ec1.usual(), at(0)).await.is_ok());
    let long: String = "ü".repeat(256);
    for (changes, expected) in [
        (json!({ "exp": null }), InvalidToken::NoExpiry),
        (json!({ "exp": "1772367000" }), InvalidToken::Claim("exp")),
        (json!({ "exp": [1_772_367_000] }), InvalidToken::Claim("exp")),
        (json!({ "exp": 0 }), InvalidToken::Expired),
        (json!({ "exp": -1e300 }), InvalidToken::Expired),
        (json!({ "nbf": "yesterday" }), InvalidToken::Claim("nbf")),
        (json!({ "nbf": 1e300 }), InvalidToken::NotYetValid),
        (json!({ "nbf": u64::MAX }), InvalidToken::NotYetValid),
        (json!({ "iss": null }), InvalidToken::Issuer),
        (json!({ "iss": "https://issuer.example/" }), InvalidToken::Issuer),
        (json!({ "iss": ["https://issuer.example"] }), InvalidToken::Issuer),
        (json!({ "aud": null }), InvalidToken::Audience),
        (json!({ "aud": "tollgate-3" }), InvalidToken::Audience),
        (json!({ "aud": [] }), InvalidToken::Audience),
        (json!({ "aud": ["other", "Tollgate"] }), InvalidToken::Audience),
        (json!({ "aud": ["tollgate", 7] }), InvalidToken::Claim("aud")),
        (json!({ "aud": { "tollgate": true } }), InvalidToken::Claim("aud")),
        (json!({ "sub": null }), InvalidToken::Subject),
        (json!({ "sub": "" }), InvalidToken::Subject),
        (json!({ "sub": 7 }), InvalidToken::Subject),
        (json!({ "sub": long }), InvalidToken::Subject),
        (json!({ "sub": "user\n1" }), InvalidToken::Subject),
        (json!({ "sub": "user\u{7f}" }), InvalidToken::Subject),
    ] {
        let claims = claims(changes);
        check(&verifier, &HS.token(&claims), expected, "secret").await;
        check(&by_keys, &Signer::Ec1.token(&claims), expected, "published").await;
    }
    // A claim that is null is there, and is no instant.
    let null = r#"{"sub":"user-1","exp":null,"iss":"https://issuer.example","aud":"tollgate"}"#;
    check(&verifier, &HS.sign_text(&HS.header().to_string(), null), InvalidToken::Claim("exp"), "null").await;
}

#[tokio::test]
async fn headers_that_are_not_as_expected() {
    let verifier = by_secret();
    let usual = claims(json!({})).to_string();
    for (header, expected) in [
        (json!({ "alg": "HS256", "crit": [] }), InvalidToken::Critical),
        (json!({ "alg": "HS256", "crit": ["b64"], "b64": false }), InvalidToken::Critical),
        (json!({ "alg": "HS256", "typ": "logout+jwt" }), InvalidToken::Type),
        (json!({ "alg": "HS256", "typ": "" }), InvalidToken::Type),
        (json!({ "alg": "HS256", "typ": 1 }), InvalidToken::Malformed),
        (json!({ "alg": "hs256" }), InvalidToken::Algorithm),
        (json!({ "alg": "HS384" }), InvalidToken::Algorithm),
        (json!({ "alg": "HS512" }), InvalidToken::Algorithm),
        (json!({ "alg": "RS256" }), InvalidToken::Algorithm),
        (json!({ "alg": "none" }), InvalidToken::Algorithm),
        (json!({ "alg": "" }), InvalidToken::Algorithm),
        (json!({ "alg": null }), InvalidToken::Malformed),
        (json!({ "kid": "k" }), InvalidToken::Malformed),
        (json!(["HS256"]), InvalidToken::Malformed),
    ] {
        check(&verifier, &HS.sign_text(&header.to_string(), &usual), expected, "header").await;
    }
    for header in ["", "null", "{", r#"{"alg":"none","alg":"HS256"}"#] {
        check(&verifier, &HS.sign_text(header, &usual), InvalidToken::Malformed, "header").await;
    }
    for header in [
        json!({ "alg": "HS256" }),
        json!({ "alg": "HS256", "typ": "jwt", "kid": "any", "cty": "x" }),
        json!({ "alg": "HS256", "typ": "application/at+JWT" }),
    ] {
        assert!(verifier.verify(&HS.sign_text(&header.to_string(), &usual), at(0)).await.is_ok(), "{header}");
    }
}

#[tokio::test]
async fn texts_that_are_no_token() {
    let verifier = by_secret();
    let good = HS.usual();
    let (message, signature) = good.rsplit_once('.').expect("three parts");
    let (header, payload) = message.split_once('.').expect("three parts");
    let padded = format!("{}.{payload}.{signature}", URL_SAFE.encode(HS.header().to_string()));
    let other_alphabet = format!("{message}.{}", STANDARD_NO_PAD.encode([0xff; 32]));
    let texts: &[String] = &[
        String::new(),
        ".".into(),
        "..".into(),
        "...".into(),
        message.into(),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}.{signature}"),
        format!(" {good}"),
        format!("{good}\n"),
        format!("Bearer {good}"),
        format!("{header}..{signature}"),
        format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode("[]")),
        padded,
        other_alphabet,
        "tg_live_abc".into(),
        "ü.ü.ü".into(),
    ];
    for text in texts {
        check(&verifier, text, InvalidToken::Malformed, "no token").await;
    }
    check(&verifier, &format!("{message}."), InvalidToken::Signature, "no signature").await;
    let stuffed = HS.token(&claims(json!({ "stuffing": "x".repeat(8_192) })));
    check(&verifier, &stuffed, InvalidToken::TooLong, "8 KiB is the most").await;
}

#[tokio::test]
async fn signatures_of_somebody_else() {
    let verifier = by_secret();
    for secret in [&b""[..], b"another secret of more than thirty-two", &SECRET[1..]] {
        let forged = Signer::Secret(Box::leak(secret.to_vec().into())).usual();
        check(&verifier, &forged, InvalidToken::Signature, "another secret").await;
    }
    let published = Publisher::of(&[Signer::Rsa1, Signer::Ec1]);
    let by_keys = by_published(&published);
    let usual = claims(json!({})).to_string();
    for (signer, named) in [(Signer::Rsa2, Signer::Rsa1), (Signer::Ec2, Signer::Ec1)] {
        let forged = signer.sign_text(&named.header().to_string(), &usual);
        check(&by_keys, &forged, InvalidToken::Signature, "another key").await;
        let brought = with(signer.header(), json!({ "jwk": signer.published(), "jku": "https://evil.example/keys" }));
        check(&by_keys, &signer.sign_text(&brought.to_string(), &usual), InvalidToken::UnknownKey, "its own key").await;
    }
    for (name, empty) in [("RS256", Signer::Rsa1), ("ES256", Signer::Ec1)] {
        let header = encoded(&json!({ "alg": name, "kid": empty.key_id() }));
        for signature in [vec![], vec![0; 64], vec![0; 256]] {
            let forged = format!("{header}.{}.{}", URL_SAFE_NO_PAD.encode(&usual), URL_SAFE_NO_PAD.encode(signature));
            check(&by_keys, &forged, InvalidToken::Signature, "zeros").await;
        }
    }
}

#[tokio::test]
async fn algorithms_that_the_keys_are_not_for() {
    let published = Publisher::of(&[Signer::Rsa1, Signer::Ec1]);
    let verifier = by_published(&published);
    let usual = claims(json!({})).to_string();
    for name in ["none", "None", "nOnE", "HS256", "HS512", "RS384", "RS512", "PS256", "ES384", "EdDSA", ""] {
        for signer in [Signer::Rsa1, Signer::Ec1] {
            let header = with(signer.header(), json!({ "alg": name }));
            let unsigned = format!("{}.{}.", encoded(&header), URL_SAFE_NO_PAD.encode(&usual));
            check(&verifier, &unsigned, InvalidToken::Algorithm, "unsigned").await;
            let signed = signer.sign_text(&header.to_string(), &usual);
            check(&verifier, &signed, InvalidToken::Algorithm, "renamed").await;
        }
    }
    // The public key in each of its forms as if it were a secret.
    let key = Signer::Rsa1.published();
    let modulus = key["n"].as_str().expect("it has one").to_owned();
    let bytes = URL_SAFE_NO_PAD.decode(&modulus).expect("base64url");
    for secret in [key.to_string().into_bytes(), modulus.into_bytes(), bytes, Vec::new()] {
        let header = json!({ "alg": "HS256", "kid": Signer::Rsa1.key_id() });
        let forged = Signer::Secret(Box::leak(secret.into())).sign_text(&header.to_string(), &usual);
        check(&verifier, &forged, InvalidToken::Algorithm, "public key as secret").await;
    }
    for (named, alg) in [(Signer::Ec1, "RS256"), (Signer::Rsa1, "ES256")] {
        let header = json!({ "alg": alg, "kid": named.key_id() }).to_string();
        for signer in [Signer::Rsa1, Signer::Ec1] {
            check(&verifier, &signer.sign_text(&header, &usual), InvalidToken::Algorithm, "crossed").await;
        }
    }
    assert_eq!(published.fetches(), 1, "no key was missing");
}

#[tokio::test]
async fn keys_that_are_not_fit_for_use() {
    let published = Publisher::of(&[]);
    let oct = json!({ "kty": "oct", "kid": "secret", "alg": "HS256", "k": URL_SAFE_NO_PAD.encode(SECRET) });
    let off_the_curve = with(Signer::Ec1.published(), json!({ "x": Signer::Ec2.published()["x"] }));
    let cases = [
        (with(Signer::Rsa1.published(), json!({ "use": "enc" })), Signer::Rsa1),
        (with(Signer::Rsa1.published(), json!({ "key_ops": ["encrypt"] })), Signer::Rsa1),
        (with(Signer::Rsa1.published(), json!({ "alg": "PS256" })), Signer::Rsa1),
        (with(Signer::Rsa1.published(), json!({ "e": "AA" })), Signer::Rsa1),
        (with(Signer::Rsa1.published(), json!({ "n": "" })), Signer::Rsa1),
        (with(Signer::Rsa1.published(), json!({ "n": null })), Signer::Rsa1),
        (with(Signer::Rsa1.published(), json!({ "kid": 7 })), Signer::Rsa1),
        (Signer::RsaWeak.published(), Signer::RsaWeak),
        (with(Signer::Ec1.published(), json!({ "crv": "P-384" })), Signer::Ec1),
        (with(Signer::Ec1.published(), json!({ "x": "AAAA" })), Signer::Ec1),
        (off_the_curve, Signer::Ec1),
        (with(Signer::Ec1.published(), json!({ "kty": "OKP" })), Signer::Ec1),
        (json!("key"), Signer::Ec1),
    ];
    for (key, signer) in cases {
        published.publish_keys(&[key.clone(), oct.clone(), Signer::Ec2.published()]);
        let verifier = by_published(&published);
        check(&verifier, &signer.usual(), InvalidToken::UnknownKey, &key.to_string()).await;
        assert!(verifier.verify(&Signer::Ec2.usual(), at(0)).await.is_ok(), "one spoils no other: {key}");
        let header = json!({ "alg": "HS256", "kid": "secret" }).to_string();
        let forged = HS.sign_text(&header, &claims(json!({})).to_string());
        check(&verifier, &forged, InvalidToken::Algorithm, "a secret is not published").await;
    }
}

#[tokio::test]
async fn without_keys_and_with_too_short_a_secret_nothing_is_believed() {
    for secret in [&b""[..], &SECRET[..31]] {
        let settings = VerifierSettings { secret: Some(secret.to_vec()), ..settings() };
        let token = Signer::Secret(Box::leak(secret.to_vec().into())).usual();
        check(&Verifier::new(settings, None), &token, InvalidToken::Unavailable, "too short").await;
    }
    let verifier = Verifier::new(VerifierSettings { audience: Vec::new(), ..settings() }, None);
    for token in [HS.usual(), Signer::Secret(b"").usual(), Signer::Ec1.usual()] {
        check(&verifier, &token, InvalidToken::Unavailable, "no keys").await;
    }
}

#[test]
fn settings_do_not_show_their_secret() {
    let settings = VerifierSettings { secret: Some(b"hunter2".to_vec()), ..settings() };
    let shown = format!("{settings:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("104, 117"), "{shown}");
}
