#![expect(clippy::unwrap_used, reason = "what is made here is made well")]

use proptest::prelude::*;

use super::*;

const NOW: i64 = 1_773_144_000;
const BODY: &[u8] = br#"{"id":"evt_1"}"#;

fn secrets(texts: &[&str]) -> Vec<Secret> {
    texts.iter().map(|text| Secret::new(*text)).collect()
}

fn signature(secret: &str, at: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{at}.").as_bytes());
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

fn verified(header: &str, ours: &[&str]) -> Result<(), InvalidSignature> {
    verify(Some(header), BODY, &secrets(ours), Timestamp::from_secs(NOW))
}

#[test]
fn a_signature_made_by_stripes_own_library_is_believed() {
    // `WebhookSignature._compute_signature('1773144000.{"id":"evt_1"}', "whsec_tollgate")` of the official Python library.
    let header = "t=1773144000,v1=bd18cd65a26fe0e897bc18e5e6d7c072c2f600fdb65e33c941846cd679db1d63";
    assert_eq!(verified(header, &["whsec_tollgate"]), Ok(()));
    assert_eq!(verified(header, &["whsec_other"]), Err(InvalidSignature::Mismatch));
}

#[test]
fn every_form_of_a_header_is_judged() {
    use InvalidSignature::{Malformed, Mismatch, NoScheme, Stale};
    let good = signature("one", "1773144000", BODY);
    let of_two = signature("two", "1773144000", BODY);
    let forged = signature("guess", "1773144000", BODY);
    let upper = good.to_uppercase();
    let at = |offset: i64| {
        let at = (NOW + offset).to_string();
        format!("t={at},v1={}", signature("one", &at, BODY))
    };
    let table: Vec<(String, Result<(), InvalidSignature>)> = vec![
        (format!("t={NOW},v1={good}"), Ok(())),
        (format!("v1={good},t={NOW}"), Ok(())),
        (format!("t={NOW}, v1={good}"), Ok(())),
        (format!("t={NOW},v1={upper}"), Ok(())),
        (format!("t={NOW},v0={forged},v1={good}"), Ok(())),
        (format!("t={NOW},v1={forged},v1={good}"), Ok(())),
        (format!("t={NOW},v1=zz,v1={good}"), Ok(())),
        (format!("t={NOW},v1={of_two}"), Ok(())),
        (format!("t={NOW},v2=whatever,v1={good}"), Ok(())),
        (at(-300), Ok(())),
        (at(300), Ok(())),
        (at(-301), Err(Stale)),
        (at(301), Err(Stale)),
        (format!("t={NOW},v1={forged}"), Err(Mismatch)),
        (format!("t={},v1={good}", NOW + 1), Err(Mismatch)),
        (format!("t={NOW},v1={}", &good[..62]), Err(Mismatch)),
        (format!("t={NOW},v1={good}00"), Err(Mismatch)),
        (format!("t={NOW},v1="), Err(Mismatch)),
        (format!("t={NOW},v0={good}"), Err(NoScheme)),
        (format!("t={NOW}"), Err(NoScheme)),
        (format!("t={NOW},V1={good}"), Err(NoScheme)),
        (format!("v1={good}"), Err(Malformed)),
        (format!("t=,v1={good}"), Err(Malformed)),
        (format!("t=-5,v1={good}"), Err(Malformed)),
        (format!("t=+{NOW},v1={good}"), Err(Malformed)),
        (format!("t={NOW}.5,v1={good}"), Err(Malformed)),
        (format!("t=99999999999999999999,v1={good}"), Err(Malformed)),
        (format!("t={NOW},t={NOW},v1={good}"), Err(Malformed)),
        (format!("t={NOW},v1"), Err(Malformed)),
        (format!("t={NOW},v1={good},"), Err(Malformed)),
        (good.clone(), Err(Malformed)),
        (String::new(), Err(Malformed)),
    ];
    for (header, expected) in table {
        assert_eq!(verified(&header, &["one", "two"]), expected, "{header}");
    }
}

#[test]
fn a_missing_header_is_refused() {
    let now = Timestamp::from_secs(NOW);
    assert_eq!(verify(None, BODY, &secrets(&["one"]), now), Err(InvalidSignature::Missing));
}

#[test]
fn without_a_secret_nothing_is_believed() {
    let made = signature("", "1773144000", BODY);
    assert_eq!(verified(&format!("t={NOW},v1={made}"), &[]), Err(InvalidSignature::Mismatch));
}

#[test]
fn signatures_beyond_the_bound_are_not_looked_at() {
    let forged = format!(",v1={}", signature("guess", "1773144000", BODY)).repeat(SIGNATURES_MAX);
    let good = signature("one", "1773144000", BODY);
    assert_eq!(verified(&format!("t={NOW}{forged},v1={good}"), &["one"]), Err(InvalidSignature::Mismatch));
}

proptest! {
    #[test]
    fn no_header_makes_it_panic(header in ".{0,200}", body in proptest::collection::vec(any::<u8>(), 0..64)) {
        let judged = verify(Some(&header), &body, &secrets(&["one"]), Timestamp::from_secs(NOW));
        prop_assert!(judged.is_err());
    }

    #[test]
    fn a_changed_body_secret_or_time_is_refused(
        body in proptest::collection::vec(any::<u8>(), 1..256),
        flipped in any::<proptest::sample::Index>(),
        bit in 0_u8..8,
        secret in "[a-z]{8,40}",
        offset in -300_i64..=300,
    ) {
        let at = (NOW + offset).to_string();
        let header = format!("t={at},v1={}", signature(&secret, &at, &body));
        let now = Timestamp::from_secs(NOW);
        prop_assert_eq!(verify(Some(&header), &body, &secrets(&[&secret]), now), Ok(()));
        let mut tampered = body.clone();
        tampered[flipped.index(body.len())] ^= 1 << bit;
        prop_assert_eq!(
            verify(Some(&header), &tampered, &secrets(&[&secret]), now),
            Err(InvalidSignature::Mismatch)
        );
        let other = format!("{secret}x");
        prop_assert_eq!(verify(Some(&header), &body, &secrets(&[&other]), now), Err(InvalidSignature::Mismatch));
        let later = header.replacen(&at, &(NOW + offset + 1).to_string(), 1);
        prop_assert_eq!(verify(Some(&later), &body, &secrets(&[&secret]), now), Err(InvalidSignature::Mismatch));
    }
}
