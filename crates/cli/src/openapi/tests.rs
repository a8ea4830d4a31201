//! Whatever document comes in, what goes out passes the configuration's own rules.

use proptest::prelude::*;
use serde_json::{Value, json};
use tollgate_config::Access;

use super::*;

fn drafted(document: &Value) -> Draft {
    draft(&document.to_string(), None, None).unwrap_or_else(|error| panic!("{document}: {error}"))
}

fn routes(draft: &Draft) -> Vec<(String, String, Access, Option<String>)> {
    let loaded = check(&draft.text).unwrap_or_else(|problems| panic!("{problems:?}\n{}", draft.text));
    let routes = loaded.config.policy.routes.iter();
    routes
        .map(|route| {
            let methods = route.methods.map(|methods| methods.to_string());
            (route.name.to_string(), route.path.to_string(), route.access, methods)
        })
        .collect()
}

#[test]
fn routes_follow_the_document() {
    let document = json!({
        "openapi": "3.1.0", "info": { "title": "Pets", "version": "1" },
        "servers": [{ "url": "https://pets.example/api/v2" }],
        "paths": {
            "/pets/{petId}": { "get": { "summary": "One pet", "security": [] }, "delete": {} },
            "/pets/mine": { "get": {} },
            "/pets": { "get": { "security": [] }, "head": { "security": [] } },
            "/{any}": { "get": { "security": [{}, { "key": [] }] } },
            "/": { "get": {} },
        }
    });
    let draft = drafted(&document);
    let read = |text: &str| Some(text.to_owned());
    let expected = [
        ("root", "/", Access::Key, None),
        ("pets", "/pets", Access::Public, read("GET, HEAD")),
        ("pets-mine", "/pets/mine", Access::Key, None),
        ("pets-petId-public", "/pets/{petId}", Access::Public, read("GET, HEAD")),
        ("pets-petId", "/pets/{petId}", Access::Key, None),
        ("any", "/{any}", Access::Optional, read("GET, HEAD")),
    ];
    let expected = expected.map(|(name, path, access, methods)| (name.to_owned(), path.to_owned(), access, methods));
    assert_eq!(routes(&draft), expected);
    assert_eq!((draft.routes, draft.left_out.len()), (6, 0));
    assert!(draft.text.contains("url = \"https://pets.example/api/v2\""), "{}", draft.text);
    assert!(draft.text.contains("# GET One pet\n"), "{}", draft.text);
    assert!(draft.warnings.is_empty(), "{:?}", draft.warnings);
}

#[test]
fn paths_that_the_rules_refuse_stand_in_the_file_with_the_reason() {
    let paths = [
        ("/{id}.json", "as a whole segment"),
        ("/a//b", "an empty segment"),
        ("/a?action=b", "`?`"),
        ("relative", "begin with `/`"),
        ("/a/../b", "`..`"),
        ("/nothing", "no operation"),
        ("/x*y", "`*`"),
        ("/a\nb", "control character"),
    ];
    let mut items: serde_json::Map<String, Value> =
        paths.iter().map(|(path, _)| ((*path).to_owned(), json!({ "get": { "security": [] } }))).collect();
    items.insert("/nothing".to_owned(), json!({ "parameters": [] }));
    items.insert("/good".to_owned(), json!({ "trace": { "security": [] }, "get": {} }));
    let draft = drafted(&json!({ "openapi": "3.0.0", "paths": items }));
    assert_eq!(routes(&draft).len(), 1);
    assert_eq!(draft.left_out.len(), paths.len());
    for (path, part) in paths {
        let left = draft.left_out.iter().find(|left| left.path == path).unwrap_or_else(|| panic!("{path:?}"));
        assert!(left.reason.contains(part), "{path:?}: {}", left.reason);
        assert!(draft.text.contains(&comment(path)), "{path:?}");
    }
}

#[test]
fn odd_paths_that_can_be_routes_are() {
    let documented = json!({ "get": { "security": [] } });
    let paths = [
        "/café",
        "/{file-name}",
        "/m/{id}/{id}",
        "/a;v=1",
        "/x%2fy",
        "/all/*",
        "/$ {x}",
        "/${HOME}",
        "/%7Euser",
        "/n/{}",
    ];
    let items: serde_json::Map<String, Value> =
        paths.iter().map(|path| ((*path).to_owned(), documented.clone())).collect();
    let draft = drafted(&json!({ "openapi": "3.0.0", "paths": items }));
    let written: Vec<_> = routes(&draft).into_iter().map(|(_, path, ..)| path).collect();
    let expected =
        ["/a;v=1", "/all/*", "/caf%C3%A9", "/m/{id}/{id_2}", "/n/{parameter}", "/x%2Fy", "/~user", "/{file_name}"];
    assert_eq!(written, expected);
    assert_eq!(draft.left_out.len(), 2, "{:?}", draft.left_out);
}

