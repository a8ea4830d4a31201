//! Mistakes in `[cors]`.

use super::check;

#[test]
fn cors_is_checked() {
    check(&[
        ("[cors]\nmethods = [\"GET\"]", &["1:1: [cors] needs `origins`: the sites whose pages may call"]),
        (
            "[cors]\norigins = []",
            &["2:11: an empty list allows nothing; leave it out, or write \"*\" to allow everything"],
        ),
        (
            "[cors]\norigins = [\"*\"]\ncredentials = true",
            &["3:15: `credentials = true` contradicts origins \"*\" on line 2: name the sites"],
        ),
        (
            "[cors]\norigins = [\"*\", \"https://example.com\"]",
            &["2:12: `*` allows everything, so nothing else belongs in this list"],
        ),
        (
            "[cors]\norigins = [\"https://example.com/\", \"example.com\", \"https://example.com:443\", \"https://Example.com\", \"null\"]",
            &[
                "2:12: browsers name this site `https://example.com`: no path, no default port; write that",
                "2:36: `example.com` is not an origin; write scheme and host, such as \"https://example.com\"",
                "2:51: browsers name this site `https://example.com`: no path, no default port; write that",
                "2:78: browsers name this site `https://example.com`: no path, no default port; write that",
                "2:101: `null` is not an origin; write scheme and host, such as \"https://example.com\"",
            ],
        ),
        (
            "[cors]\norigins = [\"https://example.com\", \"https://example.com\"]",
            &["2:35: this stands in the list already; remove it"],
        ),
        (
            "[cors]\norigins = \"https://example.com\"\nmethods = [\"FETCH\"]\nheaders = [\"a b\"]",
            &[
                "3:12: `FETCH` is not a method that is let through: one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
                "4:12: this is not the name of a header: letters, digits and `-`, such as \"x-api-key\"",
            ],
        ),
    ]);
}
