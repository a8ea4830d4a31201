//! Tokens of the backend's own sign-in: on routes that ask for one, and on the customer's side.

use serde_json::{Value, json};
use tollgate_e2e::{
    Answer, Backend, Behaviour, Gate, Request, Setup, Side, Signer, now_secs, policy, tampered, unsigned,
};

const SECRET: Signer = Signer::Secret("a-secret-of-more-than-thirty-two-bytes");
const OTHER_SECRET: Signer = Signer::Secret("another-secret-of-more-than-32-bytes!");

const ROUTES: &str = r#"
[[routes]]
name = "app"
path = "/app/*"
access = "jwt"
[[routes]]
name = "events"
path = "/events/*"
"#;

/// A gate that believes these keys' tokens, for this issuer and audience.
fn start(backend: &Backend, keys: &str, more: &str) -> Gate {
    Setup::new(backend)
        .set("auth.jwt", keys)
        .set("auth.jwt", "issuer = \"https://auth.example.com/\"\naudience = [\"api\", \"web\"]\nleeway = \"5s\"")
        .set("auth.jwt", more)
        .policy(format!("[accounts]\ndefault_plan = \"pro\"\n{}{ROUTES}", policy::one_plan("quota = \"1_000/month\"")))
        .start()
}

fn by_secret(backend: &Backend, more: &str) -> Gate {
    let Signer::Secret(secret) = SECRET else { panic!("it is a secret") };
    start(backend, &format!("secret = \"{secret}\""), more)
}

/// Claims that are believed, but for what is changed; null takes one out.
fn claims(changes: Value) -> Value {
    let mut claims = json!({
        "sub": "user-1", "iss": "https://auth.example.com/", "aud": "api", "exp": now_secs() + 600,
        "email": "ada@example.com", "email_verified": true, "name": "Ada Lovelace",
    });
    let Value::Object(changes) = changes else { panic!("changes are an object") };
    for (name, value) in changes {
        claims[name] = value;
    }
    claims.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
    claims
}

fn good() -> String {
    SECRET.token(&claims(json!({})))
}

#[track_caller]
fn refused(answer: &Answer, what: &str) {
    let problem = answer.problem(401, "invalid_token");
    assert!(answer.header("www-authenticate").is_some_and(|challenge| challenge.starts_with("Bearer")), "{what}");
    assert!(!problem["detail"].as_str().unwrap_or_default().contains("auth.example.com"), "{what}: {problem:#}");
}

/// Tokens that nobody may believe.
fn bad_tokens() -> Vec<(&'static str, String)> {
    let now = now_secs();
    let of = |changes: Value| SECRET.token(&claims(changes));
    vec![
        ("expired", of(json!({ "exp": now - 60 }))),
        ("without an end", of(json!({ "exp": null }))),
        ("not valid yet", of(json!({ "nbf": now + 60 }))),
        ("for somebody else", of(json!({ "aud": "other" }))),
        ("for nobody", of(json!({ "aud": null }))),
        ("of another issuer", of(json!({ "iss": "https://evil.example/" }))),
        ("of no issuer", of(json!({ "iss": null }))),
        ("of nobody", of(json!({ "sub": null }))),
        ("alg none", unsigned(&claims(json!({})))),
        ("alg none with a signature", unsigned(&claims(json!({}))) + good().rsplit_once('.').expect("three parts").1),
        ("tampered", tampered(&good(), &claims(json!({ "sub": "user-2" })))),
        ("another secret", OTHER_SECRET.token(&claims(json!({})))),
        ("another algorithm", Signer::Rsa.token(&claims(json!({})))),
        ("no token", "not.a.token".to_owned()),
        ("two parts", good().rsplit_once('.').expect("three parts").0.to_owned()),
        ("too long", format!("{}{}", good(), "x".repeat(20_000))),
        ("claims that are no object", SECRET.token(&json!(["sub"]))),
    ]
}

