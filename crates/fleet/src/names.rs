//! The names of everything this crate keeps in Redis. All begin with the deployment's prefix; those of the limiter are
//! not here.

use tollgate_domain::{AccountId, KeyHash, NodeId};

/// The field of an entry of the stream of usage that holds the batch.
pub(crate) const USAGE_FIELD: &str = "batch";
/// The consumer group on the stream of usage.
pub(crate) const USAGE_GROUP: &str = "tollgate";

/// The names under one prefix.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    prefix: String,
    /// The stream of changes.
    pub(crate) changes: String,
    /// Until when every change has been carried into that stream; on the same server of a Cluster as it.
    pub(crate) carried: String,
    /// The stream of batches of usage.
    pub(crate) usage: String,
    /// The entries of that stream that nobody could read.
    pub(crate) usage_dead: String,
    /// A hash of every node's last sign of life.
    pub(crate) nodes: String,
}

impl Names {
    pub(crate) fn new(prefix: &str) -> Self {
        let name = |rest: &str| format!("{prefix}:{rest}");
        Self {
            prefix: prefix.into(),
            changes: name("changes"),
            carried: format!("{{{prefix}:changes}}:carried"),
            usage: name("usage"),
            usage_dead: name("usage:dead"),
            nodes: name("nodes"),
        }
    }

    /// The record of a key.
    pub(crate) fn key_record(&self, hash: &KeyHash) -> String {
        format!("{}:k:{hash}", self.prefix)
    }

    /// The record of an account.
    pub(crate) fn account_record(&self, account: AccountId) -> String {
        format!("{}:a:{account}", self.prefix)
    }

    /// The list of a node's batches that are stored and of which it has not heard yet.
    pub(crate) fn stored(&self, node: NodeId) -> String {
        format!("{}:stored:{{{node}}}", self.prefix)
    }
}
