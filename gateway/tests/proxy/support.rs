//! A gateway over a store in memory, a backend that answers as it is told, and a control plane that tells what it saw.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;
use tollgate_config::{AdminConfig, Policy, Settings, UpstreamUrl};
use tollgate_domain::{
    AccountId, Clock, IpRules, KeyHasher, KeyId, KeyLimits, KeyPrefix, MeterName, NodeId, PlainKey, PlanName,
    RequestRow, UsageBatch, UsageTally,
};
use tollgate_gateway::listener::bind;
use tollgate_gateway::metrics::Metrics;
use tollgate_gateway::{Gateway, GatewayParts, Policies, Serving, SystemClock};
use tollgate_identity::Verifier;
use tollgate_limiter::{InProcess, InProcessSettings, Limiter};
use tollgate_store::{
    CreateAccount, CreateKey, Direct, Feed, NewAccount, NewAudit, NewKey, SqliteStore, Store, StoreError, UsageSink,
};

/// Long enough for anything here, short enough to notice a hang.
const SOON: Duration = Duration::from_secs(10);

/// The whole arrangement, over a limiter.
pub(crate) struct Fixture<L: Limiter = InProcess> {
    pub(crate) address: SocketAddr,
    pub(crate) backend: Backend,
    pub(crate) control: Backend,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) key: String,
    pub(crate) key_id: KeyId,
    pub(crate) account: AccountId,
    store: Arc<SqliteStore>,
    policies: Policies<L>,
    ledger: Arc<Ledger>,
    shutdown: watch::Sender<bool>,
    serving: Serving<L>,
    log: Log,
}

impl Fixture {
    /// A gateway of this configuration, and a key of an account on the plan `pro`.
    pub(crate) async fn start(config: &str) -> Self {
        Self::start_with(config, None).await
    }

    pub(crate) async fn start_with(config: &str, verifier: Option<Verifier>) -> Self {
        Self::start_over(config, verifier, InProcess::new(InProcessSettings::default())).await
    }

    /// Stops it, forgets what the limiter knew, and starts it over the same store.
    pub(crate) async fn restart(self, config: &str) -> Self {
        let (store, owner) = (Arc::clone(&self.store), (self.account, self.key_id, self.key.clone()));
        self.stop().await;
        Self::start_on(config, None, InProcess::new(InProcessSettings::default()), store, owner).await
    }
}

impl<L: Limiter> Fixture<L> {
    pub(crate) async fn start_over(config: &str, verifier: Option<Verifier>, limiter: L) -> Self {
        let store = Arc::new(SqliteStore::open_in_memory().await.expect("memory opens"));
        let owner = make_key(&store).await;
        Self::start_on(config, verifier, limiter, store, owner).await
    }

    async fn start_on(
        config: &str,
        verifier: Option<Verifier>,
        limiter: L,
        store: Arc<SqliteStore>,
        (account, key_id, key): (AccountId, KeyId, String),
    ) -> Self {
        let (backend, control) = (Backend::start().await, Backend::start().await);
        let (settings, policy) = parse(config, backend.address);
        let direct = Arc::new(Direct(Arc::clone(&store) as Arc<dyn Store>));
        let ledger = Arc::new(Ledger { store: Arc::clone(&direct), batches: Mutex::default() });
        let (metrics, log) = (Arc::new(Metrics::default()), Log::default());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let parts = GatewayParts {
            settings,
            policy: Arc::new(policy),
            store: Arc::clone(&store) as Arc<dyn Store>,
            records: direct,
            usage: Arc::clone(&ledger) as Arc<dyn UsageSink>,
            feed: Arc::new(Feed::always()),
            limiter: Arc::new(limiter),
            verifier: verifier.map(Arc::new),
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
            node: NodeId::new(clock.now(), [9; 10]),
            control: control.url(),
            log_output: Box::new(log.clone()),
            random: 7,
            background: Handle::current(),
        };
        let gateway = Gateway::new(parts).await.expect("a gateway");
        let bound = bind(&[SocketAddr::from(([127, 0, 0, 1], 0))]).expect("a free port");
        let address = bound.addresses()[0];
        let (shutdown, stop) = watch::channel(false);
        let (serving, policies) = gateway.start(bound, stop);
        Self {
            address,
            backend,
            control,
            metrics,
            key,
            key_id,
            account,
            store,
            policies,
            ledger,
            shutdown,
            serving,
            log,
        }
    }

