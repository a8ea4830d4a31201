//! What a later version brings is an error that says so.

use super::check;

#[test]
fn what_a_later_version_brings_says_so() {
    check(&[
        (
            "[gateway]\ntls = { cert = \"a\", key = \"b\" }",
            &["2:1: `tls` (TLS on the gateway's listener) comes with a later version; remove it"],
        ),
        (
            "[upstream]\nurl = [\"http://127.0.0.1:1\", \"http://127.0.0.1:2\"]",
            &["2:1: `url` (several upstreams) comes with a later version; remove it"],
        ),
    ]);
}

#[test]
fn what_a_later_version_brings_to_routes_says_so() {
    check(&[
        (
            "[[routes]]\npath = \"/a\"\ncache = \"120s\"",
            &["3:1: `cache` (caching answers) comes with a later version; remove it"],
        ),
        (
            "[[routes]]\npath = \"/a\"\nupgrade = true",
            &["3:1: `upgrade` (WebSocket) comes with a later version; remove it"],
        ),
        (
            "[[routes]]\npath = \"/a\"\nitems_max = 50\nfields = [\"id\"]\ndrop_fields = [\"secret\"]\nquery.limit.max = 50",
            &[
                "3:1: `items_max` (changing bodies) comes with a later version; remove it",
                "4:1: `fields` (changing bodies) comes with a later version; remove it",
                "5:1: `drop_fields` (changing bodies) comes with a later version; remove it",
                "6:7: `limit` (limits on query parameters) comes with a later version; remove it",
            ],
        ),
    ]);
}
