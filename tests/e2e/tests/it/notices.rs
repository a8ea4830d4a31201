//! Customers are told how much of a quota is used and that a key expires: by mail and by signed webhook, once each.

use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tollgate_e2e::{Arrival, Backend, Behaviour, Gate, Key, Mailbox, Request, Setup, Side, eventually, now_secs};

const POLICY: &str = r#"
[plans.pro]
rate = "unlimited"
quota = "20/month"
meters = { tokens = "100/month" }
"#;
const SECRET: &str = "a-webhook-secret-of-some-length";
const HOOK: &str = "/hooks/tollgate";

struct Scene {
    gate: Gate,
    mailbox: Mailbox,
    webhook: Backend,
    _backend: Backend,
}

impl Scene {
    fn new(usage: &str) -> Self {
        let (backend, mailbox, webhook) = (Backend::start(), Mailbox::start(), Backend::start());
        let gate = Setup::new(&backend)
            .set("gateway", "public_url = \"https://api.example.com\"")
            .set("usage", &format!("notice_webhook = \"http://{}{HOOK}\"", webhook.address()))
            .set("usage", &format!("notice_webhook_secret = \"{SECRET}\""))
            .set("usage", usage)
            .mailing(&mailbox)
            .policy(POLICY)
            .start();
        Self { gate, mailbox, webhook, _backend: backend }
    }

    fn call(&self, key: &Key, times: usize) {
        for _ in 0..times {
            self.gate.get("/", key).expect(200);
        }
        self.gate.await_ledger();
    }

    /// The notices that the webhook was sent about this account, in order, each looked at for its signature.
    fn posted(&self, email: &str) -> Vec<Value> {
        let bodies =
            self.webhook.arrivals().into_iter().filter(|arrival| arrival.complete).map(|arrival| verified(&arrival));
        bodies.filter(|body| body["account"]["email"] == email).collect()
    }

    /// Waits until the webhook was sent so many about this account.
    #[track_caller]
    fn await_posted(&self, email: &str, count: usize) -> Vec<Value> {
        eventually(&format!("{count} notices to {email}"), || {
            let posted = self.posted(email);
            (posted.len() >= count).then_some(posted)
        })
    }
}

/// The body of a post whose signature is right: an HMAC-SHA-256 of time, full stop and body.
#[track_caller]
fn verified(arrival: &Arrival) -> Value {
    assert_eq!((arrival.method.as_str(), arrival.target.as_str()), ("POST", HOOK));
    assert_eq!(arrival.header("content-type"), Some("application/json"));
    let header = arrival.header("tollgate-signature").unwrap_or_else(|| panic!("not signed: {arrival:?}"));
    let member = |name: &str| header.split(',').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let (at, signature) = (member("t").expect("a time"), member("v1").expect("a signature"));
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(format!("{at}.").as_bytes());
    mac.update(&arrival.body);
    let expected = hex::decode(signature).expect("hexadecimal digits");
    assert!(mac.verify_slice(&expected).is_ok(), "a wrong signature: {arrival:?}");
    let age = now_secs().abs_diff(at.parse().expect("seconds"));
    assert!(age < 60, "signed {age} s ago");
    serde_json::from_slice(&arrival.body).expect("JSON")
}

