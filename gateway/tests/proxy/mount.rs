//! The control plane under the gateway's mount, and the session that it keeps with a browser.

use super::support::{Fixture, header};

const CONFIG: &str = r#"
[gateway]
mount = "/tollgate"
[plans.pro]
quota = "100/month"
[[routes]]
path = "/pass"
access = "pass"
[[routes]]
path = "/open"
access = "public"
[cors]
origins = ["https://example.com"]
methods = ["GET", "PATCH"]
headers = ["content-type", "x-csrf-token"]
"#;

#[tokio::test]
async fn the_control_plane_hears_where_it_is_mounted_and_gets_cookies_bodies_and_every_method() {
    let fixture = Fixture::start(CONFIG).await;
    fixture.control.answers("200 OK", &["Set-Cookie: tollgate_session=s; Path=/tollgate; HttpOnly", "Set-Cookie: b=2"]);
    let sent = [
        "Cookie: tollgate_session=s; a=1",
        "X-Tollgate-Mount: /evil",
        "x_tollgate_mount: /evil",
        "X-Tollgate-Client: evil",
        "X_Tollgate_Client: evil",
        "X-Forwarded-For: evil",
        "X-CSRF-Token: t",
    ];
    for (line, path, body) in [
        ("GET /tollgate/v1/me?x=1", "/v1/me?x=1", ""),
        ("PATCH /tollgate/v1/me", "/v1/me", "{}"),
        ("DELETE /tollgate/v1/keys/key_1", "/v1/keys/key_1", ""),
        ("POST /tollgate/v1/session/link", "/v1/session/link", "{\"email\":\"a@example.com\"}"),
        ("GET /tollgate/login?token=t", "/login?token=t", ""),
        ("POST /tollgate/login", "/login", "token=t"),
        ("GET /tollgate/openapi.json", "/openapi.json", ""),
    ] {
        let answer = fixture.send(line, &sent, body).await;
        assert_eq!(answer.status(), 200, "{line}");
        assert!(answer.header("set-cookie").is_some_and(|cookie| cookie.starts_with("tollgate_session=s;")), "{line}");
        let seen = fixture.control.seen();
        let method = line.split(' ').next().expect("a method");
        assert!(seen.starts_with(&format!("{method} {path} ")), "{seen}");
        assert_eq!(header(&seen, "x-tollgate-mount").collect::<Vec<_>>(), ["/tollgate"], "{seen}");
        assert_eq!(header(&seen, "x-tollgate-client").collect::<Vec<_>>(), ["127.0.0.1"], "{seen}");
        assert!(!seen.contains("evil"), "{seen}");
        assert_eq!(header(&seen, "cookie").collect::<Vec<_>>(), ["tollgate_session=s; a=1"]);
        assert_eq!(header(&seen, "x-csrf-token").next(), Some("t"));
        assert_eq!(header(&seen, "content-length").next().unwrap_or("0"), body.len().to_string());
    }
    for path in [
        "/tollgate/admin/v1/accounts",
        "/tollgate/v1/../admin/v1/keys",
        "/tollgate/operator",
        "/tollgate",
        "/tollgate/loginx",
    ] {
        assert_eq!(fixture.send(&format!("GET {path}"), &sent, "").await.status(), 404, "{path}");
    }
    assert!(fixture.control.seen_none() && fixture.backend.seen_none());
}

#[tokio::test]
async fn a_preflight_of_the_control_plane_is_answered_here() {
    let fixture = Fixture::start(CONFIG).await;
    let asked = ["Origin: https://example.com", "Access-Control-Request-Method: PATCH"];
    let answer = fixture.send("OPTIONS /tollgate/v1/me", &asked, "").await;
    assert_eq!((answer.status(), answer.header("access-control-allow-methods")), (204, Some("GET, PATCH")));
    assert_eq!(fixture.send("OPTIONS /tollgate/admin/v1/keys", &asked, "").await.status(), 404);
    assert!(fixture.control.seen_none());
}

#[tokio::test]
async fn the_backend_never_sees_the_session_and_sees_every_other_cookie_as_it_was() {
    let fixture = Fixture::start(CONFIG).await;
    for path in ["/pass", "/open", "/keyed"] {
        for (sent, expected) in [
            (&["Cookie: tollgate_session=s"][..], &[][..]),
            (&["Cookie: a=1; tollgate_session=s; b=\"2\""], &["a=1; b=\"2\""]),
            (&["Cookie: a=1;b = 2; tollgate_session2=x"], &["a=1;b = 2; tollgate_session2=x"]),
            (&["Cookie: tollgate_session=s", "Cookie: b=2", "cookie: c=3; tollgate_session=t"], &["b=2", "c=3"]),
        ] {
            assert_eq!(fixture.call(&format!("GET {path}"), sent).await.status(), 200);
            let seen = fixture.backend.seen();
            assert_eq!(header(&seen, "cookie").collect::<Vec<_>>(), expected, "{path} {sent:?}");
        }
    }
}

#[tokio::test]
async fn the_control_plane_hears_of_the_client_that_a_trusted_proxy_names() {
    let config = CONFIG.replace("[gateway]", "[gateway]\ntrusted_proxies = [\"127.0.0.0/8\"]");
    let fixture = Fixture::start(&config).await;
    let sent = ["X-Forwarded-For: 198.51.100.1, 203.0.113.9", "X-Tollgate-Client: 198.51.100.2"];
    assert_eq!(fixture.send("GET /tollgate/v1/plans", &sent, "").await.status(), 200);
    let seen = fixture.control.seen();
    assert_eq!(header(&seen, "x-tollgate-client").collect::<Vec<_>>(), ["203.0.113.9"], "{seen}");
    assert_eq!(fixture.call("GET /pass", &sent).await.status(), 200);
    let seen = fixture.backend.seen();
    assert_eq!(header(&seen, "x-tollgate-client").next(), None, "it is for the control plane only: {seen}");
}

#[tokio::test]
async fn a_backend_does_not_set_the_session_and_sets_every_other_cookie() {
    let fixture = Fixture::start(CONFIG).await;
    fixture.backend.answers(
        "200 OK",
        &[
            "Set-Cookie: a=1; Path=/",
            "Set-Cookie: tollgate_session=evil; Path=/tollgate; HttpOnly",
            "set-cookie: =tollgate_session=evil",
            "SET-COOKIE:   tollgate_session = evil ; Domain=example.com",
            "Set-Cookie: b=tollgate_session=2",
            "Set-Cookie: tollgate_session_of_mine=3",
        ],
    );
    for path in ["/pass", "/open", "/keyed"] {
        let answer = fixture.call(&format!("GET {path}"), &[]).await;
        assert_eq!(answer.status(), 200, "{path}");
        let set: Vec<_> = answer.headers("set-cookie").collect();
        assert_eq!(set, ["a=1; Path=/", "b=tollgate_session=2", "tollgate_session_of_mine=3"], "{path}");
    }
}
