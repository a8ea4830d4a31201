//! What the processes of a fleet share by Redis: limits, changes, usage, the list of nodes, the time.

use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tollgate_admin_api::{NodeRecord, Nodes, NodesUnavailable};
use tollgate_config::{LimiterMode, Live, RedisConfig, Settings};
use tollgate_domain::{AccountId, Charged, Clock, NodeId, Period};
use tollgate_fleet::{
    CacheSettings, CachedKeys, ChangeReader, Charges, FleetClock, FleetLink, LinkSettings, NodeFacts, Registry, Relay,
    SpoolSettings, SpooledUsage, Topology, UsageIngest,
};
use tollgate_gateway::SystemClock;
use tollgate_limiter::{Mode, RedisLimiter, RedisSettings, Subject};
use tollgate_store::{ChangeSink, Feed, Store, UsageSink};

use super::Role;

/// The way to Redis, and what is true of the whole process.
pub(super) struct Shared {
    pub(super) link: Arc<FleetLink>,
    pub(super) clock: Arc<FleetClock>,
    pub(super) limiter: Arc<RedisLimiter>,
    pub(super) registry: Arc<Registry>,
    node: NodeId,
}

/// What a gateway of a fleet has besides.
pub(super) struct GatewaySide {
    pub(super) records: Arc<CachedKeys>,
    pub(super) usage: Arc<SpooledUsage>,
    pub(super) feed: Arc<Feed>,
    pub(super) clock: Arc<FleetClock>,
}

/// What the control plane of a fleet has besides.
pub(super) struct ControlSide {
    pub(super) relay: Arc<Relay>,
    pub(super) ingest: Arc<UsageIngest>,
}

impl Shared {
    /// Reads the addresses of Redis. Nothing waits for it: it may come later.
    ///
    /// # Errors
    /// An address cannot be used.
    pub(super) fn new(
        redis: &RedisConfig,
        settings: &Settings,
        role: Role,
        node: NodeId,
        live: &Live,
    ) -> anyhow::Result<Self> {
        let prefix = &*settings.store.redis_prefix;
        let topology = match redis {
            RedisConfig::Single(url) => Topology::Single(url.reveal().to_owned()),
            RedisConfig::Cluster(urls) => Topology::Cluster(urls.iter().map(|url| url.reveal().to_owned()).collect()),
        };
        let link = FleetLink::new(&LinkSettings::new(topology.clone(), prefix))?;
        let clock = FleetClock::new(Arc::new(SystemClock));
        let limits_topology = match topology {
            Topology::Single(url) => tollgate_limiter::Topology::Single(url),
            Topology::Cluster(urls) => tollgate_limiter::Topology::Cluster(urls),
        };
        let mode = match settings.limits.mode {
            LimiterMode::Exact => Mode::Exact,
            LimiterMode::Leased => Mode::Leased { ttl: settings.limits.lease_ttl },
        };
        let limiter = Arc::new(RedisLimiter::new(&RedisSettings {
            timeout: settings.store.redis_timeout,
            prefix: prefix.into(),
            ..RedisSettings::new(limits_topology, mode, node)
        })?);
        let facts = NodeFacts {
            id: node,
            role: role.in_fleet(),
            version: env!("CARGO_PKG_VERSION").into(),
            config_hash: live.status().hash.clone(),
            started_at: clock.now(),
        };
        let registry = Registry::new(Arc::clone(&link), Arc::clone(&clock), facts);
        Ok(Self { link, clock, limiter, registry, node })
    }

    /// Makes a gateway's side, and takes over what an earlier run has left in the spool.
    ///
    /// # Errors
    /// The spool's folder cannot be used.
    pub(super) fn gateway_side(&self, settings: &Settings, store: Arc<dyn Store>) -> anyhow::Result<GatewaySide> {
        let records = Arc::new(CachedKeys::new(Arc::clone(&self.link), store, CacheSettings::default()));
        let spool = SpoolSettings {
            folder: settings.store.spool.clone(),
            bytes_max: settings.store.spool_max,
            node: self.node,
        };
        let usage = SpooledUsage::open(&spool, Arc::clone(&self.link))?;
        Ok(GatewaySide { records, usage, feed: Arc::new(Feed::silent()), clock: Arc::clone(&self.clock) })
    }

