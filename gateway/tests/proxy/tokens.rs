//! Routes that the backend's own tokens open.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;
use tollgate_domain::Clock;
use tollgate_gateway::SystemClock;
use tollgate_identity::{FetchError, KeySource, Verifier, VerifierSettings};

use super::support::{Fixture, header};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const CONFIG: &str = r#"
[plans.pro]
rate = "600/minute"
quota = "2/month"
[auth.jwt]
secret = "0123456789abcdef0123456789abcdef"
audience = "api"
cookie = "session"
[[routes]]
path = "/private"
access = "jwt"
max_body = "4B"
[cors]
origins = ["https://example.com"]
methods = ["GET", "POST"]
headers = ["authorization"]
"#;

fn settings() -> VerifierSettings {
    VerifierSettings {
        secret: Some(SECRET.into()),
        issuer: None,
        audience: vec!["api".into()],
        leeway: Duration::from_secs(1),
        name_claim: "name".into(),
    }
}

/// A token of this subject that is over in so many seconds.
fn token(subject: &str, seconds: i64) -> String {
    let claims = json!({ "sub": subject, "exp": SystemClock.now().as_secs() + seconds, "aud": "api" });
    encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).expect("a token")
}

async fn fixture() -> Fixture {
    Fixture::start_with(CONFIG, Some(Verifier::new(settings(), None))).await
}

#[tokio::test]
async fn a_good_token_goes_on_untouched_and_nothing_is_charged() {
    let fixture = fixture().await;
    let (good, key) = (token("u1", 60), fixture.key.clone());
    let lines = [
        vec![format!("Authorization: Bearer {good}")],
        vec![format!("authorization: bearer {good}"), format!("Cookie: a=1; session={good}; b=2")],
        vec![format!("Cookie: a=1;session = {good} ; b=2")],
        vec![format!("Authorization: Bearer {good}"), format!("Cookie: session={}", token("u1", 61))],
        vec!["Authorization: Basic dTpw".into(), format!("Cookie: session={good}")],
    ];
    for lines in &lines {
        let mut sent: Vec<&str> = lines.iter().map(String::as_str).collect();
        let key = format!("x-api-key: {key}");
        sent.extend([&key, "X-Tollgate-Account: acct_1", "x_tollgate_plan: pro"]);
        let answer = fixture.send("GET /private", &sent, "").await;
        assert_eq!(answer.status(), 200, "{answer:?}");
        assert_eq!(answer.header("ratelimit"), None, "it has no limits");
        let seen = fixture.backend.seen();
        for line in lines {
            let (name, value) = line.split_once(": ").expect("a header");
            assert_eq!(header(&seen, name).collect::<Vec<_>>(), [value.trim()], "as it came");
        }
        assert!(!seen.contains("tg_live") && !seen.to_lowercase().contains("tollgate"), "{seen}");
    }
    let counted = fixture.stop().await;
    assert_eq!(counted.tally(None, false).calls, 0);
    assert!(counted.log.iter().all(|line| line["outcome"] == "signed_in" && line["route"] == "private"));
    assert_eq!(counted.log.len(), lines.len());
}

