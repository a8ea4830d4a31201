//! What customers are told without asking.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use hmac::{Hmac, Mac};
use http::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::sync::watch;
use tollgate_admin_api::{Background, BackgroundDeps, MailError, Mailer, WebhookFailed, WebhookPost};
use tollgate_config::{NoticeWebhook, Secret, Settings, UsageConfig};
use tollgate_domain::{Clock, DAY_US};
use tollgate_store::AdminStore;

use crate::harness::{Plane, TOKEN};
use crate::usage_support::{Counted, count, plane, report};

/// The webhook's secret in these tests.
const SECRET: &str = "webhook-secret-of-the-tests";

/// A post as it was sent: its headers and body.
type Posted = (Vec<(HeaderName, HeaderValue)>, Vec<u8>);

/// Takes mail and posts, or fails them as it is told.
#[derive(Default)]
struct Outside {
    mails: Mutex<Vec<(String, String, String)>>,
    posts: Mutex<Vec<Posted>>,
    /// What the next posts are answered; 200 when it has run out.
    answers: Mutex<VecDeque<Result<u16, String>>>,
    mail_is_down: Mutex<bool>,
}

impl Outside {
    fn take_subjects(&self) -> Vec<String> {
        let mails = std::mem::take(&mut *self.mails.lock().expect("no test panics while it holds this"));
        mails.into_iter().map(|(_, subject, _)| subject).collect()
    }

    fn take_posts(&self) -> Vec<Posted> {
        std::mem::take(&mut *self.posts.lock().expect("no test panics while it holds this"))
    }
}

#[async_trait]
impl Mailer for Outside {
    async fn send(&self, to: &str, subject: &str, text: &str) -> Result<(), MailError> {
        // Long enough for another process to come in between.
        tokio::time::sleep(Duration::from_millis(5)).await;
        if *self.mail_is_down.lock().expect("no test panics while it holds this") {
            return Err(MailError::Server("the server is away".into()));
        }
        self.mails.lock().expect("no test panics while it holds this").push((to.into(), subject.into(), text.into()));
        Ok(())
    }
}

#[async_trait]
impl WebhookPost for Outside {
    async fn post(
        &self,
        url: &str,
        headers: &[(HeaderName, HeaderValue)],
        body: Vec<u8>,
    ) -> Result<u16, WebhookFailed> {
        assert_eq!(url, "https://hooks.example.com/tollgate");
        self.posts.lock().expect("no test panics while it holds this").push((headers.to_vec(), body));
        let answer = self.answers.lock().expect("no test panics while it holds this").pop_front();
        answer.unwrap_or(Ok(200)).map_err(WebhookFailed)
    }
}

/// A process that tells customers; each call of this is another one, or the same after a restart.
fn process(plane: &Plane, outside: &Arc<Outside>, mail: bool, webhook: bool) -> Background {
    let notice_webhook = webhook.then(|| NoticeWebhook {
        url: "https://hooks.example.com/tollgate".parse().expect("a URL"),
        secret: Secret::new(SECRET),
    });
    let settings = Settings { usage: UsageConfig { notice_webhook, ..UsageConfig::default() }, ..Settings::default() };
    Background::new(BackgroundDeps {
        store: Arc::clone(&plane.store) as Arc<dyn AdminStore>,
        live: Arc::clone(&plane.live),
        settings: Arc::new(settings),
        clock: Arc::clone(&plane.clock) as Arc<dyn Clock>,
        mailer: mail.then(|| Arc::clone(outside) as Arc<dyn Mailer>),
        webhook: webhook.then(|| Arc::clone(outside) as Arc<dyn WebhookPost>),
    })
}

async fn use_units(plane: &Plane, key: &Value, units: u64) {
    count(plane, &[Counted::of(key, plane.clock.now(), units)]).await;
}

async fn pass(process: &Background) {
    process.notify_once().await.expect("the store answers");
}

#[tokio::test]
async fn each_threshold_is_mailed_once_a_period_whatever_restarts() {
    let plane = plane().await;
    let outside = Arc::default();
    let process_1 = process(&plane, &outside, true, false);
    let key = plane.key("ada@example.com", "pro").await;
    for (units, expected) in [
        (7_499, &[][..]),
        (1, &["75 % of your calls are used"]),
        (100, &[]),
        (1_400, &["90 % of your calls are used"]),
        (1_000, &["100 % of your calls are used"]),
        (5_000, &[]),
    ] {
        use_units(&plane, &key, units).await;
        pass(&process_1).await;
        plane.clock.advance_secs(10);
        pass(&process_1).await;
        assert_eq!(outside.take_subjects(), expected, "{units}");
        // A new process knows nothing of what the old one remembered.
        pass(&process(&plane, &outside, true, false)).await;
        assert_eq!(outside.take_subjects(), [""; 0], "{units}");
        plane.clock.advance_secs(10);
    }
    // Another period, another notice.
    plane.clock.advance_secs(31 * 86_400);
    use_units(&plane, &key, 7_600).await;
    pass(&process_1).await;
    assert_eq!(outside.take_subjects(), ["75 % of your calls are used"]);
}

