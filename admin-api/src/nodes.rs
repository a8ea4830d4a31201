//! The list of processes that make up the deployment, as the composition root knows it.

use async_trait::async_trait;
use tollgate_domain::Timestamp;

/// One process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRecord {
    /// Its id, as batches of usage carry it.
    pub id: String,
    /// `up`, `gateway` or `admin`.
    pub role: String,
    /// The version of the program.
    pub version: String,
    /// Which configuration it has in force.
    pub config_hash: String,
    /// When it started.
    pub started_at: Timestamp,
    /// When it was heard of last.
    pub seen_at: Timestamp,
}

/// What lists the nodes does not answer.
#[derive(Debug, thiserror::Error)]
#[error("the list of nodes cannot be read: {0}")]
pub struct NodesUnavailable(#[from] pub Box<dyn std::error::Error + Send + Sync>);

/// Who is there.
#[async_trait]
pub trait Nodes: Send + Sync {
    /// Every process that was heard of lately.
    async fn list(&self) -> Result<Vec<NodeRecord>, NodesUnavailable>;
}
