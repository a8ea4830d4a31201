//! One canonical path decides the route and goes upstream; what no route names needs a key.

use tollgate_e2e::{Backend, Gate, Request, Setup, policy};

const ROUTES: &str = r#"
[plans.pro]
quota = "1_000/month"
[[routes]]
path = "/files/*"
encoded_slash = "keep"
[[routes]]
path = "/matrix/*"
path_params = "keep"
[[routes]]
path = "/events/public"
access = "public"
[[routes]]
name = "item"
path = "/items/{id}"
methods = ["GET", "DELETE"]
[[routes]]
name = "version-2"
path = "/api"
headers = { x-version = "2" }
access = "public"
[[routes]]
name = "pdf"
path = "/api"
query = { format = "pdf", flag = true }
access = "public"
"#;

fn start(backend: &Backend) -> (Gate, String) {
    let gate = Setup::new(backend).policy(ROUTES).start();
    let raw = gate.key("ada@example.com", "pro").raw;
    (gate, raw)
}

#[test]
fn the_upstream_sees_the_canonical_path_and_the_query_as_it_came() {
    let backend = Backend::start();
    let (gate, raw) = start(&backend);
    for (sent, seen) in [
        ("/%65vents/%7Eada", "/events/~ada"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/a/./b", "/a/b"),
        ("/a/x/../b", "/a/b"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/b/..", "/a/"),
        ("/a/.", "/a/"),
        ("/%252e%252e/x", "/%252e%252e/x"),
        ("/trailing/", "/trailing/"),
        ("/CASE", "/CASE"),
        ("/a?x=/../y&z=%2F%2e&&=;", "/a?x=/../y&z=%2F%2e&&=;"),
        ("/a?", "/a?"),
        ("/files/a%2fb", "/files/a%2Fb"),
        ("/matrix/a;v=1/b", "/matrix/a;v=1/b"),
        ("/a!$&'()*+,=:@b", "/a!$&'()*+,=:@b"),
    ] {
        backend.forget();
        assert_eq!(gate.send(&Request::get(sent).key(&raw)).status, 200, "{sent}");
        assert_eq!(backend.only().target, seen, "{sent}");
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_400_and_goes_nowhere() {
    let backend = Backend::start();
    let (gate, raw) = start(&backend);
    for sent in [
        "//",
        "/a//b",
        "/a\\b",
        "/a%5Cb",
        "/a%5cb",
        "/a%00b",
        "/..",
        "/../a",
        "/a/../../b",
        "/a/..;/b",
        "/a/.;x/b",
        "/a/%2e%2e%3b/b",
        "/a%zz",
        "/a%2",
        "/a%",
        "/a%2Fb",
        "/a;b",
        "/files/a%2F..",
        "/files/%2F",
        "/files/a%2F%2Fb",
        "/files/a;b",
        "/matrix/a%2Fb",
    ] {
        let answer = gate.send(&Request::get(sent).key(&raw));
        let problem = answer.problem(400, "bad_request");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{sent}: {problem:#}");
    }
    assert_eq!((backend.count(), gate.used("ada@example.com")), (0, 0));
}

#[test]
fn an_open_route_opens_its_own_path_alone() {
    let backend = Backend::start();
    let (gate, _) = start(&backend);
    for (target, status) in [
        ("/events/public", 200),
        ("/events/%70ublic", 200),
        ("/x/../events/public", 200),
        ("/events/public/", 401),
        ("/events/Public", 401),
        ("/events/public/x", 401),
        ("/events/publicx", 401),
        ("/events/public%2F", 400),
        ("/events/public;x", 400),
        ("/events/public/../secret", 401),
        ("/events/public/%2e%2e/secret", 401),
        ("/", 401),
        ("/anything", 401),
    ] {
        assert_eq!(gate.send(&Request::get(target)).status, status, "{target}");
    }
    assert!(backend.arrivals().iter().all(|arrival| arrival.target == "/events/public"), "{:?}", backend.arrivals());
}

#[test]
fn a_method_that_no_route_of_this_path_takes_is_405_with_allow() {
    let backend = Backend::start();
    let (gate, raw) = start(&backend);
    let send = |method: &str, target: &str| gate.send(&Request::new(method, target).key(&raw));
    for (method, status) in
        [("GET", 200), ("HEAD", 200), ("DELETE", 200), ("PUT", 405), ("POST", 405), ("OPTIONS", 405)]
    {
        let answer = send(method, "/items/7");
        assert_eq!(answer.status, status, "{method}");
        if status == 405 {
            answer.problem(405, "method_not_allowed");
            let mut allowed: Vec<&str> =
                answer.header("allow").expect("405 says what is allowed").split(", ").collect();
            allowed.sort_unstable();
            assert_eq!(allowed, ["DELETE", "GET", "HEAD"]);
        }
    }
    // Without a key too: the path alone decides.
    gate.send(&Request::new("PUT", "/items/7")).problem(405, "method_not_allowed");
    assert_eq!(send("PUT", "/items/7/parts").status, 200, "a path that no route has is keyed, whatever its method");
}

#[test]
fn headers_and_query_take_part_in_the_match() {
    let backend = Backend::start();
    let (gate, _) = start(&backend);
    for (request, status) in [
        (Request::get("/api"), 401),
        (Request::get("/api").header("X-Version", "2"), 200),
        (Request::get("/api").header("X-Version", "3"), 401),
        (Request::get("/api?format=pdf&flag"), 200),
        (Request::get("/api?flag=x&form%61t=p%64f"), 200),
        (Request::get("/api?format=pdf"), 401),
        (Request::get("/api?format=PDF&flag=1"), 401),
    ] {
        assert_eq!(gate.send(&request).status, status, "{request:?}");
    }
}

#[test]
fn a_base_path_of_the_upstream_stands_before_every_path() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).base_path("/v3/inner").start();
    let raw = gate.key("ada@example.com", "pro").raw;
    gate.send(&Request::get("/a/../events/1?x=1").key(&raw)).expect(200);
    assert_eq!(backend.only().target, "/v3/inner/events/1?x=1");
    gate.send(&Request::get("/../x").key(&raw)).expect(400);
}

#[test]
fn the_first_route_of_the_file_wins() {
    let backend = Backend::start();
    let routes = "[[routes]]\nname = \"one\"\npath = \"/a/{x}\"\ncost = 1\n[[routes]]\nname = \"two\"\npath = \"/a/*\"\ncost = 2\n\
                  [[routes]]\nname = \"three\"\npath = \"/*\"\ncost = 3\n";
    let gate = Setup::new(&backend).policy(policy::one_plan("quota = \"1_000/month\"") + routes).start();
    let key = gate.key("ada@example.com", "pro");
    for (target, route) in [("/a/b", "one"), ("/a/b/c", "two"), ("/a/", "two"), ("/a", "three"), ("/", "three")] {
        assert_eq!(gate.request_line(&gate.get(target, &key))["route"], route, "{target}");
    }
    assert_eq!(gate.used("ada@example.com"), 1 + 2 + 2 + 3 + 3);
}
