//! `PATCH /v1/me`: a name at once, a new address once it is proven.

use serde_json::{Value, json};
use tollgate_store::Change;

use crate::harness::{Answer, Plane, SignIn};

async fn change(plane: &Plane, who: &SignIn, body: Value) -> Answer {
    plane.call("PATCH", "/v1/me", Some(&body), &who.headers()).await
}

#[tokio::test]
async fn a_name_changes_at_once_and_only_what_is_sent() {
    let plane = Plane::start().await;
    let ada = plane.sign_in("ada@example.com").await;
    plane.heard.take();
    let me = change(&plane, &ada, json!({ "name": " Ada Lovelace " })).await.expect(200);
    assert_eq!((&me["name"], me.get("pending_email")), (&json!("Ada Lovelace"), None));
    assert_eq!(plane.heard.take(), [Change::Account(ada.account.parse().expect("an id"))]);
    assert_eq!(change(&plane, &ada, json!({})).await.expect(200)["name"], "Ada Lovelace");
    assert_eq!(change(&plane, &ada, json!({ "name": null })).await.expect(200)["name"], Value::Null);
    let trail = plane.get(&format!("/audit?account={}", ada.account)).await.expect(200);
    assert_eq!(
        (&trail["items"][0]["actor"], &trail["items"][0]["action"]),
        (&json!("customer"), &json!("account.update"))
    );
    assert!(!trail.to_string().contains("Lovelace"), "what is erased with the account is not in the trail");
}

#[tokio::test]
async fn a_new_address_takes_effect_when_the_link_mailed_to_it_is_opened() {
    let plane = Plane::start().await;
    let ada = plane.sign_in("ada@example.com").await;
    let me = change(&plane, &ada, json!({ "email": "ada@new.example", "name": "A" })).await.expect(200);
    assert_eq!((&me["email"], &me["pending_email"]), (&json!("ada@example.com"), &json!("ada@new.example")));
    let letter = plane.post.next().await;
    assert_eq!(letter.to, "ada@new.example");
    let opened = plane.call("POST", "/v1/session", Some(&json!({ "token": letter.token() })), &[]).await.expect(200);
    assert_eq!((&opened["account"], &opened["email"]), (&json!(ada.account), &json!("ada@new.example")));
    let told = plane.post.next().await;
    assert_eq!((told.to.as_str(), told.subject.as_str()), ("ada@example.com", "Your e-mail address was changed"));
    let me = plane.customer("/v1/me", &[("cookie", &ada.cookie)]).await.expect(200);
    assert_eq!((&me["email"], &me["name"]), (&json!("ada@new.example"), &json!("A")));
    // Whoever has the old address now is somebody else.
    assert_ne!(plane.sign_in("ada@example.com").await.account, ada.account);
}

#[tokio::test]
async fn the_address_of_another_account_stays_with_it() {
    let plane = Plane::start().await;
    let (ada, bob) = (plane.sign_in("ada@example.com").await, plane.sign_in("bob@example.com").await);
    // The answer does not tell whether the address has an account.
    assert_eq!(
        change(&plane, &bob, json!({ "email": "Ada@example.com" })).await.expect(200)["pending_email"],
        "Ada@example.com"
    );
    let token = plane.post.next().await.token();
    let answer = plane.call("POST", "/v1/session", Some(&json!({ "token": token })), &[]).await;
    assert_eq!(answer.header("set-cookie"), "");
    answer.problem(409, "email_taken");
    for (who, email) in [(&ada, "ada@example.com"), (&bob, "bob@example.com")] {
        let me = plane.customer("/v1/me", &[("cookie", &who.cookie)]).await.expect(200);
        assert_eq!(me["email"], email);
    }
}

#[tokio::test]
async fn a_link_for_an_address_dies_with_the_account_and_one_s_own_address_needs_none() {
    let plane = Plane::start().await;
    let ada = plane.sign_in("ada@example.com").await;
    assert_eq!(
        change(&plane, &ada, json!({ "email": "ADA@example.com" })).await.expect(200).get("pending_email"),
        None
    );
    assert!(plane.post.is_quiet().await);
    change(&plane, &ada, json!({ "email": "ada@new.example" })).await.expect(200);
    let token = plane.post.next().await.token();
    plane.operator("DELETE", &format!("/accounts/{}", ada.account), None).await.expect(200);
    let answer = plane.call("POST", "/v1/session", Some(&json!({ "token": token })), &[]).await;
    answer.problem(403, "invalid_link");
}

#[tokio::test]
async fn each_bad_field_is_pointed_at_and_nothing_changes() {
    let plane = Plane::start().await;
    let ada = plane.sign_in("ada@example.com").await;
    for (body, pointers) in [
        (json!({ "email": null }), vec!["#/email"]),
        (json!({ "email": "nobody", "name": "good" }), vec!["#/email"]),
        (json!({ "name": 7 }), vec!["#/name"]),
        (json!({ "name": "", "email": "a b@c", "plan": "pro" }), vec!["#/name", "#/email", "#/plan"]),
    ] {
        assert_eq!(change(&plane, &ada, body.clone()).await.pointers(), pointers, "{body}");
    }
    let me = plane.customer("/v1/me", &[("cookie", &ada.cookie)]).await.expect(200);
    assert_eq!(me["name"], "ada");
    assert!(plane.post.is_quiet().await);
}
