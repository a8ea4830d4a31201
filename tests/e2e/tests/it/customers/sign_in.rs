//! Signing in by a mailed link, the session that comes of it, and the proof of a new address.

use serde_json::json;
use tollgate_e2e::{Answer, Backend, Profile, Request, Setup, Side, eventually, eventually_within, in_parallel};

use super::Scene;

fn open(scene: &Scene, token: &str) -> Answer {
    Side::Direct.ask(&scene.gate, Request::json("POST", "/v1/session", &json!({ "token": token })))
}

fn ask_for_link(scene: &Scene, email: &str) -> Answer {
    Side::Direct.ask(&scene.gate, Request::json("POST", "/v1/session/link", &json!({ "email": email })))
}

#[test]
fn a_mailed_link_signs_in_once_and_makes_the_account() {
    let scene = Scene::new();
    for side in Side::ALL {
        let email = format!("{side:?}@example.com").to_lowercase();
        let customer = side.sign_in(&scene.gate, &scene.mailbox, &email);
        let mail = scene.mailbox.await_mail(&email, 0);
        assert!(mail.link().starts_with("https://api.example.com/tollgate/login?token="), "{mail:#?}");
        assert_eq!(mail.from, "noreply@acme.example");
        let path = if side == Side::Direct { "/" } else { "/tollgate" };
        for attribute in [&format!("Path={path}"), "HttpOnly", "Secure", "SameSite=Lax"] {
            assert!(
                customer.attributes.split("; ").any(|one| one == attribute),
                "{attribute}: {}",
                customer.attributes
            );
        }
        assert_eq!(customer.lasts_secs(), 86_400, "24 hours: {}", customer.attributes);
        let session = customer.get("/v1/session").expect(200).json();
        assert_eq!((&session["email"], &session["csrf_token"]), (&json!(email), &json!(customer.csrf)), "{session:#}");
        assert_eq!(scene.gate.account(&email)["id"], customer.account);
        open(&scene, mail.token()).problem(403, "invalid_link");
        let again = side.sign_in(&scene.gate, &scene.mailbox, &email);
        assert_eq!(again.account, customer.account, "a second link opens the same account");
        assert_ne!(again.cookie, customer.cookie);
    }
}

#[test]
fn an_address_asks_for_twenty_links_an_hour_and_who_is_behind_another_for_theirs() {
    let scene = Scene::with(|setup| setup.set("gateway", "trusted_proxies = [\"127.0.0.0/8\"]"));
    let ask = |side: Side, client: &str, number: usize| {
        let email = json!({ "email": format!("{number}@example.com") });
        let request = Request::json("POST", "/v1/session/link", &email).header("X-Forwarded-For", client);
        side.ask(&scene.gate, request.header("X-Tollgate-Client", &format!("192.0.2.{number}")))
    };
    // One after the other: only so many mails are under way at a time.
    let await_mailed = |number: usize| drop(scene.mailbox.await_mail(&format!("{number}@example.com"), 0));
    for number in 0..20 {
        ask(Side::Mounted, "203.0.113.9", number).expect(202);
        await_mailed(number);
    }
    let refused = ask(Side::Mounted, "203.0.113.9", 20);
    assert!((3_000..=3_700).contains(&refused.number("retry-after")), "{refused:?}");
    refused.problem(429, "too_many_links");
    ask(Side::Mounted, "203.0.113.10", 21).expect(202);
    // Beside the gateway nobody says who calls, and an operator's own tools are not bounded.
    for number in 22..45 {
        ask_for_link(&scene, &format!("{number}@example.com")).expect(202);
        await_mailed(number);
    }
}

#[test]
fn a_link_that_many_open_at_once_signs_in_one_of_them() {
    let scene = Scene::new();
    ask_for_link(&scene, "ada@example.com").expect(202);
    let token = scene.mailbox.await_mail("ada@example.com", 0).token().to_owned();
    let mut statuses = in_parallel(8, |_| open(&scene, &token).status);
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 403, 403, 403, 403, 403, 403, 403]);
}

#[test]
fn tokens_that_were_never_mailed_open_nothing() {
    let scene = Scene::new();
    let unknown = "0".repeat(64);
    for token in ["x", &unknown, "", "../../admin", &"f".repeat(100_000)] {
        let answer = open(&scene, token);
        assert!(matches!(answer.status, 403 | 413 | 422), "{}: {}", answer.status, answer.text());
        assert_eq!(answer.header("set-cookie"), None);
    }
}

