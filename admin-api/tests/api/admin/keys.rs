//! `/admin/v1/keys`.

use serde_json::{Value, json};
use tollgate_domain::{KeyHasher, KeyPrefix, KeyShape};
use tollgate_store::Change;

use crate::harness::{Plane, blotted};

fn change(raw: &Value) -> Change {
    Change::Key(KeyHasher::new(None).hash(raw.as_str().expect("a raw key").as_bytes()))
}

#[tokio::test]
async fn a_key_is_made_with_its_account_and_shown_raw_once() {
    let plane = Plane::start().await;
    let answer = plane
        .post(
            "/keys",
            json!({
                "email": "ada@example.com", "plan": "pro", "name": "CI", "expires_at": "2026-04-01", "scopes": ["events-*"],
                "read_only": true, "ip_allow": ["10.1.2.3/8", "2001:db8::1"], "ip_deny": ["10.0.0.1"], "rate": "60/minute",
                "burst": 5, "cap": 100,
            }),
        )
        .await;
    assert_eq!(answer.header("cache-control"), "no-store");
    let made = answer.expect(201);
    let raw = made["key"].as_str().expect("a raw key").to_owned();
    let prefix = KeyPrefix::new("tg_live").expect("a good prefix");
    assert_eq!(KeyShape::of(raw.as_bytes(), &prefix, &[]), KeyShape::Ours);
    let heard = plane.heard.take();
    assert!(matches!(heard[..], [Change::Account(_), Change::Key(_)]), "{heard:?}");
    assert_eq!(heard[1], change(&made["key"]));
    insta::assert_json_snapshot!(blotted(made.clone(), &["/id", "/account", "/key", "/masked", "/log_name"]), @r#"
    {
      "account": "…",
      "burst": 5,
      "cap": 100,
      "created_at": "2026-03-10T12:00:00Z",
      "email": "ada@example.com",
      "expires_at": "2026-04-01T00:00:00Z",
      "fill_secs": 5,
      "grace_until": null,
      "id": "…",
      "ip_allow": [
        "10.0.0.0/8",
        "2001:db8::1/128"
      ],
      "ip_deny": [
        "10.0.0.1/32"
      ],
      "key": "…",
      "last_used_at": null,
      "log_name": "…",
      "masked": "…",
      "name": "CI",
      "plan": "pro",
      "read_only": true,
      "replaced_by": null,
      "revoked_at": null,
      "scopes": [
        "events-*"
      ],
      "state": "active"
    }
    "#);

    let shown = plane.get(&format!("/keys/{}", made["id"].as_str().expect("an id"))).await.expect(200);
    let listed = plane.get("/keys?account=ada@example.com").await.expect(200);
    assert_eq!(listed["items"], json!([shown]));
    for answer in [&shown, &listed, &plane.get("/audit").await.expect(200)] {
        assert!(!answer.to_string().contains(&raw[8..40]), "the secret is shown once: {answer}");
    }
    assert_eq!(shown["masked"], format!("tg_live_****{}", &raw[raw.len() - 4..]));
}

#[tokio::test]
async fn a_key_of_an_existing_account_needs_no_plan_or_the_one_it_is_on() {
    let plane = Plane::start().await;
    let first = plane.key("a@b", "team").await;
    for body in [
        json!({ "email": "A@B" }),
        json!({ "email": "a@b", "plan": "team" }),
        json!({ "account": first["account"] }),
        json!({ "account": "a@b", "plan": "team" }),
    ] {
        let made = plane.post("/keys", body.clone()).await.expect(201);
        assert_eq!((&made["account"], &made["plan"]), (&first["account"], &json!("team")), "{body}");
    }
    let problem = plane.post("/keys", json!({ "email": "a@b", "plan": "pro" })).await.problem(409, "other_plan");
    let detail = problem["detail"].as_str().expect("a text");
    assert!(detail.contains("tollgate accounts set-plan") && detail.contains("is on plan `team`"), "{detail}");
    assert_eq!((&problem["plan"], &problem["account"]), (&json!("team"), &first["account"]));
    assert_eq!(plane.get("/keys?account=a@b").await.expect(200)["items"].as_array().map(Vec::len), Some(5));
}

#[tokio::test]
async fn without_a_plan_a_new_e_mail_gets_the_default_one() {
    let plane = Plane::start().await;
    let made = plane.post("/keys", json!({ "email": "a@b" })).await.expect(201);
    assert_eq!(made["plan"], "free");
    assert_eq!(plane.get("/accounts/a@b").await.expect(200)["plan"]["why"], "default");
}

#[tokio::test]
async fn bad_fields_leave_neither_key_nor_account() {
    let plane = Plane::start().await;
    for (body, pointers) in [
        (json!({}), vec!["#/email"]),
        (json!({ "email": "a@b", "account": "a@b" }), vec!["#/account"]),
        (json!({ "account": "none@b" }), vec!["#/account"]),
        (json!({ "account": "acc_0000000000000000000000" }), vec!["#/account"]),
        (json!({ "account": "tg_live_oops" }), vec!["#/account"]),
        (json!({ "email": "a@b", "plan": "gold" }), vec!["#/plan"]),
        (json!({ "email": "a@b", "plan": "public" }), vec!["#/plan"]),
        (json!({ "email": "a@b", "expires_at": "2026-03-10T12:00:00Z" }), vec!["#/expires_at"]),
        (json!({ "email": "a@b", "scopes": ["a b", ""] }), vec!["#/scopes/0", "#/scopes/1"]),
        (json!({ "email": "a@b", "ip_allow": "10.0.0.0/8" }), vec!["#/ip_allow"]),
        (json!({ "email": "a@b", "burst": 5 }), vec!["#/burst"]),
        (json!({ "email": "a@b", "cap": "ten" }), vec!["#/cap"]),
        (json!({ "email": "a@b", "key": "mine" }), vec!["#/key"]),
    ] {
        assert_eq!(plane.post("/keys", body.clone()).await.pointers(), pointers, "{body}");
    }
    assert_eq!(plane.get("/accounts").await.expect(200)["items"], json!([]));
    assert_eq!(plane.get("/keys").await.expect(200)["items"], json!([]));
    assert_eq!(plane.heard.take(), []);
    let advice = plane.post("/keys", json!({ "email": "a@b", "plan": "gold" })).await.problem(422, "invalid_fields");
    assert_eq!(advice["detail"], "there is no plan `gold`; there are free, pro, team");
}

#[tokio::test]
async fn max_keys_counts_active_keys_only() {
    let plane = Plane::start().await;
    let first = plane.key("a@b", "pro").await;
    plane.key("a@b", "pro").await;
    let problem = plane.post("/keys", json!({ "email": "a@b" })).await.problem(409, "key_limit_reached");
    assert_eq!((&problem["limit"], &problem["used"], &problem["plan"]), (&json!(2), &json!(2), &json!("pro")));
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("2 active keys")), "{problem}");
    assert_eq!(plane.get("/accounts/a@b").await.expect(200)["keys"], 2);
    plane.operator("DELETE", &format!("/keys/{}", first["id"].as_str().expect("an id")), None).await.expect(200);
    assert_eq!(plane.get("/accounts/a@b").await.expect(200)["keys"], 1);
    plane.post("/keys", json!({ "email": "a@b" })).await.expect(201);
}

