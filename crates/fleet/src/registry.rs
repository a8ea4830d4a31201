//! Who is there: each process says every second that it lives, and hears who else does.
//!
//! The same exchange tells Redis time, which goes to the fleet's clock.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_redis::redis::cmd;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tollgate_domain::{DAY_US, NodeId, SECOND_US, Timestamp};

use crate::clock::FleetClock;
use crate::error::FleetError;
use crate::link::FleetLink;

/// How often a process says that it lives.
const EVERY: Duration = Duration::from_secs(1);
/// How long after its last word a node counts as living.
const ALIVE_US: i64 = 10 * SECOND_US;
const ALIVE: Duration = Duration::from_secs(10);
/// How long after its last word a node is forgotten.
const FORGOTTEN_US: i64 = DAY_US;

const BEAT: &str = include_str!("script/beat.lua");

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It serves requests.
    Gateway,
    /// It is the control plane.
    Admin,
    /// Both in one process.
    Both,
}

impl Role {
    /// Whether it takes a share of the limits.
    fn is_gateway(self) -> bool {
        matches!(self, Self::Gateway | Self::Both)
    }
}

/// What a process says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// Which run of which process.
    pub id: NodeId,
    /// What it does.
    pub role: Role,
    /// The version of the program.
    pub version: String,
    /// A hash of its configuration in force.
    pub config_hash: String,
    /// When it started.
    pub started_at: Timestamp,
}

/// A process as the fleet knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeReport {
    /// What it says of itself.
    pub facts: NodeFacts,
    /// When it was heard last, in Redis time.
    pub seen_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Form {
    role: Role,
    version: String,
    config_hash: String,
    started_at: i64,
}

/// One process's part in the list of nodes.
pub struct Registry {
    link: Arc<FleetLink>,
    clock: Arc<FleetClock>,
    facts: Mutex<NodeFacts>,
    gateways: watch::Sender<u32>,
    heard: Mutex<Heard>,
}

/// What was heard last.
#[derive(Default)]
struct Heard {
    nodes: Vec<NodeReport>,
    /// When this process last found each gateway alive: a Redis that was emptied does not make the others vanish.
    gateways: HashMap<NodeId, Instant>,
}

impl Registry {
    /// A process that has not said anything yet. Until it hears of others it counts one gateway.
    pub fn new(link: Arc<FleetLink>, clock: Arc<FleetClock>, facts: NodeFacts) -> Arc<Self> {
        let gateways = watch::Sender::new(1);
        Arc::new(Self { link, clock, facts: Mutex::new(facts), gateways, heard: Mutex::default() })
    }

    /// Says from now on that the process runs under this configuration.
    pub fn set_config_hash(&self, hash: &str) {
        self.facts.lock().config_hash = hash.into();
    }

    /// How many gateways live; the last known count while Redis is away, one before any is known.
    pub fn live_gateways(&self) -> watch::Receiver<u32> {
        self.gateways.subscribe()
    }

    /// The nodes that lived when this process last spoke with Redis, in order of id.
    pub fn last_known(&self) -> Vec<NodeReport> {
        self.heard.lock().nodes.clone()
    }

    /// The nodes that live, in order of id.
    ///
    /// # Errors
    /// Redis does not answer.
    pub async fn nodes(&self) -> Result<Vec<NodeReport>, FleetError> {
        let beat = self.exchange("").await?;
        Ok(living(&beat))
    }

    /// Says every second that this process lives, until told to stop; then says that it is gone.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            // A failure is noted by the link, and the next beat is a second away.
            let _beaten = self.beat().await;
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                _ = stop.changed() => break,
            }
        }
        let id = self.facts.lock().id;
        let _gone = self.link.call::<()>(cmd("HDEL").arg(&self.link.names().nodes).arg(id.to_string())).await;
    }

    /// Says once that this process lives, and hears who else does.
    ///
    /// # Errors
    /// Redis does not answer.
    pub async fn beat(&self) -> Result<(), FleetError> {
        let (id, form) = {
            let facts = self.facts.lock();
            let form = Form {
                role: facts.role,
                version: facts.version.clone(),
                config_hash: facts.config_hash.clone(),
                started_at: facts.started_at.as_micros(),
            };
            (facts.id, serde_json::to_string(&form).expect("text and numbers can be written as JSON"))
        };
        let beat = self.exchange(&format!("{id} {form}")).await?;
        self.take(living(&beat));
        self.forget(&beat).await
    }

    fn take(&self, nodes: Vec<NodeReport>) {
        let now = Instant::now();
        let mut heard = self.heard.lock();
        let gateways = nodes.iter().filter(|node| node.facts.role.is_gateway()).map(|node| (node.facts.id, now));
        heard.gateways.extend(gateways);
        heard.gateways.retain(|_, seen| now.duration_since(*seen) < ALIVE);
        let count = u32::try_from(heard.gateways.len().max(1)).unwrap_or(u32::MAX);
        heard.nodes = nodes;
        self.gateways.send_if_modified(|known| std::mem::replace(known, count) != count);
    }

    /// Strikes those off the list that nobody has heard for a day.
    async fn forget(&self, beat: &Beat) -> Result<(), FleetError> {
        let long_gone = beat.entries.iter().filter(|(_, seen_us, _)| beat.now_us - seen_us > FORGOTTEN_US);
        let names: Vec<&str> = long_gone.map(|(name, _, _)| name.as_str()).collect();
        if names.is_empty() {
            return Ok(());
        }
        self.link.call::<()>(cmd("HDEL").arg(&self.link.names().nodes).arg(names)).await
    }

    /// Asks for the list and the time, having said `own` (`<node> <facts>`) if it is not empty.
    async fn exchange(&self, own: &str) -> Result<Beat, FleetError> {
        let (name, facts) = own.split_once(' ').unwrap_or_default();
        let mut command = cmd("EVAL");
        command.arg(BEAT).arg(1).arg(&self.link.names().nodes).arg(name).arg(facts);
        let sent = Instant::now();
        let (seconds, micros, entries): (i64, i64, Vec<String>) = self.link.call(&command).await?;
        let now_us = seconds * SECOND_US + micros;
        // In a Cluster too: the list lies on one server, so the time is always that server's.
        self.clock.learn(now_us, sent, Instant::now());
        let entries = entries.chunks_exact(2).filter_map(|pair| {
            let (seen, facts) = pair[1].split_once(' ')?;
            Some((pair[0].clone(), seen.parse().ok()?, facts.to_owned()))
        });
        Ok(Beat { now_us, entries: entries.collect() })
    }
}

/// The list as Redis has it: name, when it was seen, facts.
struct Beat {
    now_us: i64,
    entries: Vec<(String, i64, String)>,
}

/// Those of the list that live. What a later version writes and this one cannot read is left out.
fn living(beat: &Beat) -> Vec<NodeReport> {
    let alive = beat.entries.iter().filter(|(_, seen_us, _)| beat.now_us - seen_us < ALIVE_US);
    let reports = alive.filter_map(|(name, seen_us, facts)| {
        let form: Form = serde_json::from_str(facts).ok()?;
        let facts = NodeFacts {
            id: name.parse().ok()?,
            role: form.role,
            version: form.version,
            config_hash: form.config_hash,
            started_at: Timestamp::from_micros(form.started_at),
        };
        Some(NodeReport { facts, seen_at: Timestamp::from_micros(*seen_us) })
    });
    let mut reports: Vec<NodeReport> = reports.collect();
    reports.sort_by_key(|report| report.facts.id);
    reports
}