#[test]
fn the_answer_is_the_same_for_every_address_and_an_address_gets_five_mails_an_hour() {
    let scene = Scene::new();
    scene.key("ada");
    for email in ["ada@example.com", "stranger@example.com"] {
        for _ in 0..8 {
            assert_eq!(ask_for_link(&scene, email).expect(202).json(), json!({ "sent": true }));
        }
        scene.mailbox.await_mail(email, 4);
    }
    // One that is asked for later is mailed later: by then the others would be there.
    ask_for_link(&scene, "marker@example.com").expect(202);
    scene.mailbox.await_mail("marker@example.com", 0);
    let counts = ["ada@example.com", "stranger@example.com"].map(|email| scene.mailbox.to(email).len());
    assert_eq!(counts, [5, 5]);
    assert!(!scene.gate.log().contains("stranger@example.com"), "no address in the log");
}

#[test]
fn opening_the_page_uses_no_link_up_and_its_button_signs_in() {
    let scene = Scene::new();
    for side in Side::ALL {
        let email = format!("{side:?}@example.com").to_lowercase();
        ask_for_link(&scene, &email).expect(202);
        let token = scene.mailbox.await_mail(&email, 0).token().to_owned();
        for _ in 0..3 {
            let page = side.ask(&scene.gate, Request::get(&format!("/login?token={token}"))).expect(200);
            assert!(page.text().contains(&token) && page.text().contains("<form"), "{}", page.text());
            assert_eq!(page.header("set-cookie"), None);
        }
        let form = |site: &str| {
            let request = Request::post("/login", format!("token={token}"));
            let request = request.header("content-type", "application/x-www-form-urlencoded");
            side.ask(&scene.gate, request.header("sec-fetch-site", site))
        };
        assert_eq!(form("cross-site").expect(403).header("set-cookie"), None, "another site's form");
        let signed_in = form("same-origin").expect(200);
        assert!(signed_in.header("set-cookie").is_some_and(|cookie| cookie.starts_with("tollgate_session=")));
        assert_eq!(form("same-origin").expect(403).header("set-cookie"), None, "once");
    }
    let page = Side::Direct.ask(&scene.gate, Request::get("/login?token=%22%3E%3Cscript%3Ealert(1)%3C/script%3E"));
    assert!(!page.text().contains("<script"), "{}", page.text());
}

#[test]
fn a_session_ends_when_it_is_ended_or_its_account_banned_or_deleted() {
    let scene = Scene::new();
    let sessions = ["ada", "ada", "bob", "eve"].map(|user| scene.sign_in(Side::Mounted, user));
    let statuses = || sessions.each_ref().map(|session| session.get("/v1/me").status);
    assert_eq!(statuses(), [200; 4]);
    let ended = sessions[0].delete("/v1/session").expect(204);
    assert!(ended.header("set-cookie").is_some_and(|cookie| cookie.contains("Max-Age=0")), "{ended:?}");
    assert_eq!(statuses(), [401, 200, 200, 200], "the other session of the same account goes on");
    scene.gate.cli(&["accounts", "ban", "bob@example.com"]).done();
    sessions[2].get("/v1/me").problem(403, "account_disabled");
    scene.gate.cli(&["accounts", "delete", "eve@example.com", "--yes"]).done();
    assert_eq!(statuses(), [401, 200, 403, 401]);
    ask_for_link(&scene, "bob@example.com").expect(202);
    let token = scene.mailbox.await_mail("bob@example.com", 1).token().to_owned();
    open(&scene, &token).problem(403, "account_disabled");
}

#[test]
fn a_session_lasts_as_long_as_configured_and_outlives_a_restart() {
    let mut scene = Scene::with(|setup| setup.set("portal", "session = \"60s\""));
    let customer = scene.sign_in(Side::Direct, "ada");
    assert!((50..=60).contains(&customer.lasts_secs()), "{}", customer.attributes);
    scene.gate.restart();
    customer.get("/v1/me").expect(200);
    let (name, value) = customer.cookie.split_once('=').expect("a cookie");
    let (id, signature) = value.split_once('.').expect("an id and its signature");
    for forged in
        [format!("{}.{signature}", "0".repeat(id.len())), id.to_owned(), format!("{id}."), format!("{id}.{id}")]
    {
        let request = Request::get("/v1/me").header("cookie", &format!("{name}={forged}"));
        Side::Direct.ask(&scene.gate, request).expect(401);
    }
}