#[tokio::test]
async fn a_plan_without_keys_leaves_no_account_behind() {
    let plane = Plane::start().await;
    let mut policy = crate::harness::policy();
    let mut plans: Vec<_> = policy.plans.iter().map(|plan| (**plan).clone()).collect();
    for plan in &mut plans {
        plan.max_keys = Some(0);
    }
    policy.plans = tollgate_domain::PlanTable::new(plans, None);
    plane.live.apply(policy, "other".into(), Vec::new(), crate::harness::NOON);
    plane.post("/keys", json!({ "email": "a@b", "plan": "pro" })).await.problem(409, "key_limit_reached");
    plane.get("/accounts/a@b").await.problem(404, "not_found");
}

#[tokio::test]
async fn lists_are_paged_and_filtered_by_account() {
    let plane = Plane::start().await;
    for number in 0..3 {
        plane.clock.advance_secs(1);
        plane.key("a@b", "team").await;
        plane.key(&format!("other{number}@b"), "team").await;
    }
    let first = plane.get("/keys?limit=2&account=a@b").await.expect(200);
    let cursor = first["next_cursor"].as_str().expect("more follow");
    let second = plane.get(&format!("/keys?limit=2&account=a@b&cursor={cursor}")).await.expect(200);
    assert_eq!((first["items"].as_array().map(Vec::len), second["items"].as_array().map(Vec::len)), (Some(2), Some(1)));
    assert_eq!(second["next_cursor"], Value::Null);
    assert_eq!(plane.get("/keys").await.expect(200)["items"].as_array().map(Vec::len), Some(6));
    plane.get("/keys?account=none@b").await.problem(404, "not_found");
    assert_eq!(plane.get("/keys?account=a@b&cursor=x&page=2").await.pointers(), ["cursor", "page"]);
}

