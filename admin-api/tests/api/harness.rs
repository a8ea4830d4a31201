//! A control plane over a throwaway store, a limiter, and a clock that tests move.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Notify;
use tollgate_admin_api::{
    AdminDeps, MailError, Mailer, NodeFacts, NodeRecord, Nodes, NodesUnavailable, OperatorToken, router,
};
use tollgate_billing::{Billing, BillingDeps};
use tollgate_config::{JwtKeys, Live, Policy, Secret, Settings, StripeConfig};
use tollgate_domain::limit::Debit;
use tollgate_domain::{
    AccountId, Bucket, Clock, KeyId, MeterName, NodeId, Period, Plan, PlanName, PlanTable, Price, Quota, Rate,
    RouteName, SECOND_US, StatusClass, Timestamp, UsageBatch, UsageKey, UsageLine, UsageTally, Window, default_burst,
};
use tollgate_fake_stripe::{ClockStart, FakeConfig, FakeStripe, NewPrice};
use tollgate_identity::{Verifier, VerifierSettings};
use tollgate_limiter::{InProcess, InProcessSettings, Limiter, Subject};
use tollgate_store::{AdminStore, Change, ChangeSink, SeedQuery, SqliteStore, Store};
use tower::ServiceExt;

/// The operator's token in these tests.
pub(crate) const TOKEN: &str = "operator-token-of-the-tests";
/// 2026-03-10T12:00:00Z.
pub(crate) const NOON: Timestamp = Timestamp::from_secs(1_773_144_000);

/// A clock that stands still until it is moved, or goes on a little each time it is read.
pub(crate) struct TestClock {
    now_us: AtomicI64,
    tick_us: AtomicI64,
}

impl TestClock {
    fn new(now: Timestamp) -> Self {
        Self { now_us: AtomicI64::new(now.as_micros()), tick_us: AtomicI64::new(0) }
    }

    pub(crate) fn advance_secs(&self, secs: i64) {
        self.now_us.fetch_add(secs * SECOND_US, Ordering::SeqCst);
    }

    /// From now on every reading is so much later than the one before.
    pub(crate) fn tick(&self, micros: i64) {
        self.tick_us.store(micros, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.now_us.fetch_add(self.tick_us.load(Ordering::SeqCst), Ordering::SeqCst))
    }
}

/// Remembers what gateways would have been told.
#[derive(Default)]
pub(crate) struct Heard {
    changes: Mutex<Vec<Change>>,
    listener: Mutex<Listener>,
    /// A slow listener is being told.
    pub(crate) began: Notify,
    /// A slow listener may go on.
    pub(crate) go_on: Notify,
}

/// How a gateway takes news.
#[derive(Clone, Copy, Default)]
pub(crate) enum Listener {
    /// At once.
    #[default]
    Prompt,
    /// Once it is told to go on.
    Slow,
    /// With a panic.
    Broken,
}

impl Heard {
    /// What was told since the last time this was asked.
    pub(crate) fn take(&self) -> Vec<Change> {
        std::mem::take(&mut *self.changes.lock().expect("no test panics while it holds this"))
    }

    /// From now on it listens like this.
    pub(crate) fn listen(&self, listener: Listener) {
        *self.listener.lock().expect("no test panics while it holds this") = listener;
    }
}

#[async_trait]
impl ChangeSink for Heard {
    async fn publish(&self, change: &Change) {
        let listener = *self.listener.lock().expect("no test panics while it holds this");
        match listener {
            Listener::Prompt => {}
            Listener::Slow => {
                self.began.notify_one();
                self.go_on.notified().await;
            }
            Listener::Broken => panic!("this gateway is broken"),
        }
        self.changes.lock().expect("no test panics while it holds this").push(*change);
    }

    async fn resync(&self) {}
}

/// The processes of a made-up fleet; `None` when whoever lists them does not answer.
#[derive(Debug, Default)]
pub(crate) struct ListedNodes(pub(crate) Mutex<Option<Vec<NodeRecord>>>);

