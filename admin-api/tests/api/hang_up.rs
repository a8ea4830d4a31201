//! What becomes of a change when its caller is gone, or when telling of it fails.

use serde_json::json;
use tollgate_store::Change;

use crate::harness::{Listener, Plane};

#[tokio::test]
async fn an_answer_waits_until_the_gateway_obeys() {
    let plane = Plane::start().await;
    plane.post("/accounts", json!({ "email": "a@b", "plan": "pro" })).await.expect(201);
    plane.heard.take();
    plane.heard.listen(Listener::Slow);
    let ban = plane.operator("POST", "/accounts/a@b/ban", None);
    tokio::pin!(ban);
    tokio::select! {
        answer = &mut ban => panic!("it answered before the gateway had heard: {answer:?}"),
        () = plane.heard.began.notified() => {}
    }
    plane.heard.go_on.notify_one();
    assert_eq!(ban.await.expect(200)["state"], "banned");
    assert!(matches!(plane.heard.take()[..], [Change::Account(_)]));
}

#[tokio::test]
async fn a_caller_that_hangs_up_does_not_stop_the_news_of_its_change() {
    let plane = Plane::start().await;
    plane.post("/accounts", json!({ "email": "a@b", "plan": "pro" })).await.expect(201);
    plane.heard.take();
    plane.heard.listen(Listener::Slow);
    tokio::select! {
        answer = plane.operator("POST", "/accounts/a@b/ban", None) => panic!("it must still wait: {answer:?}"),
        () = plane.heard.began.notified() => {}
    }
    // The request was dropped half-way: the ban is stored, and its news is still on the way.
    plane.heard.listen(Listener::Prompt);
    plane.heard.go_on.notify_one();
    assert_eq!(plane.get("/accounts/a@b").await.expect(200)["state"], "banned");
    let mut heard = plane.heard.take();
    while heard.is_empty() {
        tokio::task::yield_now().await;
        heard = plane.heard.take();
    }
    assert!(matches!(heard[..], [Change::Account(_)]));
}

#[tokio::test]
async fn a_panic_costs_one_request() {
    let plane = Plane::start().await;
    plane.heard.listen(Listener::Broken);
    let problem = plane.post("/accounts", json!({ "email": "a@b" })).await.problem(500, "internal_error");
    assert_eq!(problem["detail"], "Internal error");
    plane.heard.listen(Listener::Prompt);
    plane.post("/accounts", json!({ "email": "c@d" })).await.expect(201);
}
