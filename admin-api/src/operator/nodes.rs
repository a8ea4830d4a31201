//! `/admin/v1/nodes`: which processes run, and whether all have the same configuration in force.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::context::Context;
use crate::problem::{Problem, ProblemCode};

/// Every process that was heard of lately, and whether their configurations agree.
pub(super) async fn list(State(context): State<Context>) -> Result<Json<Value>, Problem> {
    let nodes = context.deps.nodes.list().await.map_err(|error| {
        tracing::warn!(%error, "nodes cannot be listed");
        Problem::new(ProblemCode::StoreUnavailable, "Redis, which knows the nodes, does not answer")
    })?;
    let hashes: BTreeSet<&str> = nodes.iter().map(|node| node.config_hash.as_str()).collect();
    let items: Vec<Value> = nodes
        .iter()
        .map(|node| {
            json!({
                "id": node.id,
                "role": node.role,
                "version": node.version,
                "config_hash": node.config_hash,
                "started_at": node.started_at.to_string(),
                "seen_at": node.seen_at.to_string(),
            })
        })
        .collect();
    Ok(Json(json!({ "items": items, "same_config": hashes.len() <= 1 })))
}