#[test]
fn each_threshold_of_a_quota_is_told_once_by_mail_and_by_webhook() {
    let mut scene = Scene::new("notices = [75, 90, 100]");
    let ada = "ada@example.com";
    let key = scene.gate.key(ada, "pro");
    scene.call(&key, 14);
    scene.call(&key, 1);
    let posted = scene.await_posted(ada, 1);
    assert_eq!((&posted[0]["type"], &posted[0]["data"]["percent"]), (&json!("quota.used"), &json!(75)), "{posted:#?}");
    for (field, value) in [("meter", json!("calls")), ("used", json!(15)), ("limit", json!(20)), ("plan", json!("pro"))]
    {
        assert_eq!(posted[0]["data"][field], value, "{posted:#?}");
    }
    assert_eq!(posted[0]["account"]["id"], key.account);
    // A process that has just started looks at once.
    scene.call(&key, 3);
    scene.gate.restart();
    scene.await_posted(ada, 2);
    scene.call(&key, 2);
    scene.gate.get("/", &key).problem(429, "quota_exceeded");
    scene.gate.restart();
    scene.await_posted(ada, 3);

    // Whoever comes later is told later: by then a second notice of the first would be there.
    let eve = scene.gate.key("eve@example.com", "pro");
    scene.call(&eve, 19);
    scene.gate.restart();
    scene.await_posted("eve@example.com", 1);
    // Of several that are reached at once, the highest says it all.
    for (user, expected) in [(ada, &[75, 90, 100][..]), ("eve@example.com", &[90])] {
        scene.mailbox.await_mail(user, expected.len() - 1);
        let posted: Vec<u64> =
            scene.posted(user).iter().filter_map(|notice| notice["data"]["percent"].as_u64()).collect();
        assert_eq!(posted, expected, "{user}");
        let mut mailed: Vec<String> = scene.mailbox.to(user).into_iter().map(|mail| mail.subject).collect();
        mailed.sort_by_key(String::len);
        let subjects: Vec<String> = expected
            .iter()
            .map(|percent| format!("{percent} % of your calls of https://api.example.com are used"))
            .collect();
        assert_eq!(mailed, subjects);
    }
    let ids: std::collections::BTreeSet<String> =
        scene.webhook.arrivals().iter().map(|post| verified(post)["id"].to_string()).collect();
    assert_eq!(ids.len(), 4, "each notice has an id of its own");
}

#[test]
fn meters_are_told_of_and_a_webhook_that_fails_is_tried_again() {
    let mut scene = Scene::new("notices = [50]");
    scene.webhook.on(HOOK, Behaviour::status(500));
    let key = scene.gate.key("ada@example.com", "pro");
    let event = json!({ "id": "1", "account": key.account, "type": "tokens", "quantity": 60 });
    Side::Direct.ask(&scene.gate, Request::json("POST", "/v1/usage", &event).bearer(&scene.gate.token())).expect(200);
    scene.gate.restart();
    let failed = scene.await_posted("ada@example.com", 1);
    assert_eq!((&failed[0]["data"]["meter"], &failed[0]["data"]["used"]), (&json!("tokens"), &json!(60)));
    assert_eq!(
        scene.mailbox.await_mail("ada@example.com", 0).subject,
        "50 % of your tokens of https://api.example.com are used"
    );
    scene.webhook.on(HOOK, Behaviour::status(204));
    // The first wait is half a minute, so that a receiver can come back.
    let again = tollgate_e2e::eventually_within(std::time::Duration::from_mins(1), || {
        let posted = scene.posted("ada@example.com");
        (posted.len() > 1).then_some(posted)
    });
    let again = again.expect("it is tried again");
    assert_eq!(again[1], failed[0], "the same notice, with the same id");
    assert_eq!(scene.mailbox.count(), 1, "and no second mail");
}

#[test]
fn a_key_that_expires_soon_is_told_of_once() {
    // A key that was made for less time than that is meant to end: only one that is a little older is told of.
    let mut scene = Scene::new("notices = []\nkey_expiry_notice = \"863999s\"");
    let key = scene.gate.key_with("ada@example.com", "pro", &["--expires", "10d", "--name", "CI"]);
    scene.gate.key_with("ada@example.com", "pro", &["--expires", "1h"]);
    let made = now_secs();
    eventually("the key is a little older", || (now_secs() > made + 1).then_some(()));
    for _ in 0..2 {
        scene.gate.restart();
        scene.await_posted("ada@example.com", 1);
    }
    let eve = scene.gate.key_with("eve@example.com", "pro", &["--expires", "10d"]);
    let made = now_secs();
    eventually("the key is a little older", || (now_secs() > made + 1).then_some(()));
    scene.gate.restart();
    let told = scene.await_posted("eve@example.com", 1);
    assert_eq!((&told[0]["type"], &told[0]["data"]["key"]), (&json!("key.expires"), &json!(eve.id)), "{told:#?}");
    assert_eq!(scene.posted("ada@example.com").len(), 1, "once");
    let mail = scene.mailbox.await_mail("ada@example.com", 0);
    let masked = format!("tg_live_****{}", &key.raw[key.raw.len() - 4..]);
    assert!(mail.subject.contains(&masked) && mail.text.contains("\"CI\""), "{mail:#?}");
    assert!(!mail.text.contains(&key.raw), "no key is mailed");
}
