//! The operator API, `/admin/v1/*`: who may use it, what it consists of.

mod accounts;
mod audit;
mod config;
mod idempotency;
mod imports;
mod keys;
mod nodes;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use tollgate_domain::{Account, AccountId};

use crate::context::{Context, Shared};
use crate::fields::shown;
use crate::problem::{Problem, ProblemCode};
use crate::request::{unknown_method, unknown_path};

/// Largest body of a call, in bytes.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Largest body of an import, in bytes.
const IMPORT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Everything under `/admin`. The token is asked for before anything else, also where there is nothing.
pub(crate) fn router(context: &Context) -> Router<Context> {
    let idempotent = || from_fn_with_state(context.clone(), idempotency::answer_once);
    let imports = Router::new()
        .route("/v1/import/keys", post(imports::keys))
        .route("/v1/import/accounts", post(imports::accounts))
        .route_layer(idempotent())
        .layer(DefaultBodyLimit::max(IMPORT_BYTES_MAX));
    let calls = Router::new()
        .route("/v1/accounts", get(accounts::list).post(accounts::create))
        .route("/v1/accounts/{account}", get(accounts::show).delete(accounts::remove))
        .route("/v1/accounts/{account}/plan", put(accounts::set_plan))
        .route("/v1/accounts/{account}/ban", post(accounts::ban))
        .route("/v1/accounts/{account}/unban", post(accounts::unban))
        .route("/v1/keys", get(keys::list).post(keys::create))
        .route("/v1/keys/{key}", delete(keys::revoke).get(keys::show))
        .route("/v1/keys/{key}/rotate", post(keys::rotate))
        .route("/v1/config", get(config::show))
        .route("/v1/health", get(config::health))
        .route("/v1/nodes", get(nodes::list))
        .route("/v1/audit", get(audit::list))
        .route_layer(idempotent())
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
    Router::new().merge(calls).merge(imports).fallback(unknown_path).method_not_allowed_fallback(unknown_method)
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
fn bears_token(shared: &Shared, headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let Some((scheme, sent)) = value.as_bytes().split_at_checked(b"bearer ".len()) else { return false };
    scheme.eq_ignore_ascii_case(b"bearer ") && shared.deps.token.matches(sent.trim_ascii())
}

/// The account that an id or an e-mail names, unless it was deleted.
///
/// # Errors
/// There is none, or the store does not answer.
async fn account_named(shared: &Shared, reference: &str) -> Result<Account, Problem> {
    match find_account(shared, reference).await? {
        Some(account) => Ok(account),
        None if reference.contains('@') => {
            Err(Problem::not_found(format!("There is no account with the e-mail `{}`", shown(reference))))
        }
        // The text is not repeated: it may be a key that was put in the wrong place.
        None => Err(Problem::not_found("There is no such account; name it by its id (acc_…) or its e-mail")),
    }
}

async fn find_account(shared: &Shared, reference: &str) -> Result<Option<Account>, Problem> {
    let reference = reference.trim();
    let found = match reference.parse::<AccountId>() {
        Ok(id) => shared.store().account(id).await?,
        Err(_) if reference.contains('@') => shared.store().account_by_email(reference).await?,
        Err(_) => None,
    };
    Ok(found.filter(|account| account.deleted_at.is_none()))
}
