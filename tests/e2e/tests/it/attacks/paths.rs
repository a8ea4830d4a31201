//! Paths that look public to one reader and are something else to another: 18, 22, 23, 25.

use std::fmt::Write as _;

use tollgate_e2e::{Backend, Gate, Request, Setup, exchange};

use super::REST;

const POLICY: &str = r#"
[plans.pro]
quota = "1_000_000/month"
[plans.public]
rate = "unlimited"
[[routes]]
path = "/public/*"
access = "public"
"#;

/// Every way to say "leave the folder" that the field knows.
const ESCAPES: [&str; 22] = [
    "/public/../secret",
    "/public/%2e%2e/secret",
    "/public/%2E./secret",
    "/public/.%2e/secret",
    "/public/x/../../secret",
    "/public/..%2fsecret",
    "/public/..%2Fsecret",
    "/public%2f../secret",
    "/public/..%5csecret",
    "/public/..\\secret",
    "/public\\..\\secret",
    "/public//../secret",
    "//public/../secret",
    "/public/..;/secret",
    "/public/..;x=y/secret",
    "/public/%2e%2e;/secret",
    "/public/.;/../secret",
    "/public/..%3b/secret",
    "/public/..%00/secret",
    "/public/%252e%252e/secret",
    "/public/%c0%ae%c0%ae/secret",
    "/public/..%u2215secret",
];

fn raw(gate: &Gate, target: &str) -> u16 {
    let bytes = format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let answer = exchange(gate.address(), bytes.as_bytes(), REST);
    let status = answer.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    status.unwrap_or_else(|| panic!("{target}: {}", String::from_utf8_lossy(&answer)))
}

/// 18, 23
#[test]
fn nothing_behind_the_key_is_reached_through_the_public_folder() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).policy(POLICY).start();
    for target in ESCAPES {
        backend.forget();
        let status = raw(&gate, target);
        match status {
            400 | 401 => assert_eq!(backend.count(), 0, "{target}: {:?}", backend.arrivals()),
            200 => {
                // What passed stays in the folder however often it is decoded once.
                let seen = backend.only().target;
                assert!(seen.starts_with("/public/") && !seen.contains("/.."), "{target} arrived as {seen}");
                assert!(
                    !seen.to_ascii_lowercase().contains("%2e") && !seen.contains('\\'),
                    "{target} arrived as {seen}"
                );
            }
            other => panic!("{target}: {other}"),
        }
    }
}

/// 18: what is matched is what is forwarded
#[test]
fn the_matched_path_is_the_forwarded_one() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).policy(POLICY).start();
    for (sent, status, seen) in [
        ("/x/../public/a", 200, Some("/public/a")),
        ("/%70ublic/a", 200, Some("/public/a")),
        ("/public/./a/../b", 200, Some("/public/b")),
        ("/public/%2e/a", 200, Some("/public/a")),
        ("/./public/a", 200, Some("/public/a")),
        ("/public/a/..", 200, Some("/public/")),
        ("/public/..", 401, None),
        ("/public", 401, None),
        ("/public/..public/a", 200, Some("/public/..public/a")),
    ] {
        backend.forget();
        assert_eq!(raw(&gate, sent), status, "{sent}");
        assert_eq!(backend.arrivals().first().map(|arrival| arrival.target.as_str()), seen, "{sent}");
    }
}

/// 22, 25
#[test]
fn many_routes_decide_as_few_do() {
    let backend = Backend::start();
    let few = "[[routes]]\npath = \"/open\"\naccess = \"public\"\n[[routes]]\npath = \"/open/{id}\"\naccess = \"public\"\n\
               [[routes]]\npath = \"/deep/*\"\naccess = \"public\"\n[[routes]]\npath = \"/deep/closed\"\n";
    let mut many = String::new();
    for number in 0..600 {
        write!(many, "[[routes]]\npath = \"/filler-{number}/{{id}}/x\"\n").expect("written");
    }
    let plans = "[plans.pro]\nquota = \"1_000/month\"\n[plans.public]\nrate = \"unlimited\"\n";
    // The later route is shadowed, which is a mistake in a file; it stands first in both.
    let few = few.replace("[[routes]]\npath = \"/deep/closed\"\n", "");
    let closed = "[[routes]]\npath = \"/deep/closed\"\n";
    let small = Setup::new(&backend).policy(format!("{plans}{closed}{few}")).start();
    let large = Setup::new(&backend).policy(format!("{plans}{closed}{many}{few}")).start();
    for (target, status) in [
        ("/open", 200),
        ("/open/", 401),
        ("/open/7", 200),
        ("/open/7/", 401),
        ("/open/.", 401),
        ("/OPEN", 401),
        ("/Open/7", 401),
        ("/open.", 401),
        ("/deep", 401),
        ("/deep/", 200),
        ("/deep/a/b/c", 200),
        ("/deep/closed", 401),
        ("/deep/CLOSED", 200),
        ("/deep/closed/", 200),
        ("/deep/x/../closed", 401),
        ("/filler-1/7/x", 401),
    ] {
        let statuses = [&small, &large].map(|gate| gate.send(&Request::get(target)).status);
        assert_eq!(statuses, [status; 2], "{target}");
    }
}