#[tokio::test]
async fn what_is_not_there_is_404_and_a_raw_key_in_its_place_is_not_repeated() {
    let plane = Plane::start().await;
    let raw = plane.key("a@b", "pro").await["key"].as_str().expect("a raw key").to_owned();
    for id in ["key_0000000000000000000000", "acc_0000000000000000000000", raw.as_str(), "x"] {
        for (method, tail) in [("GET", ""), ("DELETE", ""), ("POST", "/rotate")] {
            let answer = plane.operator(method, &format!("/keys/{id}{tail}"), None).await;
            let problem = answer.problem(404, "not_found");
            assert!(!problem.to_string().contains(&raw[8..40]));
        }
    }
}

#[tokio::test]
async fn rotation_gives_a_new_key_at_once_and_the_old_one_its_grace() {
    let plane = Plane::start().await;
    let body = json!({ "email": "a@b", "plan": "pro", "name": "CI", "scopes": ["events"], "cap": 9, "expires_at": "2026-05-01" });
    let old = plane.post("/keys", body).await.expect(201);
    let old_id = old["id"].as_str().expect("an id");
    plane.heard.take();
    let new = plane.post(&format!("/keys/{old_id}/rotate"), json!({ "grace": "1h" })).await.expect(201);
    assert_ne!(new["key"], old["key"]);
    for kept in ["name", "scopes", "cap", "expires_at", "account", "plan"] {
        assert_eq!(new[kept], old[kept], "{kept}");
    }
    assert_eq!(new["replaces"], json!({ "id": old_id, "grace_until": "2026-03-10T13:00:00Z" }));
    assert_eq!(plane.heard.take(), [change(&old["key"]), change(&new["key"])]);
    let shown = plane.get(&format!("/keys/{old_id}")).await.expect(200);
    assert_eq!((&shown["state"], &shown["replaced_by"]), (&json!("in_grace"), &new["id"]));
    assert_eq!(plane.get("/accounts/a@b").await.expect(200)["keys"], 1, "one in its grace does not count");

    let again = plane.operator("POST", &format!("/keys/{}/rotate", new["id"].as_str().expect("an id")), None).await;
    let problem = again.problem(409, "predecessor_in_grace");
    assert_eq!(problem["grace_until"], "2026-03-10T13:00:00Z");
    plane.clock.advance_secs(3_600);
    assert_eq!(plane.get(&format!("/keys/{old_id}")).await.expect(200)["state"], "rotated_out");
    let problem = plane.operator("POST", &format!("/keys/{old_id}/rotate"), None).await.problem(409, "key_not_active");
    assert_eq!(problem["state"], "rotated_out");
    let third = plane.operator("POST", &format!("/keys/{}/rotate", new["id"].as_str().expect("an id")), None).await;
    assert_eq!(third.expect(201)["replaces"]["grace_until"], "2026-03-10T13:00:00Z", "no grace unless asked for");
}

#[tokio::test]
async fn a_grace_is_a_duration_up_to_thirty_days() {
    let plane = Plane::start().await;
    let key = plane.key("a@b", "pro").await;
    let path = format!("/keys/{}/rotate", key["id"].as_str().expect("an id"));
    for body in [
        json!({ "grace": "31d" }),
        json!({ "grace": "721h" }),
        json!({ "grace": "-1h" }),
        json!({ "grace": "soon" }),
        json!({ "grace": 3600 }),
        json!({ "grace": "9223372036854775807d" }),
    ] {
        assert_eq!(plane.post(&path, body.clone()).await.pointers(), ["#/grace"], "{body}");
    }
    assert_eq!(plane.post(&path, json!({ "name": "x" })).await.pointers(), ["#/name"]);
    plane.post(&path, json!({ "grace": "30d" })).await.expect(201);
}

#[tokio::test]
async fn revoking_is_final_and_may_be_repeated() {
    let plane = Plane::start().await;
    let key = plane.key("a@b", "pro").await;
    let path = format!("/keys/{}", key["id"].as_str().expect("an id"));
    plane.heard.take();
    let revoked = plane.operator("DELETE", &path, None).await.expect(200);
    assert_eq!((&revoked["state"], &revoked["revoked_at"]), (&json!("revoked"), &json!("2026-03-10T12:00:00Z")));
    assert_eq!(plane.heard.take(), [change(&key["key"])]);
    plane.clock.advance_secs(60);
    assert_eq!(plane.operator("DELETE", &path, None).await.expect(200), revoked, "the second time changes nothing");
    plane.operator("POST", &format!("{path}/rotate"), None).await.problem(409, "key_not_active");
}
