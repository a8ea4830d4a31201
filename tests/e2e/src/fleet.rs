//! Several processes of the program on shared stores: gateways, and one or two control planes.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::backend::Backend;
use crate::gate::{Gate, Key};
use crate::link::Link;
use crate::service::{Database, PostgresServer, RedisServer, Shared};
use crate::setup::{Role, Setup};
use crate::stores::{Mode, Patience, Stores};

/// What a fleet is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    gateways: usize,
    admins: usize,
    mode: Mode,
    patience: Option<Patience>,
    is_cluster: bool,
    has_own_redis: bool,
    has_own_postgres: bool,
    policy: String,
    sections: Vec<(&'static str, String)>,
}

impl Plan {
    /// Three gateways and a control plane on the servers that tests share.
    pub fn new(mode: Mode, policy: impl Into<String>) -> Self {
        Self {
            gateways: 3,
            admins: 1,
            mode,
            patience: None,
            is_cluster: false,
            has_own_redis: false,
            has_own_postgres: false,
            policy: policy.into(),
            sections: Vec::new(),
        }
    }

    /// With so many gateways.
    #[must_use]
    pub fn gateways(self, gateways: usize) -> Self {
        Self { gateways, ..self }
    }

    /// With so many control planes.
    #[must_use]
    pub fn admins(self, admins: usize) -> Self {
        Self { admins, ..self }
    }

    /// Waiting so long for Redis. Otherwise a Redis server of its own, which is there to fail, is waited for as long as
    /// by default, and a shared one as long as it takes.
    #[must_use]
    pub fn patience(self, patience: Patience) -> Self {
        Self { patience: Some(patience), ..self }
    }

    /// On the Redis Cluster that tests share.
    #[must_use]
    pub fn cluster(self) -> Self {
        Self { is_cluster: true, ..self }
    }

    /// With a Redis server of its own, each process on a wire of its own to it.
    #[must_use]
    pub fn own_redis(self) -> Self {
        Self { has_own_redis: true, ..self }
    }

    /// With a `PostgreSQL` server of its own.
    #[must_use]
    pub fn own_postgres(self) -> Self {
        Self { has_own_postgres: true, ..self }
    }

    /// With this line in a section of every process' configuration.
    #[must_use]
    pub fn set(mut self, section: &'static str, line: &str) -> Self {
        self.sections.push((section, line.to_owned()));
        self
    }

    /// Starts it in front of this backend.
    ///
    /// # Panics
    /// When a part does not come up, or a service that it needs is not there.
    #[track_caller]
    pub fn start(self, backend: &Backend) -> Fleet {
        Fleet::start(&self, backend)
    }
}

/// A running fleet. Fields end in the order they stand in: processes before what they run on.
#[derive(Debug)]
pub struct Fleet {
    /// Its gateways.
    pub gateways: Vec<Gate>,
    /// Its control planes.
    pub admins: Vec<Gate>,
    /// Each gateway's wire to Redis, then each control plane's, where Redis is its own.
    pub links: Vec<Link>,
    /// Where its records, its ledger and its limits are.
    pub stores: Arc<Stores>,
    /// Its own Redis server.
    pub redis: Option<RedisServer>,
    /// Its own `PostgreSQL` server.
    pub postgres: Option<PostgresServer>,
}

impl Fleet {
    #[track_caller]
    fn start(plan: &Plan, backend: &Backend) -> Self {
        let missing = "a fleet needs services: tests/run starts them";
        let redis = plan.has_own_redis.then(RedisServer::start);
        let postgres = plan.has_own_postgres.then(PostgresServer::start);
        let nodes = match &redis {
            Some(own) => vec![own.url()],
            None if plan.is_cluster => Shared::cluster().expect(missing),
            None => vec![Shared::redis().expect(missing)],
        };
        let server = postgres.as_ref().map_or_else(|| Shared::postgres().expect(missing), PostgresServer::url);
        let usual = if plan.has_own_redis { Patience::Default } else { Patience::Long };
        let stores = Stores::database(&server).redis(nodes, plan.mode).patience(plan.patience.unwrap_or(usual));
        let stores = Arc::new(stores);
        let mut setup = Setup::new(backend).policy(plan.policy.as_str()).on(&stores);
        for (section, line) in &plan.sections {
            setup = setup.set(section, line);
        }
        let links = redis.iter().flat_map(|own| (0..plan.gateways + plan.admins).map(|_| Link::to(own.address())));
        let links: Vec<Link> = links.collect();
        let part = |index: usize, role: Role| {
            let setup = setup.clone().role(role);
            let setup = match links.get(index) {
                Some(link) => setup.redis_by(&format!("redis://{}", link.address())),
                None => setup,
            };
            setup.start()
        };
        let admins: Vec<Gate> = (0..plan.admins).map(|index| part(plan.gateways + index, Role::Admin)).collect();
        let admin = admins.first().expect("a fleet has a control plane").admin_address();
        let gateways = (0..plan.gateways).map(|index| part(index, Role::Gateway(admin))).collect();
        Self { gateways, admins, links, stores, redis, postgres }
    }

    /// Where its gateways take requests.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.gateways.iter().map(Gate::address).collect()
    }

    /// The control plane that the gateways are told of.
    pub fn admin(&self) -> &Gate {
        &self.admins[0]
    }

    /// Makes a key for this e-mail on the plan `pro`.
    #[track_caller]
    pub fn key(&self, email: &str) -> Key {
        self.admin().key(email, "pro")
    }

    /// Its database.
    ///
    /// # Panics
    /// When it has none, which no fleet does.
    pub fn database(&self) -> &Database {
        self.stores.in_server().expect("a fleet has a database")
    }

    /// Units that the ledger has against an account; `None` while the database does not answer.
    pub fn ledger(&self, key: &Key) -> Option<u64> {
        let statement = format!(
            "SELECT COALESCE(SUM(units_charged) - SUM(units_refunded), 0) FROM usage_lines WHERE account = '{}'",
            key.account
        );
        self.database().query(&statement).ok()?.parse().ok()
    }

    /// Its Redis server.
    ///
    /// # Panics
    /// When it shares one.
    #[track_caller]
    pub fn own_redis(&mut self) -> &mut RedisServer {
        self.redis.as_mut().expect("the fleet has a Redis server of its own")
    }

    /// Its `PostgreSQL` server.
    ///
    /// # Panics
    /// When it shares one.
    #[track_caller]
    pub fn own_postgres(&mut self) -> &mut PostgresServer {
        self.postgres.as_mut().expect("the fleet has a PostgreSQL server of its own")
    }

    /// Everything that its processes have written to their logs, each line with its process before it.
    pub fn logs(&self) -> String {
        let parts = self.gateways.iter().enumerate().map(|(index, gate)| (format!("gateway {index}"), gate));
        let parts = parts.chain(self.admins.iter().enumerate().map(|(index, gate)| (format!("admin {index}"), gate)));
        let lines = parts.flat_map(|(name, gate)| {
            let story = gate.story();
            story.lines().map(|line| format!("{name}: {line}\n")).collect::<Vec<_>>()
        });
        lines.collect()
    }
}