    /// Puts other plans and routes in force.
    pub(crate) fn reload(&self, config: &str) {
        self.policies.install(Arc::new(parse(config, self.backend.address).1));
    }

    /// Sends one request with these header lines, and the key unless `x-api-key` is among them.
    pub(crate) async fn call(&self, line: &str, headers: &[&str]) -> Answer {
        let key = format!("x-api-key: {}", self.key);
        let with_key: Vec<&str> = headers.iter().copied().chain([key.as_str()]).collect();
        self.send(line, &with_key, "").await
    }

    /// Sends one request with these header lines alone.
    pub(crate) async fn send(&self, line: &str, headers: &[&str], body: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.expect("the gateway listens");
        let mut request = format!("{line} HTTP/1.1\r\nHost: api.example.com\r\nConnection: close\r\n");
        for header in headers {
            request.push_str(header);
            request.push_str("\r\n");
        }
        if !body.is_empty() {
            write!(request, "Content-Length: {}\r\n", body.len()).expect("writing to memory does not fail");
        }
        request.push_str("\r\n");
        request.push_str(body);
        stream.write_all(request.as_bytes()).await.expect("the gateway takes bytes");
        let mut answer = Vec::new();
        timeout(SOON, stream.read_to_end(&mut answer)).await.expect("the connection is closed").expect("and not reset");
        let answer = String::from_utf8(answer).expect("answers here are text");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no whole head in {answer:?}"));
        Answer { head: head.to_owned(), body: body.to_owned() }
    }

    /// Stops the gateway, and returns all it has counted and logged.
    pub(crate) async fn stop(self) -> Counted {
        self.shutdown.send_replace(true);
        let closed = timeout(SOON, self.serving.closed()).await.expect("a stop ends").expect("and saves");
        assert_eq!(closed.usage_lines_lost, 0);
        let log = String::from_utf8(std::mem::take(&mut *self.log.0.lock())).expect("lines are text");
        let log = log.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect();
        Counted { batches: std::mem::take(&mut *self.ledger.batches.lock()), log }
    }
}

fn parse(config: &str, backend: SocketAddr) -> (Arc<Settings>, Policy) {
    let text = format!("{config}\n[upstream]\nurl = \"http://{backend}\"\n");
    let parsed = tollgate_config::parse(&text, Path::new("test.toml"), &|_: &str| None);
    let config = parsed.unwrap_or_else(|diagnostics| panic!("{diagnostics}\n{text}")).config;
    (Arc::new(config.settings), config.policy)
}

/// An account on `pro` and its key.
async fn make_key(store: &SqliteStore) -> (AccountId, KeyId, String) {
    let start = SystemClock.now();
    let audit = NewAudit { actor: "test".into(), action: "test", at: start, detail: serde_json::Value::Null };
    let account = AccountId::new(start, [1; 10]);
    let new = NewAccount {
        id: account,
        email: "user@example.com".into(),
        name: None,
        assigned_plan: PlanName::new("pro"),
        created_at: start,
    };
    assert!(matches!(store.create_account(&new, &audit).await, Ok(CreateAccount::Created(_))));
    let plain = PlainKey::generate(&KeyPrefix::new("tg_live").expect("a good prefix"), [7; 32]);
    let key = KeyId::new(start, [2; 10]);
    let new = NewKey {
        id: key,
        account,
        hashed: plain.hashed(&KeyHasher::new(None)),
        name: None,
        created_at: start,
        expires_at: None,
        scopes: Vec::new(),
        read_only: false,
        ip_rules: IpRules::default(),
        limits: KeyLimits::default(),
    };
    assert!(matches!(store.create_key(&new, None, &audit).await, Ok(CreateKey::Created(_))));
    (account, key, plain.reveal().to_owned())
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    head: String,
    pub(crate) body: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn status(&self) -> u16 {
        self.head.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("no status: {self:?}"))
    }

    pub(crate) fn header<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        header(&self.head, name).next()
    }

    pub(crate) fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        header(&self.head, name)
    }

    pub(crate) fn problem(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no problem: {self:?}"))
    }
}

