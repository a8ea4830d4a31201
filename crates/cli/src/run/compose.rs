//! Puts a process together: its parts made from the settings, wired to each other, and started.
//!
//! What differs between one process and a fleet is which parts stand behind the gateway's and the admin API's traits.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tollgate_admin_api::{
    AdminDeps, Background, BackgroundDeps, LimiterUse, Mailer, NodeFacts, NodeRecord, Nodes, NodesUnavailable,
    OperatorToken, load_or_create_token,
};
use tollgate_billing::Billing;
use tollgate_config::{AdminConfig, AdminToken, Config, Database, Live, Settings, UpstreamUrl};
use tollgate_domain::{Clock, NodeId, Timestamp};
use tollgate_gateway::metrics::Metrics;
use tollgate_gateway::{GatewayParts, SystemClock};
use tollgate_identity::Verifier;
use tollgate_limiter::{InProcess, InProcessSettings, Limiter, Peek};
use tollgate_store::{AdminStore, ChangeSink, Direct, Feed, KeyRecords, Store, UsageSink};

use super::Parts;
use super::listeners::Listeners;
use super::observe::{self, Readings};
use super::outside::{self, BillingParts};
use super::plane::{self, Made};
use super::reload::{self, WatchedFile};
use super::role::Role;
use super::shared::{ControlSide, GatewaySide, Shared};
use super::stores::OpenStore;

/// What every part of the process is made with.
struct Base {
    settings: Arc<Settings>,
    live: Arc<Live>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    store: OpenStore,
    background: Handle,
    node: NodeId,
    started_at: Timestamp,
    shared: Option<Arc<Shared>>,
    verifier: Option<Arc<Verifier>>,
    /// Mails links in place of whoever the settings name.
    mailer: Option<Arc<dyn Mailer>>,
}

/// The control plane of a process.
struct ControlMade {
    router: axum::Router,
    /// What it does besides where limits are shared.
    side: Option<ControlSide>,
    /// What it does beside requests.
    background: Background,
    /// What it does with Stripe.
    billing: Option<Arc<Billing>>,
}

pub(super) async fn build(
    config: Config,
    role: Role,
    listeners: Listeners,
    file: WatchedFile,
    reload_requests: Signal,
    background: Handle,
    mailer: Option<Arc<dyn Mailer>>,
) -> anyhow::Result<(Parts, String)> {
    let hash = config.hash();
    let Config { settings, policy, .. } = config;
    let settings = Arc::new(settings);
    let token = operator_token(&settings)?;
    let live = Arc::new(Live::new(policy, hash, SystemClock.now()));
    let node = NodeId::new(SystemClock.now(), random()?);
    let shared = match &settings.store.redis {
        Some(redis) => Some(Arc::new(Shared::new(redis, &settings, role, node, &live)?)),
        None => None,
    };
    // A database's connections live where it is opened: not among the requests, which would keep them waiting.
    let opened = Arc::clone(&settings);
    let store = background.spawn(async move { OpenStore::open(&opened, role).await }).await??;
    let clock: Arc<dyn Clock> = match &shared {
        Some(shared) => Arc::clone(&shared.clock) as Arc<dyn Clock>,
        None => Arc::new(SystemClock),
    };
    let metrics = Arc::new(Metrics::default());
    let started_at = clock.now();
    let verifier = outside::verifier(&settings)?;
    let base = Base { settings, live, metrics, clock, store, background, node, started_at, shared, verifier, mailer };

    let (stop_gateway, gateway_stopped) = watch::channel(false);
    let (stop_rest, rest_stopped) = watch::channel(false);
    let mut readings = Readings::new(Arc::clone(&base.metrics));
    let mut rest = Vec::new();
    if let Some(shared) = &base.shared {
        rest.extend(shared.start(Arc::clone(&base.live), &rest_stopped));
        readings.of_shared(shared);
    }
    let gateway = if role.serves_calls() { Some(base.make_gateway(role, &listeners).await?) } else { None };
    if let Some(GatewayMade { made, side: Some(side), .. }) = &gateway
        && let Some(shared) = &base.shared
    {
        let (reader, tasks) = side.start(shared, Arc::clone(&made.changes), &rest_stopped);
        rest.extend(tasks);
        readings.of_gateway(side, reader);
    }
    if let Some(listener) = listeners.admin {
        let ControlMade { router, side, background, billing } = base.control_plane(token.clone(), gateway.as_ref())?;
        if let Some(side) = side {
            rest.extend(side.start(&rest_stopped));
            readings.of_control(&side);
        }
        let stopped = rest_stopped.clone();
        readings.of_background(Arc::clone(background.stats()));
        rest.push(base.background.spawn(async move { background.run(stopped).await }));
        if let Some(billing) = billing {
            readings.of_billing(Arc::clone(billing.stats()), Arc::clone(&base.clock));
            let stopped = rest_stopped.clone();
            rest.push(base.background.spawn(async move { billing.run(stopped).await }));
        }
        rest.push(tokio::spawn(serve_http(listener, router, rest_stopped.clone())));
    }
    observe::show_config(&base.metrics, &base.live);
    let ready = observe::Readiness::new(base.store.store(), base.shared.as_ref(), role, gateway_stopped.clone());
    // The gateway first: who is told that the process is ready may call it.
    let usage = gateway.as_ref().and_then(|gateway| gateway.side.as_ref().map(GatewaySide::usage));
    let (install, data_plane) = match (gateway, listeners.gateway) {
        (Some(gateway), Some(bound)) => {
            let (install, closed) = gateway.made.start(bound, gateway_stopped);
            (Some(install), Some(closed))
        }
        _ => (None, None),
    };
    rest.push(tokio::spawn(serve_http(listeners.metrics, observe::router(readings, ready), rest_stopped.clone())));
    let Base { settings, live, metrics, clock, store, .. } = base;
    let watched = reload::Watched { file, requests: reload_requests, install, settings, live, metrics, clock };
    rest.push(tokio::spawn(watched.watch(rest_stopped)));
    Ok((Parts { stop_gateway, data_plane, usage, stop_rest, rest, store }, token.reveal().to_owned()))
}

