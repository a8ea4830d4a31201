//! The operator API, `/admin/v1/*`: who may use it, what it consists of.

mod accounts;
mod audit;
mod config;
pub(crate) mod credit;
pub(crate) mod explain;
mod imports;
mod keys;
mod nodes;
mod reconcile;
pub(crate) mod usage;
mod verdict;
mod webhooks;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use tollgate_domain::{Account, AccountId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::context::{Context, Shared};
use crate::fields::shown;
use crate::idempotency;
use crate::problem::{Problem, ProblemCode};

/// Largest body of a call, in bytes.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Largest body of an import, in bytes.
const IMPORT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Everything under `/admin` but what tells of use.
pub(crate) fn router() -> OpenApiRouter<Context> {
    let imports = OpenApiRouter::new()
        .routes(routes!(imports::keys))
        .routes(routes!(imports::accounts))
        .route_layer(from_fn(idempotency::of_operator))
        .layer(DefaultBodyLimit::max(IMPORT_BYTES_MAX));
    let calls = OpenApiRouter::new()
        .routes(routes!(accounts::list, accounts::create))
        .routes(routes!(accounts::show, accounts::remove))
        .routes(routes!(accounts::set_plan))
        .routes(routes!(accounts::ban))
        .routes(routes!(accounts::unban))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::show, keys::change, keys::revoke))
        .routes(routes!(keys::rotate))
        .routes(routes!(config::show))
        .routes(routes!(config::health))
        .routes(routes!(nodes::list))
        .routes(routes!(audit::list))
        .routes(routes!(webhooks::list))
        .routes(routes!(webhooks::show))
        .routes(routes!(webhooks::replay))
        .routes(routes!(reconcile::compare))
        .route_layer(from_fn(idempotency::of_operator))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
    OpenApiRouter::new().merge(calls).merge(imports)
}

/// Lets a request for anything under `/admin` pass with the operator's token only.
pub(crate) async fn authenticate(State(context): State<Context>, request: Request, next: Next) -> Response {
    let is_operators = request.uri().path().split('/').nth(1) == Some("admin");
    if is_operators && !bears_token(&context, request.headers()) {
        let detail = "Send the operator's token as `Authorization: Bearer …`";
        return Problem::new(ProblemCode::Unauthorized, detail)
            .with_challenge(HeaderValue::from_static("Bearer realm=\"operator\""))
            .into_response();
    }
    next.run(request).await
}

/// Exactly one `Authorization`, of the scheme `Bearer`, with the token.
pub(crate) fn bears_token(shared: &Shared, headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let Some((scheme, sent)) = value.as_bytes().split_at_checked(b"bearer ".len()) else { return false };
    scheme.eq_ignore_ascii_case(b"bearer ") && shared.deps.token.matches(sent.trim_ascii())
}

/// The account that an id or an e-mail names, unless it was deleted.
///
/// # Errors
/// There is none, or the store does not answer.
pub(crate) async fn account_named(shared: &Shared, reference: &str) -> Result<Account, Problem> {
    match find_account(shared, reference).await? {
        Some(account) => Ok(account),
        None if reference.contains('@') => {
            Err(Problem::not_found(format!("There is no account with the e-mail `{}`", shown(reference))))
        }
        // The text is not repeated: it may be a key that was put in the wrong place.
        None => Err(Problem::not_found("There is no such account; name it by its id (acc_…) or its e-mail")),
    }
}

pub(crate) async fn find_account(shared: &Shared, reference: &str) -> Result<Option<Account>, Problem> {
    let reference = reference.trim();
    let found = match reference.parse::<AccountId>() {
        Ok(id) => shared.store().account(id).await?,
        Err(_) if reference.contains('@') => shared.store().account_by_email(reference).await?,
        Err(_) => None,
    };
    Ok(found.filter(|account| account.deleted_at.is_none()))
}