/// The values of a header in the order of their lines.
pub(crate) fn header<'a>(head: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    head.lines().skip(1).filter_map(move |line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Answers every request with what it was told to, and remembers the requests.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    answer: Arc<Mutex<String>>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Backend {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let backend = Self { address, answer: Arc::default(), heads: Arc::default() };
        backend.answers("200 OK", &[]);
        let (answer, heads) = (Arc::clone(&backend.answer), Arc::clone(&backend.heads));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&answer), Arc::clone(&heads)));
            }
        });
        backend
    }

    fn url(&self) -> UpstreamUrl {
        AdminConfig { listen: self.address, ..AdminConfig::default() }.reach_parts()
    }

    /// Answers so from now on.
    pub(crate) fn answers(&self, status: &str, headers: &[&str]) {
        let headers = headers.iter().flat_map(|header| [*header, "\r\n"]).collect::<String>();
        *self.answer.lock() = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n{headers}\r\nok");
    }

    /// The head of the newest request, and none the next time.
    #[track_caller]
    pub(crate) fn seen(&self) -> String {
        self.heads.lock().pop().expect("it was asked")
    }

    pub(crate) fn seen_none(&self) -> bool {
        self.heads.lock().is_empty()
    }
}

async fn serve(mut stream: TcpStream, answer: Arc<Mutex<String>>, heads: Arc<Mutex<Vec<String>>>) {
    let mut unread = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = unread.windows(4).position(|end| end == b"\r\n\r\n") {
                break at + 4;
            }
            let mut buffer = [0; 16 * 1024];
            match stream.read(&mut buffer).await {
                Ok(count) if count > 0 => unread.extend_from_slice(&buffer[..count]),
                _ => return,
            }
        };
        let head: Vec<u8> = unread.drain(..end).collect();
        let head = String::from_utf8(head).expect("the gateway sends text");
        let length: usize =
            header(&head, "content-length").next().map_or(0, |length| length.parse().expect("a number"));
        while unread.len() < length {
            let mut buffer = [0; 16 * 1024];
            match stream.read(&mut buffer).await {
                Ok(count) if count > 0 => unread.extend_from_slice(&buffer[..count]),
                _ => return,
            }
        }
        unread.drain(..length);
        heads.lock().push(head);
        let answer = answer.lock().clone();
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Takes usage over into the store, and remembers it.
struct Ledger {
    store: Arc<Direct>,
    batches: Mutex<Vec<UsageBatch>>,
}

#[async_trait]
impl UsageSink for Ledger {
    async fn take(&self, batch: &UsageBatch) -> Result<(), StoreError> {
        self.store.take(batch).await?;
        self.batches.lock().push(batch.clone());
        Ok(())
    }

    async fn settled(&self, of: Option<AccountId>) {
        self.store.settled(of).await;
    }
}

/// What a gateway left behind.
pub(crate) struct Counted {
    batches: Vec<UsageBatch>,
    pub(crate) log: Vec<serde_json::Value>,
}

impl Counted {
    /// The sum of the lines of a meter (`None` for calls), told apart by whether the limiter has counted them.
    pub(crate) fn tally(&self, meter: Option<&str>, detached: bool) -> UsageTally {
        let mut sum = UsageTally::default();
        let lines = self.batches.iter().flat_map(|batch| &batch.lines);
        lines
            .filter(|line| line.key.meter.as_ref().map(MeterName::as_str) == meter && line.key.detached == detached)
            .for_each(|line| sum.add(&line.tally));
        sum
    }

    pub(crate) fn requests(&self) -> Vec<&RequestRow> {
        self.batches.iter().flat_map(|batch| &batch.requests).collect()
    }
}

/// What is written to it is read back later.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