#[async_trait]
impl Nodes for ListedNodes {
    async fn list(&self) -> Result<Vec<NodeRecord>, NodesUnavailable> {
        let listed = self.0.lock().expect("no test panics while it holds this").clone();
        listed.ok_or_else(|| NodesUnavailable("nobody there".into()))
    }
}

/// A mail that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) to: String,
    pub(crate) subject: String,
    pub(crate) text: String,
}

impl Letter {
    /// The token of the link in it.
    #[track_caller]
    pub(crate) fn token(&self) -> String {
        let (_, rest) = self.text.split_once("/login?token=").expect("there is a link");
        rest.lines().next().expect("it ends").to_owned()
    }
}

/// A mail server that keeps what it is given.
#[derive(Default)]
pub(crate) struct PostOffice {
    letters: Mutex<VecDeque<Letter>>,
    arrived: Notify,
    /// It takes nothing.
    pub(crate) is_closed: AtomicBool,
}

impl PostOffice {
    /// The oldest letter, waited for.
    pub(crate) async fn next(&self) -> Letter {
        let next = async {
            loop {
                let arrived = self.arrived.notified();
                if let Some(letter) = self.letters.lock().expect("no test panics while it holds this").pop_front() {
                    return letter;
                }
                arrived.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), next).await.expect("a letter")
    }

    /// Whether nothing arrives for a moment.
    pub(crate) async fn is_quiet(&self) -> bool {
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.letters.lock().expect("no test panics while it holds this").is_empty()
    }
}

#[async_trait]
impl Mailer for PostOffice {
    async fn send(&self, to: &str, subject: &str, text: &str) -> Result<(), MailError> {
        if self.is_closed.load(Ordering::SeqCst) {
            return Err(MailError::Server("it is closed".into()));
        }
        let letter = Letter { to: to.into(), subject: subject.into(), text: text.into() };
        self.letters.lock().expect("no test panics while it holds this").push_back(letter);
        self.arrived.notify_one();
        Ok(())
    }
}

/// Somebody who has signed in by link.
#[derive(Clone, Debug)]
pub(crate) struct SignIn {
    pub(crate) account: String,
    /// The `Cookie` header.
    pub(crate) cookie: String,
    pub(crate) csrf: String,
}

impl SignIn {
    /// What a browser and its script send.
    pub(crate) fn headers(&self) -> [(&str, &str); 2] {
        [("cookie", &self.cookie), ("x-csrf-token", &self.csrf)]
    }
}

/// A body with what differs from run to run blotted out.
pub(crate) fn blotted(mut body: Value, pointers: &[&str]) -> Value {
    for pointer in pointers {
        let blot = body.pointer_mut(pointer).filter(|value| value.is_string());
        *blot.unwrap_or_else(|| panic!("there is no text at {pointer}")) = json!("…");
    }
    body
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// Asserts a status and gives the body.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{:#}", self.body);
        self.body
    }

    /// Asserts a problem, its form included, and gives it.
    #[track_caller]
    pub(crate) fn problem(self, status: u16, code: &str) -> Value {
        assert_eq!(self.status.as_u16(), status, "{:#}", self.body);
        assert_eq!(self.headers[CONTENT_TYPE], "application/problem+json");
        assert_eq!(self.body["code"], code, "{:#}", self.body);
        assert_eq!(self.body["status"], status);
        assert_eq!(self.body["request_id"], self.headers["x-request-id"].to_str().expect("visible ASCII"));
        assert!(self.body["title"].is_string() && self.body["type"].is_string() && self.body["detail"].is_string());
        self.body
    }

    /// The pointers of every field that was refused.
    #[track_caller]
    pub(crate) fn pointers(self) -> Vec<String> {
        let problem = self.problem(422, "invalid_fields");
        let errors = problem["errors"].as_array().expect("errors").iter();
        errors
            .map(|error| {
                assert!(error["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{error}");
                error.get("pointer").or(error.get("parameter")).and_then(Value::as_str).expect("a place").to_owned()
            })
            .collect()
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// The control plane and what it stands on.
pub(crate) struct Plane {
    pub(crate) router: Router,
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) live: Arc<Live>,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) heard: Arc<Heard>,
    pub(crate) limiter: Arc<InProcess>,
    pub(crate) nodes: Arc<ListedNodes>,
    pub(crate) post: Arc<PostOffice>,
    /// Where it sells.
    pub(crate) shop: Option<Shop>,
    _folder: TempDir,
}

