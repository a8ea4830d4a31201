//! What is in force: the policy that requests read, and how the last reload went.
//!
//! It swaps a policy whole; it does not read files. Who watches the file calls [`Live::apply`] or [`Live::reject`].

use std::sync::Arc;

use arc_swap::ArcSwap;
use tollgate_domain::Timestamp;

use crate::config::Policy;

/// The policy in force, shared by every reader.
#[derive(Debug)]
pub struct Live {
    policy: ArcSwap<Policy>,
    status: ArcSwap<ReloadStatus>,
}

/// How the configuration in force came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReloadStatus {
    /// The hash of the configuration in force.
    pub hash: String,
    /// When it was put in force.
    pub loaded_at: Timestamp,
    /// Why the file as it is now is not in force; `None` when it is.
    pub last_error: Option<String>,
    /// Settings that differ in the file and wait for a restart.
    pub restart_needed: Vec<String>,
    /// Reloads that were refused since the start.
    pub failures: u64,
}

impl Live {
    /// Puts a first policy in force.
    pub fn new(policy: Policy, hash: String, now: Timestamp) -> Self {
        let status = ReloadStatus { hash, loaded_at: now, last_error: None, restart_needed: Vec::new(), failures: 0 };
        Self { policy: ArcSwap::from_pointee(policy), status: ArcSwap::from_pointee(status) }
    }

    /// The policy in force.
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// How it came about.
    pub fn status(&self) -> Arc<ReloadStatus> {
        self.status.load_full()
    }

    /// Puts a checked policy in force, whole.
    pub fn apply(&self, policy: Policy, hash: String, restart_needed: Vec<String>, now: Timestamp) {
        self.policy.store(Arc::new(policy));
        let failures = self.status.load().failures;
        self.status.store(Arc::new(ReloadStatus { hash, loaded_at: now, last_error: None, restart_needed, failures }));
    }

    /// Keeps the policy in force and remembers why the file could not replace it.
    pub fn reject(&self, error: String) {
        let before = self.status.load();
        let failures = before.failures + 1;
        self.status.store(Arc::new(ReloadStatus { last_error: Some(error), failures, ..(**before).clone() }));
    }
}
