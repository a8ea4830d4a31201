//! Routes by file order, whatever the shape of their paths.

use http::HeaderValue;
use tollgate_config::{Loaded, parse};

use super::*;

fn router(routes: &str) -> Router {
    let text = format!("[plans.pro]\nrate = \"10/second\"\n{routes}");
    let Loaded { config, .. } =
        parse(&text, std::path::Path::new("test.toml"), &|_: &str| None).expect("a good configuration");
    Router::new(&config.policy.routes)
}

fn found(router: &Router, method: &Method, target: &str, headers: &HeaderMap) -> String {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    match router.find(&Target { method, path, query, headers }) {
        Matched::Route(route) => route.name.to_string(),
        Matched::MethodNotAllowed(allowed) => format!("405 {allowed}"),
    }
}

fn check(routes: &str, cases: &[(Method, &str, &str)]) {
    let router = router(routes);
    for (method, target, expected) in cases {
        assert_eq!(found(&router, method, target, &HeaderMap::new()), *expected, "{method} {target}");
    }
}

#[test]
fn the_first_route_in_file_order_wins_not_the_most_specific() {
    check(
        r#"
        [[routes]]
        name = "any"
        path = "/events/{id}"
        methods = ["GET"]
        [[routes]]
        name = "public"
        path = "/events/public"
        "#,
        &[
            (Method::GET, "/events/public", "any"),
            (Method::POST, "/events/public", "public"),
            (Method::GET, "/events/7", "any"),
        ],
    );
    check(
        r#"
        [[routes]]
        name = "public"
        path = "/events/public"
        [[routes]]
        name = "below"
        path = "/events/*"
        [[routes]]
        name = "rest"
        path = "/*"
        "#,
        &[
            (Method::GET, "/events/public", "public"),
            (Method::GET, "/events/7/parts", "below"),
            (Method::GET, "/events/", "below"),
            (Method::GET, "/events", "rest"),
            (Method::GET, "/", "rest"),
        ],
    );
}

#[test]
fn what_no_route_matches_is_the_keyed_default() {
    check(
        "[[routes]]\nname = \"one\"\npath = \"/a/{x}/c\"\n",
        &[
            (Method::GET, "/a/b/c", "one"),
            (Method::GET, "/a//c", "unmatched"),
            (Method::GET, "/a/b/c/", "unmatched"),
            (Method::GET, "/a/b", "unmatched"),
            (Method::GET, "/A/b/c", "unmatched"),
        ],
    );
}

#[test]
fn a_path_that_only_other_methods_have_is_405_with_all_of_them() {
    check(
        r#"
        [[routes]]
        name = "read"
        path = "/reports/*"
        methods = ["GET"]
        [[routes]]
        name = "write"
        path = "/reports/{id}"
        methods = ["PUT"]
        "#,
        &[
            (Method::HEAD, "/reports/1", "read"),
            (Method::PUT, "/reports/1", "write"),
            (Method::DELETE, "/reports/1", "405 GET, HEAD, PUT"),
            (Method::DELETE, "/reports/1/2", "405 GET, HEAD"),
            (Method::DELETE, "/other", "unmatched"),
        ],
    );
}

#[test]
fn headers_and_query_take_part_in_the_match() {
    let router = router(
        r#"
        [[routes]]
        name = "deep"
        path = "/search"
        query = { tier = "2" }
        [[routes]]
        name = "tagged"
        path = "/search"
        headers = { x-tier = "2" }
        [[routes]]
        name = "plain"
        path = "/search"
        "#,
    );
    let none = HeaderMap::new();
    let tagged = HeaderMap::from_iter([(http::HeaderName::from_static("x-tier"), HeaderValue::from_static("2"))]);
    for (target, headers, expected) in [
        ("/search?q=1&tier=2", &none, "deep"),
        ("/search?%74ier=%32", &none, "deep"),
        ("/search?tier=3", &none, "plain"),
        ("/search?tier=3", &tagged, "tagged"),
        ("/search", &none, "plain"),
    ] {
        assert_eq!(found(&router, &Method::GET, target, headers), expected, "{target}");
    }
}

#[test]
fn the_index_agrees_with_trying_every_route_in_turn() {
    let shapes = ["/a", "/a/b", "/a/{x}", "/{x}/b", "/a/*", "/{x}/*", "/*", "/a/b/c", "/{x}/{y}/c", "/a/{y}/*", "/"];
    let paths = ["/", "/a", "/b", "/a/", "/a/b", "/a/c", "/b/b", "/a/b/c", "/b/b/c", "/a/x/y/z", "/c/d/e"];
    for first in shapes {
        for second in shapes.into_iter().filter(|shape| *shape != first) {
            let text = format!(
                "[[routes]]\nname = \"one\"\npath = \"{first}\"\nmethods = [\"GET\"]\n[[routes]]\nname = \"two\"\npath = \"{second}\"\n"
            );
            let router = router(&text);
            for path in paths {
                for method in [Method::GET, Method::POST] {
                    let in_turn =
                        router.routes().iter().find(|route| route.path.matches(path) && route.allows(&method));
                    let expected = in_turn.map_or_else(
                        || {
                            let other = router.routes().iter().any(|route| route.path.matches(path));
                            if other { "405 GET, HEAD".to_owned() } else { "unmatched".to_owned() }
                        },
                        |route| route.name.to_string(),
                    );
                    let got = found(&router, &method, path, &HeaderMap::new());
                    assert_eq!(got, expected, "{method} {path} with {first} then {second}");
                }
            }
        }
    }
}

proptest::proptest! {
    /// A pattern that could never match what the guard lets through, or a path written two ways, is refused when the
    /// file is read: a literal pattern is its own canonical path.
    #[test]
    fn a_pattern_without_parameters_is_a_path_as_the_guard_writes_it(path in "/[a-zA-Z0-9%./;\\\\~{}:@ -]{0,12}") {
        if let Ok(pattern) = tollgate_config::PathPattern::parse(&path)
            && !pattern.matches_below()
            && pattern.segments().iter().all(|segment| matches!(segment, Segment::Literal(_)))
        {
            let canonical = crate::guard::target::canonical_path(&path);
            proptest::prop_assert_eq!(canonical.as_deref(), Ok(path.as_str()));
            proptest::prop_assert!(pattern.matches(&path));
        }
    }
}
