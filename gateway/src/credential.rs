//! Reads the key a call brings, and remembers where it stood so that it can be taken out again.

use std::borrow::Cow;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};
use tollgate_config::KeysConfig;
use tollgate_domain::{KeyHash, KeyHasher, KeyPrefix, KeyShape, Reason, ShapePattern};

/// A key of ours is no longer: the longest prefix, an underscore and what follows it. Nothing longer is hashed before
/// it has been found to have the shape of a key.
const LIKELY_BYTES_MAX: usize = 96;

/// How keys are read in this deployment.
#[derive(Debug)]
pub struct KeyReader {
    header: HeaderName,
    query: Option<Box<str>>,
    prefix: KeyPrefix,
    also_accept: Vec<ShapePattern>,
    hasher: KeyHasher,
}

/// Where the key stood; what is taken out before the call goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// In the key header.
    pub header: bool,
    /// In `Authorization`.
    pub authorization: bool,
    /// In the query.
    pub query: bool,
}

/// What a call brings as a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// Nothing.
    None,
    /// A text that has an accepted shape.
    Key(KeyHash),
    /// A text that opens nothing, whatever the store holds.
    Bad(Reason),
}

impl KeyReader {
    /// A reader for these settings.
    pub fn new(keys: &KeysConfig) -> Self {
        Self {
            header: keys.header.clone(),
            query: keys.query.clone(),
            prefix: keys.prefix.clone(),
            also_accept: keys.also_accept.clone(),
            hasher: KeyHasher::new(keys.pepper.as_ref().map(|pepper| pepper.reveal().as_bytes())),
        }
    }

    /// The header that carries keys.
    pub fn header(&self) -> &HeaderName {
        &self.header
    }

    /// The query parameter that may carry keys.
    pub fn query_parameter(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// The key of a call: the header, `Authorization: Bearer` where its value has the shape of a key, the query
    /// parameter where one is switched on. The same key in several places is one key; two different ones are refused.
    /// An empty value counts as a key that opens nothing.
    ///
    /// `foresee` is told the hash that is going to be looked up if all is well, before all that has been checked.
    pub fn read(
        &self,
        headers: &HeaderMap,
        query: Option<&str>,
        foresee: impl FnOnce(&KeyHash),
    ) -> (Credential, Places) {
        let mut places = Places::default();
        let mut found = Found::Nothing;
        for value in headers.get_all(&self.header) {
            places.header = true;
            found.add(Cow::Borrowed(value.as_bytes()));
        }
        for value in headers.get_all(AUTHORIZATION) {
            let Some(token) = bearer(value.as_bytes()) else { continue };
            if self.looks_like_a_key(token) {
                places.authorization = true;
                found.add(Cow::Borrowed(token));
            }
        }
        if let (Some(name), Some(query)) = (&self.query, query) {
            for (_, value) in crate::query::parameters(query).filter(|(key, _)| **key == *name.as_bytes()) {
                places.query = true;
                found.add(value);
            }
        }
        let credential = match found {
            Found::Nothing => Credential::None,
            Found::Two => Credential::Bad(Reason::TwoKeys),
            Found::One(text) => {
                let likely = (text.len() <= LIKELY_BYTES_MAX).then(|| self.hasher.hash(&text));
                if let Some(hash) = &likely {
                    foresee(hash);
                }
                match (KeyShape::of(&text, &self.prefix, &self.also_accept), likely) {
                    (KeyShape::Ours, Some(hash)) => Credential::Key(hash),
                    (shape, _) => self
                        .hasher
                        .hash_of_shape(shape, &text)
                        .map_or(Credential::Bad(Reason::Malformed), Credential::Key),
                }
            }
        };
        (credential, places)
    }

    /// Whether a bearer token is meant for us: it has an accepted shape, or begins as our keys do (then a typo in
    /// it is ours to refuse). Anything else, such as a session token, belongs to the backend.
    pub(crate) fn looks_like_a_key(&self, token: &[u8]) -> bool {
        let ours = token.strip_prefix(self.prefix.as_str().as_bytes()).is_some_and(|rest| rest.starts_with(b"_"));
        ours || KeyShape::of(token, &self.prefix, &self.also_accept) != KeyShape::Malformed
    }
}

/// The token of an `Authorization` value of the scheme `Bearer` (in any case).
pub(crate) fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Texts found so far. What stands in a header is borrowed from it.
enum Found<'a> {
    Nothing,
    One(Cow<'a, [u8]>),
    Two,
}

impl<'a> Found<'a> {
    fn add(&mut self, text: Cow<'a, [u8]>) {
        *self = match std::mem::replace(self, Self::Two) {
            Self::Nothing => Self::One(text),
            Self::One(known) if known == text => Self::One(known),
            Self::One(_) | Self::Two => Self::Two,
        };
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use tollgate_domain::PlainKey;

    use super::*;

    fn reader() -> KeyReader {
        let keys = KeysConfig {
            query: Some("api_key".into()),
            also_accept: vec![ShapePattern::new("rk_*").expect("a good pattern")],
            ..KeysConfig::default()
        };
        KeyReader::new(&keys)
    }

    fn key(seed: u8) -> String {
        let prefix = KeyPrefix::new("tg_live").expect("a good prefix");
        PlainKey::generate(&prefix, [seed; 32]).reveal().into()
    }

    fn read(pairs: &[(&str, &str)], query: Option<&str>) -> (Credential, Places) {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a good name");
            headers.append(name, HeaderValue::from_str(value).expect("a good value"));
        }
        reader().read(&headers, query, |_| {})
    }

