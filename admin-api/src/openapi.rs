//! The document of what the control plane serves, `/openapi.json`.
//!
//! Paths, parameters, bodies and the answers of success stand at the handlers. What every call has in common is said
//! here, once: how callers prove themselves, the errors that reading a request and asking the store may end in, and
//! `Idempotency-Key`. Settings do not change the document, but for where it says that things are: paths, and the header of
//! a key.

use std::borrow::Cow;
use std::sync::LazyLock;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CACHE_CONTROL;
use http::{HeaderMap, StatusCode};
use serde_json::json;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{
    Components, ContentBuilder, HttpMethod, InfoBuilder, OpenApi, OpenApiBuilder, PathItem, Ref, RefOr,
    ResponseBuilder, Server,
};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::context::Context;
use crate::customer::{CSRF_HEADER, mounted_at};
use crate::problem::Problem;

/// By the operator's token.
const OPERATOR: &str = "operator";
/// By an API key.
pub(crate) const API_KEY: &str = "api_key";
/// By the cookie of a session.
pub(crate) const SESSION: &str = "session";
/// What a write by cookie carries besides.
const CSRF: &str = "csrf";
/// By a token of the backend's own.
pub(crate) const TOKEN: &str = "token";
/// By the token that a backend reports use with.
pub(crate) const SERVICE: &str = "service";

/// An error answer (RFC 9457). Which further members there are depends on `code`.
#[derive(ToSchema)]
#[schema(as = Problem)]
#[expect(dead_code, reason = "it describes what `Problem` writes")]
struct ProblemView {
    /// A registered kind of problem, or `about:blank`.
    r#type: String,
    /// The kind, or the status, in words.
    title: String,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What is wrong, in words.
    detail: String,
    /// What is wrong, in one stable word, such as `invalid_fields`.
    code: String,
    /// Names the request in the log.
    request_id: String,
    /// Each thing that is wrong with the request's fields.
    #[schema(required = false, nullable = false)]
    errors: Vec<FieldErrorView>,
}

/// One thing that is wrong with a request.
#[derive(ToSchema)]
#[schema(as = FieldError)]
#[expect(dead_code, reason = "it describes what `FieldError` writes")]
struct FieldErrorView {
    /// Where in the body, as a JSON pointer in its fragment form, such as `#/name`.
    #[schema(required = false, nullable = false)]
    pointer: Option<String>,
    /// Which parameter of the query, or header.
    #[schema(required = false, nullable = false)]
    parameter: Option<String>,
    /// The line of the file that a row came from.
    #[schema(required = false, nullable = false)]
    line: Option<u64>,
    /// The column of that file.
    #[schema(required = false, nullable = false)]
    column: Option<String>,
    /// What is wrong and what to write instead.
    detail: String,
}

/// A number of units, or the word `unlimited`.
pub(crate) fn units_or_unlimited() -> Schema {
    let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0));
    let word = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["unlimited"]));
    OneOfBuilder::new().item(number).item(word).into()
}

/// Such a number or word for each name.
pub(crate) fn units_or_unlimited_by_name() -> Schema {
    ObjectBuilder::new().schema_type(Type::Object).additional_properties(Some(units_or_unlimited())).into()
}

/// An object of whatever members.
pub(crate) fn any_object() -> Schema {
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .additional_properties(Some(AdditionalProperties::FreeForm(true)))
        .into()
}