#[test]
fn a_route_opens_to_a_valid_token_and_to_no_other() {
    let backend = Backend::start();
    let gate = by_secret(&backend, "");
    refused(&gate.send(&Request::get("/app/1")), "nothing");
    for (what, token) in bad_tokens() {
        refused(&gate.send(&Request::get("/app/1").bearer(&token)), what);
    }
    let key = gate.key("ada@example.com", "pro");
    refused(&gate.get("/app/1", &key), "a key is no token");
    assert_eq!(backend.count(), 0, "nothing of that arrived");
    for (what, token) in [
        ("usual", good()),
        ("for two", SECRET.token(&claims(json!({ "aud": ["x", "web"] })))),
        ("within the leeway", SECRET.token(&claims(json!({ "exp": now_secs() - 2, "nbf": now_secs() + 2 })))),
    ] {
        backend.forget();
        let answer = gate.send(&Request::get("/app/1?q=1").bearer(&token)).expect(200);
        let arrival = backend.only();
        assert_eq!(
            arrival.header("authorization"),
            Some(&*format!("Bearer {token}")),
            "{what}: the backend reads it too"
        );
        assert_eq!((arrival.target.as_str(), arrival.header("x-tollgate-account")), ("/app/1?q=1", None), "{what}");
        assert_eq!(answer.header("ratelimit"), None, "no limit is counted");
    }
    assert_eq!(gate.used("ada@example.com"), 0);
    let lines: Vec<String> =
        bad_tokens().into_iter().map(|(_, token)| token).filter(|token| gate.log().contains(token)).collect();
    assert_eq!(lines, [""; 0], "no token in the log");
}

#[test]
fn a_named_cookie_carries_a_token_as_well() {
    let backend = Backend::start();
    let gate = by_secret(&backend, "cookie = \"access_token\"");
    let ask = |cookie: &str| gate.send(&Request::get("/app/1").header("cookie", cookie));
    ask(&format!("a=1; access_token={}; b=2", good())).expect(200);
    assert_eq!(backend.only().header("cookie"), Some(&*format!("a=1; access_token={}; b=2", good())));
    refused(&ask(&format!("other_token={}", good())), "another cookie");
    refused(&ask(&format!("access_token={}", unsigned(&claims(json!({}))))), "alg none in the cookie");
    let someone = SECRET.token(&claims(json!({ "sub": "user-2" })));
    let both = Request::get("/app/1").bearer(&good()).header("cookie", &format!("access_token={someone}"));
    refused(&gate.send(&both), "tokens of two users");
}

#[test]
fn keys_are_fetched_kept_and_fetched_again_when_they_were_rotated() {
    let (backend, issuer) = (Backend::start(), Backend::start());
    let publish = |signers: &[Signer]| {
        let keys: Vec<Value> = signers.iter().map(|signer| signer.published()).collect();
        issuer.on("/jwks.json", Behaviour::status(200).bytes(json!({ "keys": keys }).to_string()));
    };
    publish(&[Signer::Rsa]);
    let gate = start(&backend, &format!("jwks_url = \"http://{}/jwks.json\"", issuer.address()), "");
    let ask = |token: &str| gate.send(&Request::get("/app/1").bearer(token));
    let (old, new) = (Signer::Rsa.token(&claims(json!({}))), Signer::Elliptic.token(&claims(json!({}))));
    for _ in 0..5 {
        ask(&old).expect(200);
    }
    assert_eq!(issuer.count(), 1, "fetched once for many tokens");
    for (what, token) in [
        ("expired", Signer::Rsa.token(&claims(json!({ "exp": now_secs() - 60 })))),
        ("for somebody else", Signer::Rsa.token(&claims(json!({ "aud": "other" })))),
        ("alg none", unsigned(&claims(json!({})))),
        ("tampered", tampered(&old, &claims(json!({ "sub": "user-2" })))),
        ("signed with what is published", good()),
    ] {
        refused(&ask(&token), what);
    }
    publish(&[Signer::Elliptic]);
    ask(&new).expect(200);
    refused(&ask(&old), "the key was taken back");
    let fetched = issuer.count();
    for number in 0..20 {
        let unknown = Signer::Rsa.token(&claims(json!({ "jti": number })));
        refused(&ask(&unknown), "an unknown key");
    }
    assert_eq!(issuer.count(), fetched, "tokens of unknown keys are no reason to ask again and again");
    ask(&new).expect(200);
}