/// What speaks with Stripe, and what stands in for Stripe. Both clocks stand at noon.
pub(crate) struct Shop {
    pub(crate) stripe: FakeStripe,
    pub(crate) billing: Arc<Billing>,
}

impl Plane {
    /// One with the default settings.
    pub(crate) async fn start() -> Self {
        Self::with(Settings::default()).await
    }

    /// One with these settings.
    pub(crate) async fn with(settings: Settings) -> Self {
        Self::made(settings, true, None).await
    }

    /// One that can mail nothing.
    pub(crate) async fn without_mail() -> Self {
        Self::made(Settings::default(), false, None).await
    }

    /// One that sells `pro` and `team` by a Stripe of its own.
    pub(crate) async fn selling() -> Self {
        Self::selling_with(|_| {}).await
    }

    /// The same with other settings of Stripe's.
    pub(crate) async fn selling_with(change: impl FnOnce(&mut StripeConfig)) -> Self {
        let config = FakeConfig { clock: ClockStart::Fixed(NOON.as_secs()), ..FakeConfig::default() };
        let stripe = FakeStripe::start(config).expect("a stand-in");
        for (id, product, unit_amount) in [("price_pro", "Pro", 2_900), ("price_team", "Team", 9_900)] {
            stripe.price(NewPrice { id, product, unit_amount, ..NewPrice::default() });
        }
        let secrets = vec![Secret::new(stripe.webhook_secret())];
        let mut settings = Settings::default();
        let mut config = StripeConfig::new(Secret::new(stripe.api_key()), secrets);
        config.livemode = false;
        config.api_base = stripe.url().parse().expect("a URL");
        change(&mut config);
        settings.billing.stripe = Some(config);
        Self::made(settings, true, Some(stripe)).await
    }

    async fn made(settings: Settings, has_mail: bool, stripe: Option<FakeStripe>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Arc::new(SqliteStore::open(&folder.path().join("tollgate.db")).await.expect("a store"));
        let clock = Arc::new(TestClock::new(NOON));
        let live = Arc::new(Live::new(policy(), "hash-of-the-tests".into(), NOON));
        let heard = Arc::new(Heard::default());
        let limiter = Arc::new(InProcess::new(InProcessSettings::default()));
        let nodes = Arc::new(ListedNodes::default());
        let post = Arc::new(PostOffice::default());
        let verifier = verifier(&settings);
        let shop = stripe.map(|stripe| {
            let billing = Billing::new(BillingDeps {
                store: Arc::clone(&store) as Arc<dyn AdminStore>,
                live: Arc::clone(&live),
                stripe: settings.billing.stripe.clone().expect("it sells"),
                public_base: tollgate_admin_api::public_base(&settings),
                changes: Arc::clone(&heard) as Arc<dyn ChangeSink>,
                clock: Arc::clone(&clock) as Arc<dyn Clock>,
                holder: "tests".into(),
            });
            Shop { stripe, billing: billing.expect("good settings") }
        });
        let router = router(AdminDeps {
            store: Arc::clone(&store) as Arc<dyn AdminStore>,
            live: Arc::clone(&live),
            settings: Arc::new(settings),
            changes: Arc::clone(&heard) as Arc<dyn ChangeSink>,
            peek: Arc::clone(&limiter) as Arc<dyn tollgate_limiter::Peek>,
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            token: OperatorToken::new(TOKEN).expect("a good token"),
            node: NodeFacts { id: NodeId::new(NOON, [1; 10]), version: "0.0.0-test", started_at: NOON },
            nodes: Arc::clone(&nodes) as Arc<dyn Nodes>,
            verifier,
            mailer: has_mail.then(|| Arc::clone(&post) as Arc<dyn Mailer>),
            billing: shop.as_ref().map(|shop| Arc::clone(&shop.billing)),
        });
        Self { router, store, live, clock, heard, limiter, nodes, post, shop, _folder: folder }
    }

