//! `/login`: the page that a mailed link opens.
//!
//! Opening the page does nothing, so that a mail scanner which follows links does not use one up: a person presses the
//! button. The page holds no script and fetches nothing.

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::response::Response;
use http::header::{CONTENT_TYPE, HOST, ORIGIN, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use url::Url;

use super::session::open;
use crate::context::{Context, Shared};
use crate::html::{escaped, html};
use crate::problem::{Problem, ProblemCode};
use crate::request::{Parameters, whole_body};

/// Where a browser says which site a request was made by.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Where a gateway says which host its client named.
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// Longest token that is put into the page again, in bytes.
const TOKEN_BYTES_MAX: usize = 200;

/// The form of the page.
#[derive(utoipa::ToSchema)]
#[schema(as = LoginForm, example = json!({
    "token": "5f1d7a84db00d2fce00b31a7fc73224f5f1d7a84db00d2fce00b31a7fc73224f"
}))]
#[expect(dead_code, reason = "it describes what is read")]
pub(super) struct FormSchema {
    /// As it stands in the link.
    token: String,
}

/// The page with the button. It does not use the link up.
#[utoipa::path(
    get, path = "/login", tag = "session", operation_id = "login_page",
    params(("token" = Option<String>, Query, description = "The token of a mailed link.")),
    responses((status = 200, description = "A page.", body = String, content_type = "text/html; charset=utf-8")),
)]
pub(super) async fn page(mut query: Parameters) -> Result<Response, Problem> {
    let token = query.take("token", |text| Ok(text.to_owned()));
    // Whatever a mail program adds to a link does no harm.
    drop(query);
    let Some(token) = token.filter(|token| token.len() <= TOKEN_BYTES_MAX) else {
        let text = "<p>To sign in, open the link that was mailed to you.</p>";
        return Ok(html(StatusCode::OK, "Sign in", text));
    };
    let form = format!(
        "<p>Press the button to sign in.</p><form method=\"post\" action=\"login\"><input type=\"hidden\" name=\"token\" \
         value=\"{}\"><button>Sign in</button></form>",
        escaped(&token)
    );
    Ok(html(StatusCode::OK, "Sign in", &form))
}

/// Signs in with the page's form; the link is used up by that.
#[utoipa::path(
    post, path = "/login", tag = "session", operation_id = "login",
    request_body(content = FormSchema, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "A page; its answer sets the cookie of the session.", body = String, content_type = "text/html; charset=utf-8"),
        (status = 403, description = "A page: the link opens nothing, or another site sent the form.", body = String, content_type = "text/html; charset=utf-8"),
        (status = 409, description = "A page: another account has the address meanwhile.", body = String, content_type = "text/html; charset=utf-8"),
    ),
)]
pub(super) async fn sign_in(State(context): State<Context>, request: Request) -> Result<Response, Problem> {
    let headers = request.headers().clone();
    if !is_form(&headers) {
        let detail = "Send the form as application/x-www-form-urlencoded";
        return Err(Problem::new(ProblemCode::UnsupportedMediaType, detail));
    }
    if is_foreign(&context, &headers) {
        let text = "<p>Another site sent this form. Open the link that was mailed to you.</p>";
        return Ok(html(StatusCode::FORBIDDEN, "Not signed in", text));
    }
    let body = whole_body(request).await?;
    let token = token_of(&body).unwrap_or_default();
    match open(&context, &token).await {
        Ok(opened) => {
            let text = format!(
                "<p>You are signed in as <b>{}</b>. You may close this page.</p>",
                escaped(&opened.account.email)
            );
            let mut response = html(StatusCode::OK, "Signed in", &text);
            response.headers_mut().insert(SET_COOKIE, opened.cookie(&headers));
            Ok(response)
        }
        Err(problem) if problem.status().is_client_error() => {
            let text = format!("<p>{}.</p>", escaped(problem.detail()));
            Ok(html(problem.status(), "Not signed in", &text))
        }
        Err(problem) => Err(problem),
    }
}

fn token_of(body: &Bytes) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(body);
    pairs.find(|(name, _)| name == "token").map(|(_, value)| value.trim().to_owned())
}

fn is_form(headers: &HeaderMap) -> bool {
    let declared = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let essence = declared.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    essence.eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
}

/// Whether a browser says that another site made the request: it could sign a visitor in to an account of its own.
fn is_foreign(shared: &Shared, headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get(FETCH_SITE) {
        return !matches!(site.as_bytes(), b"same-origin" | b"none");
    }
    let Some(origin) = headers.get(ORIGIN) else { return false };
    let Some(origin) = origin.to_str().ok().and_then(|origin| Url::parse(origin).ok()) else { return true };
    let authority = &origin[url::Position::BeforeHost..url::Position::AfterPort];
    let named = [HOST, FORWARDED_HOST].into_iter().filter_map(|name| headers.get(name)?.to_str().ok());
    let public = shared.deps.settings.gateway.public_url.as_ref();
    let public = public.map(|url| &url[url::Position::BeforeHost..url::Position::AfterPort]);
    !named.chain(public).any(|host| host.eq_ignore_ascii_case(authority))
}