    #[test]
    fn a_key_is_found_in_each_place() {
        let key = key(1);
        let hash = Credential::Key(KeyHasher::new(None).hash(key.as_bytes()));
        let (credential, places) = read(&[("x-api-key", &key)], None);
        assert_eq!((credential, places), (hash, Places { header: true, ..Places::default() }));
        let (credential, places) = read(&[("authorization", &format!("bearer {key}"))], None);
        assert_eq!((credential, places), (hash, Places { authorization: true, ..Places::default() }));
        let (credential, places) = read(&[], Some(&format!("q=1&api_key={key}")));
        assert_eq!((credential, places), (hash, Places { query: true, ..Places::default() }));
    }

    #[test]
    fn the_same_key_twice_is_one_and_two_different_ones_are_refused() {
        let (one, other) = (key(1), key(2));
        let (credential, places) = read(&[("x-api-key", &one), ("authorization", &format!("Bearer {one}"))], None);
        assert!(matches!(credential, Credential::Key(_)));
        assert!(places.header && places.authorization, "both are taken out");
        for pairs in [
            [("x-api-key", one.as_str()), ("x-api-key", other.as_str())],
            [("x-api-key", one.as_str()), ("authorization", &format!("Bearer {other}"))],
            [("x-api-key", one.as_str()), ("x-api-key", "")],
        ] {
            assert_eq!(read(&pairs, None).0, Credential::Bad(Reason::TwoKeys), "{pairs:?}");
        }
    }

    #[test]
    fn a_session_token_in_authorization_is_the_backends() {
        for value in ["Bearer eyJhbGciOiJIUzI1NiJ9.e30.x", "Basic dTpw", "Bearer", "Bearer "] {
            assert_eq!(read(&[("authorization", value)], None), (Credential::None, Places::default()), "{value}");
        }
        let typo = format!("{}x", key(1));
        assert_eq!(read(&[("authorization", &format!("Bearer {typo}"))], None).0, Credential::Bad(Reason::Malformed));
    }

    #[test]
    fn malformed_texts_never_reach_a_lookup() {
        let mut wrong_checksum = key(1);
        wrong_checksum.replace_range(8..9, if wrong_checksum.as_bytes()[8] == b'A' { "B" } else { "A" });
        let long = "k".repeat(1 << 20);
        for text in ["", "bad", wrong_checksum.as_str(), long.as_str()] {
            assert_eq!(read(&[("x-api-key", text)], None).0, Credential::Bad(Reason::Malformed));
        }
        assert_eq!(read(&[], Some("api_key[]=x")).0, Credential::None, "an array is another parameter");
        assert!(matches!(read(&[("x-api-key", "rk_0123")], None).0, Credential::Key(_)));
    }
}
