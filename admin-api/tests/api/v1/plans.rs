//! `GET /v1/plans`.

use crate::harness::Plane;

#[tokio::test]
async fn plans_are_open_to_everybody_and_leave_the_anonymous_one_out() {
    let plane = Plane::start().await;
    let answer = plane.customer("/v1/plans", &[]).await;
    assert_eq!(answer.header("cache-control"), "public, max-age=60");
    insta::assert_json_snapshot!(answer.expect(200), @"");
}

#[tokio::test]
async fn other_methods_and_paths_are_refused() {
    let plane = Plane::start().await;
    for path in ["/v1", "/v1/plans/pro", "/v1/keys", "/", "/v1/admin/v1/accounts"] {
        plane.customer(path, &[]).await.problem(404, "not_found");
    }
    let request = http::Request::builder().method("POST").uri("/v1/plans").body(axum::body::Body::empty());
    plane.send(request.expect("a good request")).await.problem(405, "method_not_allowed");
}