/// What holds for the document as a whole.
pub(crate) fn frame() -> OpenApi {
    let bearer = |format: Option<&str>, description: &str| {
        let mut scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(description));
        if let Some(format) = format {
            scheme = scheme.bearer_format(format);
        }
        SecurityScheme::Http(scheme.build())
    };
    let described = |name: &str, description: &str| ApiKeyValue::with_description(name, description);
    let mut components = Components::new();
    for (name, scheme) in [
        (OPERATOR, bearer(None, "The operator's token.")),
        (SERVICE, bearer(None, "The token that a backend reports use with (`[usage] service_token`).")),
        (TOKEN, bearer(Some("JWT"), "A token of the backend's own sign-in (`[auth.jwt]`), also in its named cookie.")),
        (API_KEY, key_scheme("x-api-key")),
        (
            SESSION,
            SecurityScheme::ApiKey(ApiKey::Cookie(described("tollgate_session", "A session, as a sign-in set it."))),
        ),
        (
            CSRF,
            SecurityScheme::ApiKey(ApiKey::Header(described(
                CSRF_HEADER.as_str(),
                "The `csrf_token` of GET /v1/session; every write that a cookie proves carries it.",
            ))),
        ),
    ] {
        components.add_security_scheme(name, scheme);
    }
    let (problem, field_error) = (ProblemView::schema(), FieldErrorView::schema());
    components.schemas.insert("Problem".to_owned(), problem);
    components.schemas.insert("FieldError".to_owned(), field_error);
    let description = "Accounts, keys and usage: for customers under `/v1`, for operators under `/admin/v1`. \
                       Errors are `application/problem+json` (RFC 9457); lists are paged by `cursor`.";
    let info = InfoBuilder::new()
        .title("Tollgate control plane")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(description))
        .build();
    OpenApiBuilder::new().info(info).components(Some(components)).servers(Some([Server::new("/")])).build()
}

/// By an API key in this header.
fn key_scheme(header: &str) -> SecurityScheme {
    let description = "An API key, in the header that `[keys] header` names; also as `Authorization: Bearer`.";
    SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(header, description)))
}

impl PartialSchema for Problem {
    fn schema() -> RefOr<Schema> {
        ProblemView::schema()
    }
}

impl ToSchema for Problem {
    fn name() -> Cow<'static, str> {
        "Problem".into()
    }
}

/// The route of the document itself.
pub(crate) fn router() -> OpenApiRouter<Context> {
    OpenApiRouter::new().routes(routes!(show))
}

/// This document.
///
/// Where a gateway serves it under its mount, it tells of what is reached there: the operator API is not.
#[utoipa::path(
    get, path = "/openapi.json", tag = "document",
    responses((status = 200, description = "OpenAPI 3.1.", body = Value, content_type = "application/json")),
)]
pub(crate) async fn show(State(context): State<Context>, headers: HeaderMap) -> Response {
    // Made once: anybody may ask for it.
    static DOCUMENT: LazyLock<OpenApi> = LazyLock::new(crate::openapi);
    let mut document = DOCUMENT.clone();
    if let Some(components) = &mut document.components {
        components.add_security_scheme(API_KEY, key_scheme(context.key_header().as_str()));
    }
    if let Some(mount) = mounted_at(&headers) {
        document.servers = Some(vec![Server::new(mount)]);
        document.paths.paths.retain(|path, _| !path.starts_with("/admin/"));
    }
    ([(CACHE_CONTROL, "public, max-age=60")], Json(document)).into_response()
}

/// Says at each call what all calls of its kind have in common.
pub(crate) fn completed(mut document: OpenApi) -> OpenApi {
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            complete(path, &method, operation);
        }
    }
    close_requests(&mut document);
    document
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (HttpMethod, &mut Operation)> {
    [
        (HttpMethod::Get, &mut item.get),
        (HttpMethod::Put, &mut item.put),
        (HttpMethod::Post, &mut item.post),
        (HttpMethod::Patch, &mut item.patch),
        (HttpMethod::Delete, &mut item.delete),
    ]
    .into_iter()
    .filter_map(|(method, operation)| operation.as_mut().map(|operation| (method, operation)))
}

