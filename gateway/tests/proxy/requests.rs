//! The request log: which calls are kept one by one, and what of them.

use super::support::Fixture;

const CONFIG: &str = r#"
[plans.pro]
quota = "4/month"
[[routes]]
path = "/open"
access = "public"
[[routes]]
name = "things"
path = "/things/*"
"#;

/// Calls without an account, served and refused; the refused ones are named.
async fn kept(request_log: &str) -> (Fixture, Vec<(String, u16)>) {
    let fixture = Fixture::start(&format!("{CONFIG}[usage]\nrequest_log = \"{request_log}\"\n")).await;
    assert_eq!(fixture.call("GET /open", &[]).await.status(), 200);
    assert_eq!(fixture.send("GET /things/unknown", &["x-api-key: nonsense"], "").await.status(), 403);
    for number in 0..4 {
        assert_eq!(fixture.call(&format!("GET /things/{number}?secret=1"), &[]).await.status(), 200);
    }
    let refused: Vec<_> = (0..2).map(|number| (format!("/things/refused{number}"), 429)).collect();
    for (path, status) in &refused {
        assert_eq!(fixture.call(&format!("POST {path}"), &[]).await.status(), *status);
    }
    (fixture, refused)
}

#[tokio::test]
async fn nothing_is_kept_unless_asked_for() {
    let (fixture, _) = kept("off").await;
    assert!(fixture.stop().await.requests().is_empty());
}

#[tokio::test]
async fn of_a_sample_every_refused_call_is_kept() {
    let (fixture, refused) = kept("1/4").await;
    let counted = fixture.stop().await;
    let rows: Vec<_> = counted.requests().iter().map(|row| (row.path.clone(), row.status)).collect();
    assert_eq!(rows, [vec![("/things/0".to_owned(), 200)], refused].concat());
}

#[tokio::test]
async fn a_row_says_who_called_what_and_how_it_ended_and_never_the_query() {
    let (fixture, _) = kept("all").await;
    let (account, key_id) = (fixture.account, fixture.key_id);
    let counted = fixture.stop().await;
    let rows = counted.requests();
    assert_eq!(rows.len(), 6, "calls without a known key are in log and metrics only");
    let (first, last) = (rows[0], rows[5]);
    assert!(rows.iter().all(|row| (row.account, row.key, row.route.as_str()) == (account, key_id, "things")));
    assert_eq!((first.method.as_str(), first.path.as_str(), first.status), ("GET", "/things/0", 200));
    assert_eq!((first.units, first.period.is_some(), first.reason.as_deref()), (1, true, None));
    assert_eq!((last.method.as_str(), last.status, last.units), ("POST", 429, 0));
    assert_eq!((last.period, last.reason.as_deref()), (None, Some("quota")));
    assert!(rows.iter().all(|row| !format!("{row:?}").contains("secret")));
    let logged: Vec<_> = counted.log.iter().map(|line| line["request_id"].as_str().expect("an id")).collect();
    assert!(rows.iter().all(|row| logged.contains(&row.request.as_str())), "log and row name a request alike");
}

#[tokio::test]
async fn what_a_failed_call_is_charged_is_told_after_its_refund_and_a_long_path_is_cut() {
    let fixture = Fixture::start(&format!("{CONFIG}[usage]\nrequest_log = \"all\"\n")).await;
    fixture.backend.answers("503 Busy", &[]);
    let path = format!("/things/{}", "é".repeat(200).replace('é', "%C3%A9"));
    assert_eq!(fixture.call(&format!("GET {path}"), &[]).await.status(), 503);
    let counted = fixture.stop().await;
    let row = counted.requests()[0];
    assert_eq!((row.status, row.units, row.period.is_some(), row.path.len()), (503, 0, true, 256));
    assert!(path.starts_with(&row.path));
}