#[tokio::test]
async fn of_thresholds_passed_at_once_the_highest_alone_is_told() {
    let plane = plane().await;
    let outside = Arc::default();
    let process = process(&plane, &outside, true, false);
    let key = plane.key("ada@example.com", "pro").await;
    use_units(&plane, &key, 9_500).await;
    pass(&process).await;
    let mails = outside.mails.lock().expect("no test panics while it holds this").clone();
    assert_eq!(mails.len(), 1, "{mails:?}");
    let (to, subject, text) = &mails[0];
    assert_eq!((to.as_str(), subject.as_str()), ("ada@example.com", "90 % of your calls are used"));
    assert!(text.contains("9,500 of the 10,000 calls that your plan (pro) includes"), "{text}");
    outside.take_subjects();
    // What was credited and used again is no news.
    plane.post("/accounts/ada@example.com/credit", json!({ "units": 2_500 })).await.expect(200);
    plane.clock.advance_secs(10);
    pass(&process).await;
    use_units(&plane, &key, 900).await;
    plane.clock.advance_secs(10);
    pass(&process).await;
    assert_eq!(outside.take_subjects(), [""; 0]);
}

#[tokio::test]
async fn meters_have_notices_of_their_own_and_unlimited_ones_none() {
    let plane = plane().await;
    let outside = Arc::default();
    let process = process(&plane, &outside, true, false);
    plane.key("a@b", "pro").await;
    plane.key("t@b", "team").await;
    for account in ["a@b", "t@b"] {
        let event = json!({ "id": "1", "account": account, "type": "migrations", "quantity": 80, "meters": { "tokens": 9_000_000 } });
        report(&plane, TOKEN, &event).await.expect(200);
    }
    pass(&process).await;
    assert_eq!(outside.take_subjects(), ["75 % of your migrations are used"]);
}

#[tokio::test]
async fn two_processes_at_once_send_one_mail() {
    let plane = plane().await;
    let outside = Arc::default();
    let (one, other) = (process(&plane, &outside, true, true), process(&plane, &outside, true, true));
    let mut keys = Vec::new();
    for number in 0..20 {
        keys.push(plane.key(&format!("user{number}@example.com"), "pro").await);
    }
    for key in &keys {
        use_units(&plane, key, 7_500).await;
    }
    for _ in 0..3 {
        let (first, second) = tokio::join!(one.notify_once(), other.notify_once());
        first.and(second).expect("the store answers");
    }
    let mut told: Vec<String> =
        outside.mails.lock().expect("no test panics while it holds this").iter().map(|(to, ..)| to.clone()).collect();
    told.sort();
    told.dedup();
    assert_eq!((told.len(), outside.take_subjects().len()), (20, 20));
    assert_eq!(outside.take_posts().len(), 20);
}

#[tokio::test]
async fn a_plan_with_a_smaller_limit_is_noticed_and_banned_or_deleted_accounts_are_not_told() {
    let plane = plane().await;
    let outside = Arc::default();
    let process = process(&plane, &outside, true, false);
    let moved = plane.key("moved@b", "team").await;
    let banned = plane.key("banned@b", "pro").await;
    let deleted = plane.key("deleted@b", "pro").await;
    for key in [&moved, &banned, &deleted] {
        use_units(&plane, key, 8_000).await;
    }
    plane.operator("POST", "/accounts/banned@b/ban", None).await.expect(200);
    plane.operator("DELETE", "/accounts/deleted@b", None).await.expect(200);
    pass(&process).await;
    assert_eq!(outside.take_subjects(), [""; 0]);
    plane.operator("PUT", "/accounts/moved@b/plan", Some(json!({ "plan": "pro" }))).await.expect(200);
    plane.clock.advance_secs(601);
    pass(&process).await;
    assert_eq!(outside.take_subjects(), ["75 % of your calls are used"]);
}

#[tokio::test]
async fn a_key_that_expires_soon_is_told_of_once() {
    let plane = plane().await;
    let outside = Arc::default();
    let process_1 = process(&plane, &outside, true, false);
    let key = |expires_at: &str, name: &str| json!({ "email": "a@b", "plan": "team", "expires_at": expires_at, "name": name });
    plane.post("/keys", key("2026-03-20T12:00:00Z", "CI")).await.expect(201);
    plane.post("/keys", key("2026-03-12T12:00:00Z", "for two days")).await.expect(201);
    let replaced = plane.post("/keys", key("2026-03-20T12:00:00Z", "replaced")).await.expect(201);
    let id = replaced["id"].as_str().expect("an id");
    plane.post(&format!("/keys/{id}/rotate"), json!({ "grace": "30d" })).await.expect(201);
    pass(&process_1).await;
    assert_eq!(outside.take_subjects(), [""; 0], "ten days are not soon");
    plane.clock.advance_secs(3 * 86_400 + 1);
    pass(&process_1).await;
    let mails = outside.mails.lock().expect("no test panics while it holds this").clone();
    // The key, and the one that took the replaced one's place with its expiry.
    assert_eq!(outside.take_subjects().len(), 2, "{mails:?}");
    assert!(mails.iter().any(|(_, _, text)| text.contains("\"CI\" (tg_live_****")), "{mails:?}");
    for _ in 0..3 {
        plane.clock.advance_secs(3_600);
        pass(&process_1).await;
        pass(&process(&plane, &outside, true, false)).await;
    }
    assert_eq!(outside.take_subjects(), [""; 0]);
}