#[test]
fn templates_that_match_the_same_are_one_route_and_the_stricter_holds() {
    let document = json!({ "openapi": "3.0.0", "paths": {
        "/a/{x}": { "get": { "security": [] }, "post": { "security": [] } },
        "/a/{y}": { "get": {}, "put": { "security": [] } },
    }});
    let draft = drafted(&document);
    let routes = routes(&draft);
    let open = &routes[0];
    assert_eq!((open.2, open.3.as_deref()), (Access::Public, Some("POST, PUT")));
    assert_eq!((routes[1].2, routes.len()), (Access::Key, 2));
    assert!(draft.text.contains("also documented as /a/{y}"), "{}", draft.text);
}

#[test]
fn the_upstream_is_what_is_asked_for_or_documented() {
    let source = Url::parse("https://docs.example:8443/v3/openapi.json").expect("a URL");
    for (server, from, given, expected) in [
        (Some("https://a.example/v2/"), None, None, "https://a.example/v2"),
        (Some("/v2"), None, None, "http://127.0.0.1:8501/v2"),
        (Some("/v2"), Some(&source), None, "https://docs.example:8443/v2"),
        (Some("../v4"), Some(&source), None, "https://docs.example:8443/v4"),
        (None, Some(&source), None, "https://docs.example:8443"),
        (None, None, None, DEFAULT_UPSTREAM),
        (Some("https://a.example/v2"), None, Some("http://10.0.0.1:9000"), "http://10.0.0.1:9000/v2"),
        (Some("https://a.example/v2"), None, Some("http://10.0.0.1:9000/x"), "http://10.0.0.1:9000/x"),
        (Some("https://{region}.example"), None, None, DEFAULT_UPSTREAM),
        (Some("ftp://a.example"), None, None, DEFAULT_UPSTREAM),
        (Some("https://user:secret@a.example"), None, None, DEFAULT_UPSTREAM),
        (Some("https://$a.example"), None, None, "https://$a.example"),
    ] {
        let document = json!({ "openapi": "3.0.0", "servers": server.map(|url| json!([{ "url": url }])) });
        let draft = draft(&document.to_string(), from, given).unwrap_or_else(|error| panic!("{server:?}: {error}"));
        assert!(draft.text.contains(&format!("\nurl = {}\n", quoted(expected))), "{server:?}: {}", draft.text);
        assert!(!draft.text.contains("secret"), "{}", draft.text);
    }
    let refused = draft("openapi: 3.0.0", None, Some("ftp://x")).expect_err("no upstream");
    assert!(refused.starts_with("--upstream: "), "{refused}");
}

fn some_path() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        4 => "[a-z]{1,3}",
        4 => Just("{id}".to_owned()),
        2 => "\\{[a-zA-Z0-9_.-]{0,4}\\}",
        1 => "[ -~]{0,5}",
        1 => ".{0,4}",
        1 => prop_oneof![Just("*".to_owned()), Just("..".to_owned()), Just("%2F".to_owned()), Just("${A}".to_owned())],
    ];
    prop_oneof![
        8 => prop::collection::vec(segment, 0..4).prop_map(|segments| format!("/{}", segments.join("/"))),
        1 => ".{0,10}",
    ]
}

fn some_operations() -> impl Strategy<Value = Value> {
    let security = prop_oneof![
        Just(Value::Null),
        Just(json!([])),
        Just(json!([{}])),
        Just(json!([{}, { "key": [] }])),
        Just(json!([{ "key": [] }])),
    ];
    let method = prop::sample::select(vec!["get", "head", "post", "put", "patch", "delete", "options", "trace"]);
    prop::collection::vec((method, security, ".{0,12}"), 0..8).prop_map(|operations| {
        let operations = operations.into_iter().map(|(method, security, summary)| {
            let mut operation = json!({ "summary": summary });
            if !security.is_null() {
                operation["security"] = security;
            }
            (method.to_owned(), operation)
        });
        Value::Object(operations.collect())
    })
}

proptest! {
    #[test]
    fn every_draft_passes_the_check(
        paths in prop::collection::vec((some_path(), some_operations()), 0..12),
        title in ".{0,20}",
        server in prop::option::of("[ -~]{0,20}"),
    ) {
        let paths: serde_json::Map<String, Value> = paths.into_iter().collect();
        let servers = server.map(|url| json!([{ "url": url }]));
        let document = json!({ "openapi": "3.0.0", "info": { "title": title }, "servers": servers, "paths": paths });
        let draft = drafted(&document);
        let written = routes(&draft);
        prop_assert_eq!(written.len(), draft.routes);
        // Nothing that is not documented to be open is open.
        let opens = |name: &str| paths.get(name).is_some();
        for (_, path, access, methods) in &written {
            prop_assert!(*access != Access::Pass);
            if *access != Access::Key {
                prop_assert!(methods.is_some(), "{} is open for every method", path);
            }
        }
        for left in &draft.left_out {
            prop_assert!(opens(&left.path));
        }
    }
}