fn complete(path: &str, method: &HttpMethod, operation: &mut Operation) {
    if path.starts_with("/admin/") {
        operation.security = Some(vec![SecurityRequirement::new::<_, [&str; 0], &str>(OPERATOR, [])]);
    }
    let is_write = !matches!(method, HttpMethod::Get);
    let mut is_idempotent = path.starts_with("/admin/");
    if let Some(security) = &mut operation.security {
        for requirement in security.iter_mut() {
            if !is_open(requirement) && names(requirement, SESSION) {
                is_idempotent = true;
                if is_write {
                    let session = SecurityRequirement::new::<_, [&str; 0], &str>(SESSION, []);
                    *requirement = session.add::<_, [&str; 0], &str>(CSRF, []);
                }
            }
        }
    }
    for (status, response) in &mut operation.responses.responses {
        declare_problem(response);
        describe(status, response);
    }
    let mut problems = vec![
        (StatusCode::BAD_REQUEST, "The request cannot be read."),
        (StatusCode::INTERNAL_SERVER_ERROR, "A fault of the server's; the log has the cause under the request's id."),
        (StatusCode::SERVICE_UNAVAILABLE, "The database, or something else that is needed, does not answer."),
    ];
    let is_secured = operation.security.as_ref().is_some_and(|all| !all.iter().any(is_open));
    if is_secured {
        problems.push((StatusCode::UNAUTHORIZED, "Nothing was sent that proves who calls."));
        problems.push((StatusCode::FORBIDDEN, "What was sent does not open this."));
    }
    let parameters = operation.parameters.as_deref().unwrap_or_default();
    let takes = |place: &ParameterIn| {
        parameters.iter().any(|parameter| matches!(parameter, RefOr::T(parameter) if parameter.parameter_in == *place))
    };
    if takes(&ParameterIn::Path) {
        problems.push((StatusCode::NOT_FOUND, "There is no such thing, or it is another's."));
    }
    if takes(&ParameterIn::Query) || operation.request_body.is_some() {
        problems
            .push((StatusCode::UNPROCESSABLE_ENTITY, "Fields or parameters are not as they must be, see `errors`."));
    }
    let takes_key = matches!(method, HttpMethod::Post) && is_secured && is_idempotent;
    if operation.request_body.is_some() || takes_key {
        problems.push((StatusCode::REQUEST_TIMEOUT, "The body did not arrive in time."));
        problems.push((StatusCode::PAYLOAD_TOO_LARGE, "The body is too large."));
    }
    if operation.request_body.is_some() {
        problems.push((StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body is not declared to be what it must be."));
    }
    if takes_key {
        add_idempotency(operation);
        problems.push((StatusCode::CONFLICT, "It was done before, is under way, or something is in its way."));
        problems.push((StatusCode::UNPROCESSABLE_ENTITY, "The `Idempotency-Key` was used for another request."));
    }
    for (status, description) in problems {
        operation
            .responses
            .responses
            .entry(status.as_str().to_owned())
            .or_insert_with(|| problem_response(description));
    }
}

/// Every object that a request holds has the fields that are described, and no others.
fn close_requests(document: &mut OpenApi) {
    let Some(components) = &mut document.components else { return };
    for (name, schema) in &mut components.schemas {
        if let (true, RefOr::T(Schema::Object(object))) = (name.ends_with("Request"), schema) {
            object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
        }
    }
}

fn add_idempotency(operation: &mut Operation) {
    let schema = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(255))
        .pattern(Some("^[!-~]{1,255}$"));
    let parameter = ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(utoipa::openapi::Required::False)
        .description(Some("Makes the call safe to repeat: done once, and answered alike for 24 hours."))
        .schema(Some(schema))
        .build();
    operation.parameters.get_or_insert_default().push(parameter.into());
}

fn problem_response(description: &str) -> RefOr<utoipa::openapi::Response> {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    ResponseBuilder::new().description(description).content("application/problem+json", content).build().into()
}

/// What an answer is, where its handler says no more than its status does.
fn describe(status: &str, response: &mut RefOr<utoipa::openapi::Response>) {
    let RefOr::T(response) = response else { return };
    if response.description.is_empty() {
        let description = match status {
            "200" => "What was asked for.",
            "201" => "It was made.",
            "202" => "It was taken, and is done soon.",
            "404" => "There is no such thing, or it is another's.",
            _ => "See `code` and `detail`.",
        };
        description.clone_into(&mut response.description);
    }
}

/// A problem is declared as what it is, wherever a handler names one.
fn declare_problem(response: &mut RefOr<utoipa::openapi::Response>) {
    let RefOr::T(response) = response else { return };
    let is_problem = |content: &RefOr<utoipa::openapi::Content>| match content {
        RefOr::T(content) => {
            matches!(&content.schema, Some(RefOr::Ref(schema)) if schema.ref_location.ends_with("/Problem"))
        }
        RefOr::Ref(_) => false,
    };
    if response.content.get("application/json").is_some_and(is_problem)
        && let Some(content) = response.content.swap_remove("application/json")
    {
        response.content.insert("application/problem+json".to_owned(), content);
    }
}

/// An optional requirement: none.
fn is_open(requirement: &SecurityRequirement) -> bool {
    requirement == &SecurityRequirement::default()
}

fn names(requirement: &SecurityRequirement, scheme: &str) -> bool {
    json!(requirement).get(scheme).is_some()
}