    /// Makes the control plane's side. `local` is the gateway in the same process, if there is one.
    pub(super) fn control_side(&self, store: &Arc<dyn Store>, local: Option<Arc<dyn ChangeSink>>) -> ControlSide {
        let charges = Arc::new(ByLimiter(Arc::clone(&self.limiter)));
        let relay = Relay::new(Arc::clone(&self.link), Arc::clone(store), charges, local, CacheSettings::default());
        let ingest = UsageIngest::new(Arc::clone(&self.link), Arc::clone(store), self.node);
        ControlSide { relay, ingest }
    }

    /// Begins to be seen, to tell the time, and to hear how many share the limits.
    pub(super) fn start(&self, live: Arc<Live>, stop: &watch::Receiver<bool>) -> Vec<JoinHandle<()>> {
        let (registry, limiter) = (Arc::clone(&self.registry), Arc::clone(&self.limiter));
        let mut gateways = registry.live_gateways();
        let mut stopped = stop.clone();
        let share = async move {
            loop {
                limiter.set_nodes(usize::try_from(*gateways.borrow_and_update()).unwrap_or(usize::MAX));
                registry.set_config_hash(&live.status().hash);
                tokio::select! {
                    changed = gateways.changed() => if changed.is_err() { return },
                    () = tokio::time::sleep(SAY_HASH_EVERY) => {}
                    _ = stopped.wait_for(|stop| *stop) => return,
                }
            }
        };
        vec![tokio::spawn(Arc::clone(&self.registry).run(stop.clone())), tokio::spawn(share)]
    }
}

/// How often the list of nodes is told which configuration is in force here.
const SAY_HASH_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

impl GatewaySide {
    /// Where usage goes.
    pub(super) fn usage(&self) -> Arc<dyn UsageSink> {
        Arc::clone(&self.usage) as Arc<dyn UsageSink>
    }

    /// Begins to hear of changes and to send usage.
    pub(super) fn start(
        &self,
        shared: &Shared,
        changes: Arc<dyn ChangeSink>,
        stop: &watch::Receiver<bool>,
    ) -> (Arc<ChangeReader>, Vec<JoinHandle<()>>) {
        let clock = Arc::clone(&shared.clock) as Arc<dyn Clock>;
        let reader = ChangeReader::new(Arc::clone(&shared.link), changes, Arc::clone(&self.feed), clock);
        let tasks = vec![
            tokio::spawn(Arc::clone(&reader).run(stop.clone())),
            tokio::spawn(Arc::clone(&self.usage).run(stop.clone())),
        ];
        (reader, tasks)
    }
}

impl ControlSide {
    /// Begins to tell changes and to store usage.
    pub(super) fn start(&self, stop: &watch::Receiver<bool>) -> Vec<JoinHandle<()>> {
        vec![
            tokio::spawn(Arc::clone(&self.relay).run(stop.clone())),
            tokio::spawn(Arc::clone(&self.ingest).run(stop.clone())),
        ]
    }
}

/// Charges what was used beside the gateways to the shared limits.
struct ByLimiter(Arc<RedisLimiter>);

#[async_trait]
impl Charges for ByLimiter {
    async fn charge(
        &self,
        account: AccountId,
        of: Charged,
        period: Period,
        units: i64,
        position: u64,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(self.0.charge_shared(Subject::Account(account), of, period, units, position).await?)
    }
}

/// The processes of a fleet.
#[async_trait]
impl Nodes for Shared {
    async fn list(&self) -> Result<Vec<NodeRecord>, NodesUnavailable> {
        let nodes = self.registry.nodes().await.map_err(|error| NodesUnavailable(error.into()))?;
        Ok(nodes
            .into_iter()
            .map(|node| NodeRecord {
                id: node.facts.id.to_string(),
                role: Role::of(node.facts.role).as_str().into(),
                version: node.facts.version,
                config_hash: node.facts.config_hash,
                started_at: node.facts.started_at,
                seen_at: node.seen_at,
            })
            .collect())
    }
}