/// A gateway that is made and does not serve yet.
struct GatewayMade {
    made: Made,
    side: Option<GatewaySide>,
    peek: Arc<dyn Peek>,
}

impl Base {
    async fn make_gateway(&self, role: Role, listeners: &Listeners) -> anyhow::Result<GatewayMade> {
        let control = match &listeners.admin {
            Some(listener) if role.serves_control() => control_url(listener.local_addr()?),
            _ => self.settings.admin.reach_parts(),
        };
        let store = self.store.store();
        match &self.shared {
            None => {
                let limiter = Arc::new(InProcess::new(InProcessSettings::default()));
                let direct = Arc::new(Direct(store));
                let feed = Arc::new(Feed::always());
                let parts =
                    self.gateway_parts(Arc::clone(&limiter), Arc::clone(&direct) as _, direct, feed, control)?;
                Ok(GatewayMade { made: plane::make(parts).await?, side: None, peek: limiter })
            }
            Some(shared) => {
                let side = shared.gateway_side(&self.settings, store)?;
                let (records, usage, feed) =
                    (Arc::clone(&side.records), Arc::clone(&side.usage), Arc::clone(&side.feed));
                let parts = self.gateway_parts(Arc::clone(&shared.limiter), records, usage, feed, control)?;
                let peek = Arc::clone(&shared.limiter) as Arc<dyn Peek>;
                Ok(GatewayMade { made: plane::make(parts).await?, side: Some(side), peek })
            }
        }
    }

    fn gateway_parts<L: Limiter>(
        &self,
        limiter: Arc<L>,
        records: Arc<dyn KeyRecords>,
        usage: Arc<dyn UsageSink>,
        feed: Arc<Feed>,
        control: UpstreamUrl,
    ) -> anyhow::Result<GatewayParts<L>> {
        Ok(GatewayParts {
            settings: Arc::clone(&self.settings),
            policy: self.live.policy(),
            store: self.store.store(),
            records,
            usage,
            feed,
            limiter,
            verifier: self.verifier.clone(),
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
            node: self.node,
            control,
            log_output: Box::new(std::io::stderr()),
            random: u64::from_ne_bytes(random()?),
            background: self.background.clone(),
        })
    }

