//! `/admin/v1/nodes`: which processes run, and whether all have the same configuration in force.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::context::Context;
use crate::problem::{Problem, ProblemCode};

/// The processes of the deployment.
#[derive(Serialize, ToSchema)]
#[schema(as = Nodes)]
pub(super) struct NodesView {
    items: Vec<NodeView>,
    /// Whether all have the same configuration in force.
    same_config: bool,
}

/// One process.
#[derive(Serialize, ToSchema)]
#[schema(as = Node)]
struct NodeView {
    id: String,
    /// `up`, `gateway` or `admin`.
    role: String,
    version: String,
    config_hash: String,
    started_at: String,
    seen_at: String,
}

/// Every process that was heard of lately, and whether their configurations agree.
#[utoipa::path(
    get, path = "/admin/v1/nodes", tag = "operation", operation_id = "operator_list_nodes",
    responses((status = 200, body = NodesView)),
)]
pub(super) async fn list(State(context): State<Context>) -> Result<Json<NodesView>, Problem> {
    let nodes = context.deps.nodes.list().await.map_err(|error| {
        tracing::warn!(%error, "nodes cannot be listed");
        Problem::new(ProblemCode::StoreUnavailable, "Redis, which knows the nodes, does not answer")
    })?;
    let hashes: BTreeSet<&str> = nodes.iter().map(|node| node.config_hash.as_str()).collect();
    let same_config = hashes.len() <= 1;
    let items = nodes.into_iter().map(|node| NodeView {
        id: node.id,
        role: node.role,
        version: node.version,
        config_hash: node.config_hash,
        started_at: node.started_at.to_string(),
        seen_at: node.seen_at.to_string(),
    });
    Ok(Json(NodesView { items: items.collect(), same_config }))
}