#[tokio::test]
async fn a_webhook_is_signed_over_what_it_carries() {
    let plane = plane().await;
    let outside = Arc::default();
    let process = process(&plane, &outside, false, true);
    let key = plane.key("ada@example.com", "pro").await;
    use_units(&plane, &key, 7_500).await;
    pass(&process).await;
    let posts = outside.take_posts();
    let [(headers, body)] = posts.as_slice() else { panic!("{posts:?}") };
    let header = |name: &str| {
        let found = headers.iter().find(|(known, _)| known.as_str() == name);
        found.and_then(|(_, value)| value.to_str().ok()).expect("it is there")
    };
    assert_eq!(header("content-type"), "application/json");
    let (at, signature) = header("tollgate-signature").split_once(",v1=").expect("two parts");
    let at = at.strip_prefix("t=").expect("a time");
    assert_eq!(at, plane.clock.now().as_secs().to_string());
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length");
    mac.update(&[at.as_bytes(), b".", body].concat());
    mac.verify_slice(&hex::decode(signature).expect("hexadecimal digits")).expect("it is signed with the secret");
    let body: Value = serde_json::from_slice(body).expect("JSON");
    assert_eq!((&body["type"], &body["account"]["id"]), (&json!("quota.used"), &key["account"]));
    let expected = json!({
        "meter": "calls", "percent": 75, "used": 7_500, "limit": 10_000, "plan": "pro",
        "period": { "start": "2026-03-01T00:00:00Z", "end": "2026-04-01T00:00:00Z" },
    });
    assert_eq!(body["data"], expected);
    assert!(body["id"].as_str().is_some_and(|id| id.starts_with("notice_")), "{body}");
}

#[tokio::test]
async fn what_fails_is_tried_again_later_and_later_and_given_up_after_three_days() {
    let plane = plane().await;
    let outside: Arc<Outside> = Arc::default();
    let process = process(&plane, &outside, true, true);
    let key = plane.key("a@b", "pro").await;
    use_units(&plane, &key, 7_500).await;
    let failures = [Ok(500), Ok(302), Err("connection refused".into()), Ok(200)];
    outside.answers.lock().expect("no test panics while it holds this").extend(failures);
    *outside.mail_is_down.lock().expect("no test panics while it holds this") = true;
    pass(&process).await;
    assert_eq!(outside.take_posts().len(), 1);
    let mut ids = std::collections::BTreeSet::new();
    for (wait_secs, posts) in [(29, 0), (1, 1), (119, 0), (1, 1), (479, 0), (1, 1), (86_400, 0)] {
        plane.clock.advance_secs(wait_secs);
        pass(&process).await;
        let sent = outside.take_posts();
        assert_eq!(sent.len(), posts, "{wait_secs}");
        for (_, body) in sent {
            let body: Value = serde_json::from_slice(&body).expect("JSON");
            ids.insert(body["id"].to_string());
        }
    }
    assert_eq!(ids.len(), 1, "the same notice has the same id");
    // The mail server is away all the time.
    plane.clock.advance_secs(3 * DAY_US / 1_000_000);
    pass(&process).await;
    *outside.mail_is_down.lock().expect("no test panics while it holds this") = false;
    plane.clock.advance_secs(86_400);
    pass(&process).await;
    assert_eq!(outside.take_subjects(), [""; 0], "it was given up");
    let stats = process.stats();
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!((count(&stats.notices), count(&stats.delivered), count(&stats.given_up)), (1, 1, 1));
    assert!(count(&stats.failed) >= 6);
}

#[tokio::test]
async fn it_runs_until_told_to_stop() {
    let plane = plane().await;
    let outside = Arc::default();
    let key = plane.key("a@b", "pro").await;
    use_units(&plane, &key, 7_500).await;
    let background = process(&plane, &outside, true, false);
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn(async move { background.run(stopped).await });
    while outside.mails.lock().expect("no test panics while it holds this").is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.send(true).expect("it listens");
    running.await.expect("it ends without a panic");
}

#[tokio::test]
async fn what_is_old_is_thrown_away_and_the_quota_stays() {
    let plane = plane().await;
    let key = plane.key("a@b", "pro").await;
    use_units(&plane, &key, 10).await;
    let background = process(&plane, &Arc::default(), false, false);
    assert_eq!(background.prune_once().await.expect("it answers").hours, 0);
    plane.clock.advance_secs(400 * 86_400 + 7_200);
    assert_eq!(background.prune_once().await.expect("it answers").hours, 1);
    let account = key["account"].as_str().expect("an id");
    let lines = plane.get(&format!("/accounts/{account}/lines?from=2026-03-01&to=2026-04-01")).await.expect(200);
    assert_eq!(lines["items"].as_array().map(Vec::len), Some(1), "the ledger itself stays");
}
