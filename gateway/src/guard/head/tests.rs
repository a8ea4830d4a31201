use pingora::protocols::http::ServerSession;
use proptest::prelude::*;

use super::super::ALLOWED_METHODS;
use super::*;

/// A head with these lines between the request line and the end.
fn head(request_line: &str, fields: &[&str]) -> Vec<u8> {
    let mut head = format!("{request_line}\r\n");
    for field in fields {
        head.push_str(field);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    head.into_bytes()
}

fn get(fields: &[&str]) -> Vec<u8> {
    let mut all = vec!["Host: a.example"];
    all.extend_from_slice(fields);
    head("GET /events HTTP/1.1", &all)
}

#[track_caller]
fn check_refused(head: &[u8], status: u16) {
    let shown = String::from_utf8_lossy(head).escape_debug().to_string();
    let rejection = judge(head).expect_err(&shown);
    assert_eq!(rejection.status, status, "{shown}: {rejection}");
}

/// The head as the proxy gets it.
#[track_caller]
fn canonical(head: &[u8]) -> String {
    let shown = String::from_utf8_lossy(head).escape_debug().to_string();
    let judged = judge(head).expect(&shown);
    let bytes = judged.rewritten.map_or_else(|| head.to_vec(), |bytes| bytes.to_vec());
    String::from_utf8(bytes).expect("a canonical head is text here")
}

#[test]
fn a_plain_head_passes_untouched() {
    let heads = [
        get(&[]),
        get(&["User-Agent: x", "Accept: */*", "Connection: keep-alive", "X-Obs: \u{e9}"]),
        head("POST /a?b=c&d[]={e} HTTP/1.1", &["HOST:a:80", "content-length: 5", "X:"]),
        head("OPTIONS /a HTTP/1.0", &["Host: [::1]:80", "Connection: close, x-hop"]),
    ];
    for head in heads {
        let judged = judge(&head).expect("a plain head passes");
        assert_eq!(judged.rewritten, None, "{}", String::from_utf8_lossy(&head));
    }
}

#[test]
fn framing_is_read_from_the_head() {
    let cases: [(&[&str], Framing); 5] = [
        (&[], Framing::Empty),
        (&["Content-Length: 0"], Framing::Length(0)),
        (&["content-LENGTH:  17  "], Framing::Length(17)),
        (&["Content-Length: 9223372036854775807"], Framing::Length(i64::MAX as u64)),
        (&["Transfer-Encoding: Chunked"], Framing::Chunked),
    ];
    for (fields, framing) in cases {
        assert_eq!(judge(&get(fields)).map(|judged| judged.framing), Ok(framing), "{fields:?}");
    }
}

#[test]
fn framing_with_two_readings_is_refused() {
    let cases: [&[&str]; 28] = [
        &["Content-Length: 5", "Transfer-Encoding: chunked"],
        &["Transfer-Encoding: chunked", "Content-Length: 5"],
        &["Content-Length: 5, 5"],
        &["Content-Length: 5", "Content-Length: 5"],
        &["Content-Length: 5", "content-length: 6"],
        &["Content-Length: +5"],
        &["Content-Length: -5"],
        &["Content-Length: 0x5"],
        &["Content-Length: 5 5"],
        &["Content-Length: 05"],
        &["Content-Length: "],
        &["Content-Length: 5;"],
        &["Content-Length: 9223372036854775808"],
        &["Content-Length: 99999999999999999999999"],
        &["Content_Length: 5"],
        &["Content.Length: 5"],
        &["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
        &["Transfer-Encoding: chunked,chunked"],
        &["Transfer-Encoding: identity,chunked"],
        &["Transfer-Encoding: gzip, chunked"],
        &["Transfer-Encoding: chunked, identity"],
        &["Transfer-Encoding: chunked;q=1"],
        &["Transfer-Encoding: \"chunked\""],
        &["Transfer-Encoding: xchunked"],
        &["Transfer-Encoding: identity"],
        &["Transfer-Encoding: "],
        &["Transfer-Encoding: chunked", "Transfer-Encoding: identity"],
        &["Transfer_Encoding: chunked"],
    ];
    for fields in cases {
        check_refused(&get(fields), 400);
    }
    check_refused(&head("POST / HTTP/1.0", &["Host: a", "Transfer-Encoding: chunked"]), 400);
}

#[test]
fn bytes_that_hide_a_line_or_a_field_are_refused() {
    let cases: [&[u8]; 22] = [
        b"GET / HTTP/1.1\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\n",
        b"GET / HTTP/1.1\rHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n X: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\tX: y\r\n\r\n",
        b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost\t: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x0bb\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX(y): b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        b"",
        b"\r\n\r\n",
    ];
    for bytes in cases {
        check_refused(bytes, 400);
    }
}

#[test]
fn a_request_line_with_two_readings_is_refused() {
    let lines = [
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET /",
        "GET / HTTP/0.9",
        "GET / HTTP/2.0",
        "GET / HTTP/1.2",
        "GET / http/1.1",
        "GET / HTTP/1.1x",
        "GET\t/\tHTTP/1.1",
        "GET events/x HTTP/1.1",
        "GET a:1/events HTTP/1.1",
        "GET a.example:80 HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "GET * HTTP/1.1",
        "GET /a#b HTTP/1.1",
        "GET /a?b#c HTTP/1.1",
        "GET /caf\u{e9} HTTP/1.1",
        "GET /?\u{e9} HTTP/1.1",
        "GET /a\u{1}b HTTP/1.1",
        "GET /a\u{7f} HTTP/1.1",
        "GET /a?b\u{0} HTTP/1.1",
        "GET /?a\"b HTTP/1.1",
        "GET ?a HTTP/1.1",
        "GET ftp://a/b HTTP/1.1",
        "GET http:a HTTP/1.1",
        "GET http:///a HTTP/1.1",
        "GET http://u@a/ HTTP/1.1",
        "GET http://u:p@a/ HTTP/1.1",
        "GET http://a\\b/ HTTP/1.1",
        "GET http://a:x/ HTTP/1.1",
        "GET http://a/../b HTTP/1.1",
        "GET file:///etc/passwd HTTP/1.1",
        "GET ://a HTTP/1.1",
        "GET //a/b HTTP/1.1",
        "GET /../a HTTP/1.1",
        "GET /a%2 HTTP/1.1",
        "(GET) / HTTP/1.1",
    ];
    for line in lines {
        check_refused(&head(line, &["Host: a"]), 400);
    }
    let long = format!("GET /{} HTTP/1.1", "a".repeat(65_534));
    check_refused(&head(&long, &["Host: a"]), 400);
    let long_once_escaped = format!("GET /{} HTTP/1.1", "{".repeat(30_000));
    check_refused(&head(&long_once_escaped, &["Host: a"]), 400);
}

#[test]
fn methods_off_the_list_are_not_allowed() {
    for method in ["TRACE", "CONNECT", "get", "PROPFIND", "PURGE", "QUERY", "GETX", "M-SEARCH"] {
        check_refused(&head(&format!("{method} / HTTP/1.1"), &["Host: a"]), 405);
    }
    check_refused(&head("CONNECT a:443 HTTP/1.1", &["Host: a"]), 405);
    for method in ALLOWED_METHODS.split(", ") {
        assert!(judge(&head(&format!("{method} / HTTP/1.1"), &["Host: a"])).is_ok(), "{method}");
    }
}

#[test]
fn host_is_given_once_and_is_a_host() {
    let cases: [&[&str]; 10] = [
        &[],
        &["Host:"],
        &["Host: a", "Host: a"],
        &["Host: a", "host: b"],
        &["Host: user@a"],
        &["Host: a/../b"],
        &["Host: a, b"],
        &["Host: a b"],
        &["Host: a:99999"],
        &["Host: http://a"],
    ];
    for fields in cases {
        check_refused(&head("GET / HTTP/1.1", fields), 400);
        check_refused(&head("GET / HTTP/1.0", fields), 400);
        check_refused(&head("GET http://b/ HTTP/1.1", fields), 400);
    }
}

#[test]
fn an_absolute_form_becomes_an_origin_form_under_its_own_authority() {
    let cases = [
        ("http://b.example/x?y=%7a", "GET /x?y=%7a HTTP/1.1"),
        ("http://b.example", "GET / HTTP/1.1"),
        ("HTTP://b.example?y", "GET /?y HTTP/1.1"),
        ("https://b.example/a/%2e%2e/x", "GET /x HTTP/1.1"),
    ];
    for (target, line) in cases {
        let head = head(&format!("GET {target} HTTP/1.1"), &["X: 1", "hOsT: a.example", "Y: 2"]);
        let expected = format!("{line}\r\nX: 1\r\nhOsT: b.example\r\nY: 2\r\n\r\n");
        assert_eq!(canonical(&head), expected, "{target}");
    }
}

#[test]
fn the_path_goes_on_in_its_canonical_form_and_the_query_as_it_came() {
    let cases = [
        ("/public/../x", "/x"),
        ("/%2e/x", "/x"),
        ("/a%2fb;c?d=%2e%2e/", "/a%2Fb;c?d=%2e%2e/"),
        ("/a%7eb?%zz", "/a~b?%zz"),
        ("/x?", "/x?"),
        ("/x?a?b=/../", "/x?a?b=/../"),
    ];
    for (target, expected) in cases {
        let canonical = canonical(&head(&format!("GET {target} HTTP/1.1"), &["Host: a"]));
        assert_eq!(canonical, format!("GET {expected} HTTP/1.1\r\nHost: a\r\n\r\n"), "{target}");
    }
}

#[test]
fn upgrades_are_stripped() {
    let cases: [(&[&str], &str); 5] = [
        (&["Upgrade: websocket", "Connection: Upgrade"], ""),
        (
            &["Upgrade: h2c", "Connection: keep-alive, Upgrade, HTTP2-Settings", "HTTP2-Settings: x"],
            "Connection: keep-alive\r\n",
        ),
        (&["Upgrade: TLS/1.0"], ""),
        (&["Connection: upgrade"], ""),
        (&["Connection: close", "X: 1", "connection: x-hop,"], "X: 1\r\nConnection: close, x-hop\r\n"),
    ];
    for (fields, rest) in cases {
        let expected = format!("GET /events HTTP/1.1\r\nHost: a.example\r\n{rest}\r\n");
        assert_eq!(canonical(&get(fields)), expected, "{fields:?}");
    }
}

#[test]
fn connection_may_not_name_what_the_request_is() {
    let many = format!("Connection: {}", ["x"; 9].join(","));
    let values = [
        "Connection: host",
        "Connection: close, Content-Length",
        "Connection: X-Forwarded-For",
        "Connection: \"x\"",
        "Connection: a b",
        "Connection: :authority",
        many.as_str(),
    ];
    for value in values {
        check_refused(&get(&[value]), 400);
    }
}

#[test]
fn close_is_heard_in_any_connection_field() {
    let cases: [(&[&str], bool); 4] = [
        (&[], false),
        (&["Connection: keep-alive"], false),
        (&["Connection: keep-alive, Close"], true),
        (&["Connection: keep-alive", "Connection: close"], true),
    ];
    for (fields, close) in cases {
        assert_eq!(judge(&get(fields)).map(|judged| judged.close), Ok(close), "{fields:?}");
    }
}

#[test]
fn only_the_one_known_expectation_passes() {
    let expects = |line: &str, fields: &[&str]| {
        let mut all = vec!["Host: a"];
        all.extend_from_slice(fields);
        judge(&head(line, &all))
    };
    let judged = expects("PUT / HTTP/1.1", &["Expect: 100-Continue"]).expect("it passes");
    assert!(judged.expects_continue && judged.rewritten.is_none());
    let judged = expects("PUT / HTTP/1.0", &["Expect: 100-continue"]).expect("it is ignored");
    let rewritten = judged.rewritten.expect("the expectation is dropped");
    assert_eq!(&rewritten[..], b"PUT / HTTP/1.0\r\nHost: a\r\n\r\n");
    for fields in [["Expect: 200-ok", "X: 1"], ["Expect: 100-continue", "Expect: 100-continue"]] {
        assert_eq!(expects("PUT / HTTP/1.1", &fields).map_err(|r| r.status), Err(400));
    }
}

#[test]
fn a_request_has_at_most_256_fields() {
    let fields: Vec<String> = (0..256).map(|index| format!("X-{index}: 1")).collect();
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    assert!(judge(&get(&fields[..255])).is_ok());
    check_refused(&get(&fields), 431);
}

/// Names in lower case, with their values.
type NamedValues = Vec<(String, Vec<u8>)>;

/// What the proxy's own parser makes of a head: its method, its target and its fields.
fn read_by_the_proxy(head: BytesMut) -> Option<(String, Vec<u8>, NamedValues)> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let (_client, server) = tokio::io::duplex(64);
    let mut session = ServerSession::new_http1(Box::new(server));
    session.set_pipelined_prefix(head);
    let read = runtime.block_on(session.read_request());
    let request = session.req_header();
    let fields =
        request.headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect();
    let method = request.method.as_str().to_owned();
    read.is_ok_and(|read| read).then(|| (method, request.raw_path().to_vec(), fields))
}

/// Fields that matter and fields that do not, well and badly formed.
fn any_field() -> impl Strategy<Value = String> {
    prop_oneof![
        "(Host|host): [a-zA-Z0-9_.~:@/\\[\\]-]{0,8}",
        "[A-Za-z!#$%&'*+.^_`|~-]{1,6}: ?[\t -~]{0,12}",
        "(Content-Length|Transfer-Encoding|Expect): (0|5|05|chunked|100-continue|gzip)",
        "Connection: [a-zA-Z, -]{0,16}",
        "(Upgrade|HTTP2-Settings|TE|Keep-Alive|Proxy-Connection): [a-z]{0,4}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_proxy_reads_what_was_judged(
        method in prop::sample::select(ALLOWED_METHODS.split(", ").collect::<Vec<_>>()),
        target in "(http://b)?(/[!-~]{0,4}){0,3}(\\?[!-~]{0,6})?",
        version in "HTTP/1\\.[01]",
        fields in proptest::collection::vec(any_field(), 0..4),
    ) {
        let mut all = vec!["Host: a"];
        all.extend(fields.iter().map(String::as_str));
        let raw = head(&format!("{method} {target} {version}"), &all);
        if let Ok(judged) = judge(&raw) {
            let canonical = judged.rewritten.unwrap_or_else(|| BytesMut::from(&raw[..]));
            let text = String::from_utf8(canonical.to_vec()).expect("these heads are ASCII");
            let mut lines = text.lines();
            let line = lines.next().expect("a request line");
            let mut expected: NamedValues = lines
                .filter_map(|line| line.split_once(':'))
                .map(|(name, value)| (name.to_lowercase(), value.trim().as_bytes().to_vec()))
                .collect();
            let read = read_by_the_proxy(canonical);
            prop_assert!(read.is_some(), "the proxy refuses {text:?}");
            let (method, path, mut fields) = read.expect("checked above");
            let read_line = format!("{method} {} {version}", String::from_utf8_lossy(&path));
            prop_assert_eq!(line, read_line);
            expected.sort();
            fields.sort();
            prop_assert_eq!(fields, expected);
        }
    }

    #[test]
    fn no_bytes_make_the_judge_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _verdict = judge(&bytes);
    }

    #[test]
    fn a_rewritten_head_is_canonical(
        target in "(http://b\\.example)?/[a-z./%2ef;]{0,12}(\\?[a-z%]{0,4})?",
        upgrade in any::<bool>(),
        connection in "[a-z, ]{0,12}",
    ) {
        let connection = format!("Connection: {connection}");
        let mut fields = vec!["Host: a", connection.as_str()];
        if upgrade {
            fields.push("Upgrade: x");
        }
        if let Ok(judged) = judge(&head(&format!("GET {target} HTTP/1.1"), &fields))
            && let Some(rewritten) = judged.rewritten
        {
            let again = judge(&rewritten).expect("a canonical head passes");
            prop_assert_eq!(again.rewritten, None);
            prop_assert_eq!((again.framing, again.close), (judged.framing, judged.close));
        }
    }
}