    /// The control plane, which does not serve yet.
    fn control_plane(&self, token: OperatorToken, gateway: Option<&GatewayMade>) -> anyhow::Result<ControlMade> {
        let local = gateway.map(|gateway| Arc::clone(&gateway.made.changes));
        let store: Arc<dyn AdminStore> = self.store.store();
        let plain = Arc::clone(&store) as Arc<dyn Store>;
        let side = self.shared.as_ref().map(|shared| shared.control_side(&plain, local.clone()));
        let relay = side.as_ref().map(|side| Arc::clone(&side.relay) as Arc<dyn ChangeSink>);
        let peek = gateway.map(|gateway| Arc::clone(&gateway.peek));
        let peek = peek.or_else(|| self.shared.as_ref().map(|shared| Arc::clone(&shared.limiter) as Arc<dyn Peek>));
        let alone = || {
            let (live, clock) = (Arc::clone(&self.live), Arc::clone(&self.clock));
            Arc::new(Alone { node: self.facts(), live, clock }) as Arc<dyn Nodes>
        };
        let mail = outside::mail(&self.settings)?;
        let background = Background::new(BackgroundDeps {
            store: Arc::clone(&store),
            live: Arc::clone(&self.live),
            settings: Arc::clone(&self.settings),
            clock: Arc::clone(&self.clock),
            mailer: mail.notices,
            webhook: outside::webhook(&self.settings)?,
        });
        let changes = relay.or(local).expect("a control plane without a gateway is a fleet's, which has a relay");
        let billing = outside::billing(BillingParts {
            settings: &self.settings,
            store: Arc::clone(&store),
            live: Arc::clone(&self.live),
            changes: Arc::clone(&changes),
            clock: Arc::clone(&self.clock),
            node: self.node,
        })?;
        let peek = peek.expect("the same goes for the limits");
        if let Some(billing) = &billing {
            let (peek, clock) = (Arc::clone(&peek), Arc::clone(&self.clock));
            billing.know_limiter(Arc::new(LimiterUse { peek, clock }));
        }
        let router = tollgate_admin_api::router(AdminDeps {
            store,
            live: Arc::clone(&self.live),
            settings: Arc::clone(&self.settings),
            changes,
            peek,
            clock: Arc::clone(&self.clock),
            token,
            node: self.facts(),
            nodes: self.shared.clone().map_or_else(alone, |shared| shared as Arc<dyn Nodes>),
            verifier: self.verifier.clone(),
            mailer: self.mailer.clone().or(mail.links),
            billing: billing.clone(),
        });
        Ok(ControlMade { router, side, background, billing })
    }

    fn facts(&self) -> NodeFacts {
        NodeFacts { id: self.node, version: env!("CARGO_PKG_VERSION"), started_at: self.started_at }
    }
}

/// A process that shares its limits with no other.
struct Alone {
    node: NodeFacts,
    live: Arc<Live>,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl Nodes for Alone {
    async fn list(&self) -> Result<Vec<NodeRecord>, NodesUnavailable> {
        Ok(vec![NodeRecord {
            id: self.node.id.to_string(),
            role: Role::Up.as_str().into(),
            version: self.node.version.into(),
            config_hash: self.live.status().hash.clone(),
            started_at: self.node.started_at,
            seen_at: self.clock.now(),
        }])
    }
}

/// Serves a router until told to stop, then lets its last answers finish.
async fn serve_http(listener: std::net::TcpListener, router: axum::Router, mut stop: watch::Receiver<bool>) {
    let stopped = async move {
        // A sender that is gone can never say stop; what it would have stopped ends with it.
        let _seen = stop.wait_for(|stop| *stop).await;
    };
    // Who is at the other end, for what asks.
    let router = router.into_make_service_with_connect_info::<SocketAddr>();
    let served = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => axum::serve(listener, router).with_graceful_shutdown(stopped).await,
        Err(error) => Err(error),
    };
    if let Err(error) = served {
        tracing::error!(%error, "a listener of the control plane failed");
    }
}

fn operator_token(settings: &Settings) -> anyhow::Result<OperatorToken> {
    match (&settings.admin.token, &settings.store.database) {
        (AdminToken::Given(secret), _) => OperatorToken::new(secret.reveal()).context("admin.token"),
        (AdminToken::KeptBesideStore, Database::Sqlite { path }) => Ok(load_or_create_token(&super::token_file(path))?),
        (AdminToken::KeptBesideStore, Database::Postgres { .. }) => {
            Err(anyhow!("PostgreSQL has no folder to keep a token in; set `token` or `token_file` in [admin]"))
        }
    }
}

/// The control plane as the gateway of this process reaches it.
fn control_url(admin: SocketAddr) -> UpstreamUrl {
    AdminConfig { listen: admin, ..AdminConfig::default() }.reach_parts()
}

fn random<const LENGTH: usize>() -> anyhow::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    getrandom::fill(&mut bytes).map_err(|error| anyhow!("the system gives no random bytes: {error}"))?;
    Ok(bytes)
}