    /// Sends a request as it is.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("the router answers everything");
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 16 << 20).await.expect("a whole body");
        let is_json = parts.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().ends_with(b"json"));
        let body = match body.as_ref() {
            b"" => Value::Null,
            body if is_json => serde_json::from_slice(body).expect("JSON"),
            body => String::from_utf8_lossy(body).into_owned().into(),
        };
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// Calls the operator API as the operator.
    pub(crate) async fn operator(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.operator_with(method, path, body, &[]).await
    }

    /// The same with headers of one's own.
    pub(crate) async fn operator_with(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/admin/v1{path}"))
            .header(AUTHORIZATION, format!("Bearer {TOKEN}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = match body {
            Some(body) => {
                request = request.header(CONTENT_TYPE, "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        self.send(request.body(body).expect("a good request")).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.operator("GET", path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.operator("POST", path, Some(body)).await
    }

    /// Calls the customer's side with these headers.
    pub(crate) async fn customer(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::empty()).expect("a good request")).await
    }

    /// Calls anything with headers of one's own, and a JSON body where there is one.
    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = match body {
            Some(body) => {
                request = request.header(CONTENT_TYPE, "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        self.send(request.body(body).expect("a good request")).await
    }

    /// Signs in by link, as a new account where the address is new.
    pub(crate) async fn sign_in(&self, email: &str) -> SignIn {
        self.call("POST", "/v1/session/link", Some(&json!({ "email": email })), &[]).await.expect(202);
        let token = self.post.next().await.token();
        let answer = self.call("POST", "/v1/session", Some(&json!({ "token": token })), &[]).await;
        let cookie = answer.header("set-cookie").split(';').next().expect("a cookie").to_owned();
        let session = answer.expect(200);
        let text = |name: &str| session[name].as_str().expect("a text").to_owned();
        SignIn { account: text("account"), cookie, csrf: text("csrf_token") }
    }

    /// Makes a key on a plan; the answer with the raw key.
    pub(crate) async fn key(&self, email: &str, plan: &str) -> Value {
        self.post("/keys", json!({ "email": email, "plan": plan })).await.expect(201)
    }

    /// Lets the account use units as a gateway would: debited in the limiter. The ledger hears of it apart.
    pub(crate) async fn spend(&self, account: &str, key: &str, units: u64) {
        let account: AccountId = account.parse().expect("an id");
        let key: KeyId = key.parse().expect("an id");
        let record = self.store.account(account).await.expect("it answers").expect("it is there");
        let key = self.store.key(key).await.expect("it answers").expect("it is there");
        let policy = self.live.policy();
        let now = self.clock.now();
        let entitlement = tollgate_domain::entitlement(&record, &policy.plans, now);
        let plan = entitlement.plan().expect("a plan");
        let own = key.own_limits(&plan.limits, false);
        let period = entitlement.period_basis(&record).period_at(now);
        let mut debit = Debit {
            limits: &plan.limits,
            key: own.as_ref().map(|limits| (key.id, limits)),
            meter: None,
            period,
            cost: 0,
        };
        let handle = self.limiter.open(Subject::Account(account));
        let lookback_us = plan.limits.lookback_us();
        let query = SeedQuery {
            account,
            key: own.as_ref().map(|_| key.id),
            meter: None,
            since: now + -lookback_us,
            resolution_us: 1,
            period,
        };
        let seed = self.store.seed(&query).await.expect("it answers");
        let ticket = self.limiter.ticket();
        assert!(self.limiter.seed(&handle, ticket, &debit, &seed, now).await.expect("it answers"));
        debit.cost = units;
        let outcome = self.limiter.debit(&handle, &debit, now).await.expect("it answers");
        assert!(matches!(outcome, tollgate_domain::limit::Outcome::Admitted(_)), "{outcome:?}");
    }

    /// Writes use into the ledger, as a gateway's batch does, `secs_ago`.
    pub(crate) async fn record(&self, account: &str, key: &str, units: u64, secs_ago: i64) {
        let at = self.clock.now() + -secs_ago * SECOND_US;
        let key = UsageKey {
            account: account.parse().expect("an id"),
            key: key.parse().expect("an id"),
            route: RouteName::new("events").expect("a good name"),
            status: StatusClass::Success,
            meter: None,
            period: Period::calendar_month(at),
            detached: false,
        };
        let tally = UsageTally { calls: units, units_debited: units, units_charged: units, ..UsageTally::default() };
        let random =
            std::array::from_fn(|at| units.to_be_bytes()[at % 8] ^ u8::try_from(secs_ago % 251).expect("small"));
        let batch = UsageBatch {
            node: NodeId::new(at, random),
            sequence: 1,
            start: at + -SECOND_US,
            end: at,
            lines: vec![UsageLine { key, tally }],
            requests: Vec::new(),
        };
        assert!(self.store.store_batch(&batch).await.expect("it answers"));
    }
}

/// Believes what is signed with the secret of the settings.
fn verifier(settings: &Settings) -> Option<Arc<Verifier>> {
    let jwt = settings.auth.jwt.as_ref()?;
    let secret = match &jwt.keys {
        JwtKeys::Secret(secret) => Some(secret.reveal().as_bytes().to_vec()),
        JwtKeys::Jwks(_) => None,
    };
    let settings = VerifierSettings {
        secret,
        issuer: jwt.issuer.clone(),
        audience: jwt.audience.clone(),
        leeway: jwt.leeway,
        name_claim: jwt.name_claim.clone(),
    };
    Some(Arc::new(Verifier::new(settings, None)))
}

/// `public`, `free` (no API, the default), `pro` (bucket, window, quota, two keys), `team` (nothing but a feature); the
/// last two are sold.
pub(crate) fn policy() -> Policy {
    let plan = |name: &str| Plan::unlimited(PlanName::new(name).expect("a good name"));
    let rate = |text: &str| Rate::parse(text).expect("a good rate");
    let public = Plan { rate: Some(rate("30/minute")), ..plan("public") };
    let free = Plan { api: false, ..plan("free") };
    let mut pro = Plan {
        rank: 1,
        display_name: Some("Pro".into()),
        description: Some("For one product".into()),
        price: Some(Price::parse("29 USD/month").expect("a good price")),
        highlights: vec!["API access (10k calls/mo)".into()],
        rate: Some(rate("600/minute")),
        max_keys: Some(2),
        features: ["llm".to_owned()].into(),
        stripe_prices: vec!["price_pro".into()],
        ..plan("pro")
    };
    pro.limits.bucket = Some(Bucket::new(rate("600/minute"), default_burst(rate("600/minute"))).expect("in bounds"));
    pro.limits.windows.push(Window::new(rate("1_000/day")).expect("in bounds"));
    pro.limits.quota.limit = Some(10_000);
    let tokens = MeterName::new("tokens").expect("a good name");
    pro.meters.insert(tokens, Quota { limit: Some(1_000_000) });
    let team =
        Plan { rank: 2, features: ["llm".to_owned()].into(), stripe_prices: vec!["price_team".into()], ..plan("team") };
    let plans = PlanTable::new([public, free, pro, team], PlanName::new("free")).with_grace(7 * 86_400 * SECOND_US);
    Policy { plans, ..Policy::default() }
}
