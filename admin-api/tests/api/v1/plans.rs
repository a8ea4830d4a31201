//! `GET /v1/plans`.

use serde_json::json;

use crate::harness::Plane;

#[tokio::test]
async fn plans_are_open_to_everybody_and_leave_the_anonymous_one_out() {
    let plane = Plane::start().await;
    let answer = plane.customer("/v1/plans", &[]).await;
    assert_eq!(answer.header("cache-control"), "public, max-age=60");
    let plans = answer.expect(200)["plans"].clone();
    let names: Vec<_> = plans.as_array().expect("plans").iter().map(|plan| &plan["name"]).collect();
    assert_eq!(names, ["free", "pro", "team"], "by rank");
    assert_eq!((&plans[0]["api"], &plans[0]["limits"]["quota"]), (&json!(false), &json!("unlimited")));
    insta::assert_json_snapshot!(plans[1], @r#"
    {
      "api": true,
      "description": "For one product",
      "display_name": "Pro",
      "features": [
        "llm"
      ],
      "highlights": [
        "API access (10k calls/mo)"
      ],
      "limits": {
        "burst": 60,
        "max_keys": 2,
        "meters": {
          "tokens": 1000000
        },
        "quota": 10000,
        "quota_period": "billing",
        "rate": "600/minute",
        "windows": [
          {
            "limit": 1000,
            "per": "day"
          }
        ]
      },
      "name": "pro",
      "price": {
        "amount": "29",
        "currency": "USD",
        "interval": "month",
        "text": "29 USD/month"
      }
    }
    "#);
}

#[tokio::test]
async fn other_methods_and_paths_are_refused() {
    let plane = Plane::start().await;
    for path in [
        "/v1",
        "/v1/plans/pro",
        "/v1/keys/a/b",
        "/",
        "/v1/admin/v1/accounts",
        "//admin/v1/accounts",
        "/v1/../admin/v1/accounts",
        "/%61dmin/v1/accounts",
    ] {
        plane.customer(path, &[]).await.problem(404, "not_found");
    }
    let request = http::Request::builder().method("POST").uri("/v1/plans").body(axum::body::Body::empty());
    plane.send(request.expect("a good request")).await.problem(405, "method_not_allowed");
}