#[test]
fn while_keys_cannot_be_had_nobody_is_let_in_and_nobody_is_called_a_liar() {
    let (backend, issuer) = (Backend::start(), Backend::start());
    issuer.on("/jwks.json", Behaviour::status(500));
    let gate = start(&backend, &format!("jwks_url = \"http://{}/jwks.json\"", issuer.address()), "");
    let token = Signer::Rsa.token(&claims(json!({})));
    for request in [Request::get("/app/1"), Request::get("/tollgate/v1/me")] {
        let answer = gate.send(&request.bearer(&token)).expect(503);
        assert!(answer.number("retry-after") >= 1, "{answer:?}");
    }
    assert_eq!(backend.count(), 0);
}

#[test]
fn a_users_first_token_makes_its_account_on_both_sides() {
    let backend = Backend::start();
    let gate = by_secret(&backend, "cookie = \"access_token\"");
    for side in Side::ALL {
        let user = format!("{side:?}").to_lowercase();
        let of = |changes: Value| {
            let mut claims = claims(json!({ "sub": user, "email": format!("{user}@example.com") }));
            for (name, value) in changes.as_object().expect("an object") {
                claims[name] = value.clone();
            }
            SECRET.token(&claims)
        };
        for (what, token) in bad_tokens() {
            let answer = side.ask(&gate, Request::get("/v1/me").bearer(&token));
            assert_eq!(answer.status, 401, "{what}: {}", answer.text());
            assert!(answer.header("www-authenticate").is_some(), "{what}");
        }
        let me = side.ask(&gate, Request::get("/v1/me").bearer(&of(json!({})))).expect(200).json();
        assert_eq!((&me["name"], &me["plan"]["name"]), (&json!("Ada Lovelace"), &json!("pro")), "{me:#}");
        let renamed =
            side.ask(&gate, Request::get("/v1/me").bearer(&of(json!({ "email": "new@x.example" })))).expect(200);
        assert_eq!(renamed.json()["account"], me["account"], "a user is who its subject says");

        let cookie = format!("access_token={}", of(json!({})));
        let session = side.ask(&gate, Request::get("/v1/session").header("cookie", &cookie)).expect(200).json();
        let rename = || Request::json("PATCH", "/v1/me", &json!({ "name": "Countess" }));
        side.ask(&gate, rename().header("cookie", &cookie)).problem(403, "csrf");
        let csrf = session["csrf_token"].as_str().expect("a proof");
        side.ask(&gate, rename().header("cookie", &cookie).header("x-csrf-token", csrf)).expect(200);
        side.ask(&gate, rename().bearer(&of(json!({})))).expect(200);
    }
}

#[test]
fn a_token_joins_an_account_by_its_address_only_when_that_is_verified() {
    let backend = Backend::start();
    let gate = by_secret(&backend, "");
    let key = gate.key("ada@example.com", "pro");
    let me = |token: &str| Side::Mounted.ask(&gate, Request::get("/v1/me").bearer(token));
    for verified in [json!(false), json!(null), json!("true"), json!(1)] {
        let token = SECRET.token(&claims(json!({ "email_verified": verified })));
        me(&token).problem(403, "email_not_verified");
    }
    me(&SECRET.token(&claims(json!({ "email": null })))).problem(401, "invalid_token");
    assert_eq!(me(&good()).expect(200).json()["account"], key.account);
    let joined = SECRET.token(&claims(json!({ "email_verified": false })));
    assert_eq!(me(&joined).expect(200).json()["account"], key.account, "from then on the subject is enough");
    let other = SECRET.token(&claims(json!({ "sub": "user-2" })));
    assert_ne!(me(&other).status, 200, "an account has one subject");
    gate.cli(&["accounts", "ban", "ada@example.com"]).done();
    me(&good()).problem(403, "account_disabled");
}