#[test]
fn nobody_makes_an_account_where_signing_up_is_off() {
    let scene = Scene::with(|setup| setup.set("portal", "signup = false"));
    scene.key("ada");
    assert_eq!(ask_for_link(&scene, "stranger@example.com").expect(202).json(), json!({ "sent": true }));
    scene.sign_in(Side::Direct, "ada");
    assert_eq!(scene.mailbox.to("stranger@example.com"), []);
}

#[test]
fn a_new_address_holds_once_its_own_link_is_opened() {
    let scene = Scene::new();
    let key = scene.key("ada");
    scene.key("taken");
    for (side, old, new) in
        [(Side::Direct, "ada@example.com", "ada@new.example"), (Side::Mounted, "ada@new.example", "ada@third.example")]
    {
        let customer = side.sign_in(&scene.gate, &scene.mailbox, old);
        let changed = customer.write("PATCH", "/v1/me", &json!({ "email": new, "name": "Ada" })).expect(200).json();
        assert_eq!(
            (&changed["email"], &changed["pending_email"], &changed["name"]),
            (&json!(old), &json!(new), &json!("Ada")),
            "{changed:#}"
        );
        let mail = scene.mailbox.await_mail(new, 0);
        assert_eq!(customer.get("/v1/me").json()["email"], old, "not before the link is opened");
        let told = scene.mailbox.to(old).len();
        let opened = side.open(&scene.gate, mail.token());
        assert_eq!(opened.account, key.account);
        assert_eq!(customer.get("/v1/me").expect(200).json()["email"], new, "an older session sees it too");
        assert_eq!(scene.gate.account(new)["id"], key.account);
        let warning = scene.mailbox.await_mail(old, told);
        assert!(!warning.text.contains("token="), "the old address is told, and can open nothing: {warning:#?}");
        scene.gate.get("/events/1", &key).expect(200);
    }
    let customer = scene.sign_in(Side::Direct, "other");
    customer.write("PATCH", "/v1/me", &json!({ "email": "taken@example.com" })).expect(200);
    let mail = scene.mailbox.await_mail("taken@example.com", 0);
    open(&scene, mail.token()).problem(409, "email_taken");
    assert_eq!(customer.get("/v1/me").json()["email"], "other@example.com");
}

#[test]
fn without_mail_one_process_prints_links_and_a_fleet_has_none() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).start();
    let asked =
        Side::Mounted.ask(&gate, Request::json("POST", "/v1/session/link", &json!({ "email": "ada@example.com" })));
    if Profile::current() != Profile::EMBEDDED {
        // Whoever reads the logs of many machines would be whoever they like.
        assert!(matches!(asked.status, 202 | 503), "{}", asked.text());
        if asked.status == 503 {
            asked.problem(503, "mail_unavailable");
            assert!(!gate.log().contains("login?token="));
        }
        return;
    }
    asked.expect(202);
    let line = gate.await_log("a link", |line| line.contains("/login?token="));
    let (_, rest) = line.split_once("login?token=").expect("a token");
    let token: String = rest.chars().take_while(char::is_ascii_hexdigit).collect();
    let link = format!("http://{}/login?token={token}", gate.admin_address());
    assert!(line.contains(&link), "where the control plane listens: {line}");
    let customer = Side::Mounted.open(&gate, &token);
    assert_eq!(customer.get("/v1/me").expect(200).json()["email"], "ada@example.com");
    assert!(!line.contains("ada@example.com"), "{line}");
    eventually("no raw session in the log", || (!gate.log().contains(&customer.cookie)).then_some(()));
}

#[test]
fn a_mail_server_that_is_gone_delays_nobody_and_names_nobody() {
    let backend = Backend::start();
    let gate = Setup::new(&backend)
        .set("gateway", "public_url = \"https://api.example.com\"")
        .set("mail", &format!("server = \"smtp+plain://{}\"", tollgate_e2e::closed_port()))
        .set("mail", "from = \"noreply@acme.example\"")
        .start();
    let request = Request::json("POST", "/v1/session/link", &json!({ "email": "ada@example.com" }));
    assert_eq!(Side::Direct.ask(&gate, request).expect(202).json(), json!({ "sent": true }));
    gate.await_log("the failure", |line| line.contains("mail") && line.contains("\"attempt\":1"));
    assert!(!gate.log().contains("ada@example.com"));
    let printed = eventually_within(std::time::Duration::ZERO, || gate.log().contains("login?token=").then_some(()));
    assert_eq!(printed, None, "a deployment that mails prints no links");
}