#[tokio::test]
async fn any_other_token_is_refused_with_the_reason_and_never_repeated() {
    let fixture = fixture().await;
    let good = token("u1", 60);
    let mut forged = good.clone();
    forged.replace_range(good.len() - 4.., "AAAA");
    let bearer = |token: &str| vec![format!("Authorization: Bearer {token}")];
    let cookie = |cookies: &str| vec![format!("Cookie: {cookies}")];
    let none = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1MSJ9.";
    let other = format!("session={}", token("u2", 60));
    for (lines, detail, challenge) in [
        (vec![], "Missing bearer token", "Bearer realm=\"api\""),
        (vec!["Authorization: Basic dTpw".into()], "Missing bearer token", "Bearer realm=\"api\""),
        (bearer(""), "Missing bearer token", "Bearer realm=\"api\""),
        (bearer(&fixture.key), "Missing bearer token", "Bearer realm=\"api\""),
        (cookie(&format!("sessions={good}; Session={good}")), "Missing bearer token", "Bearer realm=\"api\""),
        (bearer(&token("u1", -60)), "Token has expired", "error=\"invalid_token\""),
        (bearer(&forged), "Token has a wrong signature", "error=\"invalid_token\""),
        (bearer(none), "Token is not signed with an accepted algorithm", "error=\"invalid_token\""),
        (bearer("x"), "Token is not a signed JWT", "error=\"invalid_token\""),
        (cookie(&format!("session=\"{good}\"")), "Token is not a signed JWT", "error=\"invalid_token\""),
        (cookie("session="), "Token is not a signed JWT", "error=\"invalid_token\""),
        (cookie(&format!("session={good}; {other}")), "Two different tokens", "error=\"invalid_token\""),
        ([bearer(&good), bearer(none)].concat(), "Two different tokens", "error=\"invalid_token\""),
        ([bearer(&good), cookie(&other)].concat(), "Two tokens of different users", "error=\"invalid_token\""),
        ([bearer(&good), cookie("session=x")].concat(), "Token is not a signed JWT", "error=\"invalid_token\""),
    ] {
        let mut sent: Vec<&str> = lines.iter().map(String::as_str).collect();
        sent.push("Origin: https://example.com");
        let answer = fixture.send("GET /private", &sent, "").await;
        let problem = answer.problem();
        assert_eq!((answer.status(), &problem["code"]), (401, &json!("invalid_token")), "{lines:?} {answer:?}");
        assert!(problem["detail"].as_str().is_some_and(|told| told.starts_with(detail)), "{lines:?} {problem}");
        let told = answer.header("www-authenticate").expect("a 401 has a challenge");
        assert!(told.starts_with("Bearer ") && told.contains(challenge), "{told}");
        assert_eq!(told.contains("error="), detail != "Missing bearer token", "{told}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://example.com"));
        assert!(!answer.body.contains("eyJ") && !told.contains("eyJ"), "{answer:?}");
        assert!(fixture.backend.seen_none());
    }
    let counted = fixture.stop().await;
    assert!(counted.log.iter().all(|line| line["outcome"] == "invalid_token"), "{:?}", counted.log);
    assert_eq!(counted.log.iter().filter(|line| line["reason"] == "no_token").count(), 5);
}

#[tokio::test]
async fn a_preflight_needs_no_token_and_a_body_is_bounded_as_on_any_route() {
    let fixture = fixture().await;
    let asked = ["Origin: https://example.com", "Access-Control-Request-Method: POST"];
    let preflight = fixture.send("OPTIONS /private", &asked, "").await;
    assert_eq!((preflight.status(), preflight.header("access-control-allow-headers")), (204, Some("authorization")));
    let authorization = format!("Authorization: Bearer {}", token("u1", 60));
    for (body, status) in [("1234", 200), ("12345", 413)] {
        assert_eq!(fixture.send("POST /private", &[&authorization], body).await.status(), status, "{body}");
    }
    assert_eq!(fixture.send("POST /private", &[], "12345").await.status(), 401, "a stranger learns no more");
}

/// An issuer that nobody reaches.
struct Away;

#[async_trait]
impl KeySource for Away {
    async fn fetch(&self) -> Result<Vec<u8>, FetchError> {
        Err(FetchError::new("nobody answers"))
    }
}

#[tokio::test]
async fn where_the_issuers_keys_are_not_to_be_had_nobody_is_let_in_and_nobody_is_blamed() {
    let published = VerifierSettings { secret: None, ..settings() };
    // A token that could be good, were its key known.
    let [head, claims] = [
        r#"{"alg":"RS256","kid":"1"}"#.to_owned(),
        json!({ "sub": "u1", "exp": SystemClock.now().as_secs() + 60, "aud": "api" }).to_string(),
    ]
    .map(|part| base64_url(part.as_bytes()));
    let authorization = format!("Authorization: Bearer {head}.{claims}.{}", base64_url(&[1; 256]));
    for verifier in [None, Some(Verifier::new(published, Some(Arc::new(Away))))] {
        let fixture = Fixture::start_with(CONFIG, verifier).await;
        let answer = fixture.send("GET /private", &[&authorization], "").await;
        let problem = answer.problem();
        assert_eq!((answer.status(), &problem["code"]), (503, &json!("store_unavailable")), "{answer:?}");
        assert_eq!((answer.header("retry-after"), &problem["detail"]), (Some("1"), &json!("Key store unavailable")));
        assert!(fixture.backend.seen_none());
    }
}

fn base64_url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let number =
            chunk.iter().fold(0_usize, |number, byte| number << 8 | usize::from(*byte)) << (8 * (3 - chunk.len()));
        (0..=chunk.len()).for_each(|at| text.push(char::from(DIGITS[number >> (18 - 6 * at) & 63])));
    }
    text
}
