//! Who may use the operator API, and what everybody else learns of it: nothing.

use axum::body::Body;
use http::Request;
use serde_json::json;

use crate::harness::{Plane, TOKEN};

fn request(method: &str, path: &str, authorization: &[&str]) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for value in authorization {
        request = request.header("authorization", *value);
    }
    request.body(Body::empty()).expect("a good request")
}

#[tokio::test]
async fn without_the_token_every_path_below_admin_answers_the_same_401() {
    let plane = Plane::start().await;
    let wrong = format!("Bearer {TOKEN}x");
    let short = format!("Bearer {}", &TOKEN[1..]);
    let right = format!("Bearer {TOKEN}");
    for authorization in [
        vec![],
        vec![""],
        vec!["Bearer"],
        vec!["Bearer "],
        vec![wrong.as_str()],
        vec![short.as_str()],
        vec!["Basic b3BlcmF0b3I6"],
        vec![TOKEN],
        vec![right.as_str(), wrong.as_str()],
        vec![right.as_str(), right.as_str()],
    ] {
        for (method, path) in [
            ("GET", "/admin"),
            ("GET", "/admin/"),
            ("GET", "/admin/nothing/here"),
            ("GET", "/admin/v1/accounts"),
            ("PATCH", "/admin/v1/accounts"),
            ("POST", "/admin/v1/keys"),
            ("GET", "/admin/v1/health"),
            ("DELETE", "/admin/v1/keys/key_0000000000000000000000"),
        ] {
            let answer = plane.send(request(method, path, &authorization)).await;
            assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"operator\"", "{method} {path}");
            let problem = answer.problem(401, "unauthorized");
            assert_eq!(problem["detail"], "Send the operator's token as `Authorization: Bearer …`");
        }
    }
}

#[tokio::test]
async fn a_body_is_not_read_before_the_token_is_checked() {
    let plane = Plane::start().await;
    let body = Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let request = Request::builder().method("POST").uri("/admin/v1/accounts").body(body).expect("a good request");
    plane.send(request).await.problem(401, "unauthorized");
}

#[tokio::test]
async fn the_scheme_is_read_in_any_case() {
    let plane = Plane::start().await;
    let value = format!("bEARER {TOKEN}");
    let answer = plane.send(request("GET", "/admin/v1/health", &[&value])).await;
    assert_eq!(answer.expect(200)["store"], "ok");
}

#[tokio::test]
async fn with_the_token_unknown_paths_are_404_and_unknown_methods_405() {
    let plane = Plane::start().await;
    plane.get("/nothing").await.problem(404, "not_found");
    plane.get("/accounts/a@b/nothing").await.problem(404, "not_found");
    for (method, path, allow) in [
        ("PATCH", "/accounts", "GET,HEAD,POST"),
        ("POST", "/accounts/a@b", "DELETE,GET,HEAD"),
        ("GET", "/accounts/a@b/ban", "POST"),
        ("GET", "/import/keys", "POST"),
        ("PUT", "/config", "GET,HEAD"),
    ] {
        let answer = plane.operator(method, path, None).await;
        let mut methods: Vec<_> = answer.header("allow").split(',').map(str::trim).collect();
        methods.sort_unstable();
        assert_eq!(methods.join(","), allow, "{method} {path}");
        answer.problem(405, "method_not_allowed");
    }
}

#[tokio::test]
async fn bodies_must_be_json_of_a_fitting_size() {
    let plane = Plane::start().await;
    let send = async |content_type: Option<&str>, body: Vec<u8>| {
        let mut request = Request::builder()
            .method("POST")
            .uri("/admin/v1/accounts")
            .header("authorization", format!("Bearer {TOKEN}"));
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        plane.send(request.body(Body::from(body)).expect("a good request")).await
    };
    let good = json!({ "email": "a@b" }).to_string().into_bytes();
    send(None, good.clone()).await.problem(415, "unsupported_media_type");
    send(Some("text/plain"), good.clone()).await.problem(415, "unsupported_media_type");
    send(Some("application/json"), b"{\"email\": ".to_vec()).await.problem(400, "malformed_json");
    let twice = br#"{"email": "a@b", "email": "c@d"}"#.to_vec();
    let problem = send(Some("application/json"), twice).await.problem(400, "malformed_json");
    assert_eq!(problem["detail"], "The body is not JSON: the field `email` stands there twice at line 1 column 32");
    send(Some("application/json"), Vec::new()).await.problem(400, "malformed_json");
    send(Some("application/json"), b"\xff".to_vec()).await.problem(400, "malformed_json");
    send(Some("application/json"), b"[".repeat(100_000)).await.problem(400, "malformed_json");
    send(Some("application/json"), vec![b' '; (1 << 20) + 1]).await.problem(413, "body_too_large");
    assert_eq!(send(Some("application/json"), b"[1]".to_vec()).await.pointers(), ["#"]);
    send(Some("Application/JSON; charset=utf-8"), good).await.expect(201);
}

#[tokio::test]
async fn every_answer_has_an_id_and_is_not_cached() {
    let plane = Plane::start().await;
    let answer = plane.get("/health").await;
    assert_eq!(answer.header("x-request-id").len(), 32);
    assert_eq!(answer.header("cache-control"), "no-store");
    let given = plane.operator_with("GET", "/nothing", None, &[("x-request-id", "req-1:a.b_c")]).await;
    assert_eq!(given.problem(404, "not_found")["request_id"], "req-1:a.b_c");
    let forged = plane.operator_with("GET", "/nothing", None, &[("x-request-id", "a b\"")]).await;
    assert_eq!(forged.header("x-request-id").len(), 32);
}
