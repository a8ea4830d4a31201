//! Parameters as Stripe takes them: a form whose keys nest with brackets, every value text.
//!
//! What a parameter means is the business of whoever reads it.

use std::collections::BTreeMap;

use super::error::ApiError;

/// Parameters of one call, or of one part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Params(BTreeMap<String, Node>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Text(String),
    Map(Params),
}

impl Params {
    /// Reads a form or a query.
    pub(crate) fn parse(encoded: &[u8]) -> Self {
        let mut params = Self::default();
        params.read(encoded);
        params
    }

    /// Adds what stands in another form or query.
    pub(crate) fn read(&mut self, encoded: &[u8]) {
        for (key, value) in url::form_urlencoded::parse(encoded) {
            self.set(&key, &value);
        }
    }

    /// Parameters given as pairs, keys spelt as in a form.
    pub(crate) fn from_pairs(pairs: &[(&str, &str)]) -> Self {
        let mut params = Self::default();
        for (key, value) in pairs {
            params.set(key, value);
        }
        params
    }

    fn set(&mut self, key: &str, value: &str) {
        let (head, tail) = match key.split_once('[') {
            Some((head, tail)) => (head, Some(tail)),
            None => (key, None),
        };
        let mut parts = vec![head];
        parts.extend(tail.into_iter().flat_map(|tail| tail.split('[')).map(|part| part.trim_end_matches(']')));
        self.set_at(&parts, value);
    }

    fn set_at(&mut self, parts: &[&str], value: &str) {
        let Some((first, rest)) = parts.split_first() else { return };
        // `a[]=x` appends.
        let key = if first.is_empty() { self.0.len().to_string() } else { (*first).to_owned() };
        if rest.is_empty() {
            self.0.insert(key, Node::Text(value.to_owned()));
            return;
        }
        let node = self.0.entry(key).or_insert_with(|| Node::Map(Self::default()));
        if let Node::Text(_) = node {
            *node = Node::Map(Self::default());
        }
        if let Node::Map(map) = node {
            map.set_at(rest, value);
        }
    }

    fn node(&self, path: &str) -> Option<&Node> {
        match path.split_once('.') {
            None => self.0.get(path),
            Some((head, tail)) => match self.0.get(head)? {
                Node::Map(map) => map.node(tail),
                Node::Text(_) => None,
            },
        }
    }

    /// The names at the top.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The text at a dotted path; also an empty one, which is how Stripe is told to unset.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        match self.node(path)? {
            Node::Text(text) => Some(text),
            Node::Map(_) => None,
        }
    }

    /// The text at a path, empty ones left out.
    pub(crate) fn value(&self, path: &str) -> Option<&str> {
        self.text(path).filter(|text| !text.is_empty())
    }

    /// The text at a path that has to be there.
    pub(crate) fn required(&self, path: &str) -> Result<&str, ApiError> {
        self.value(path).ok_or_else(|| ApiError::missing(&bracketed(path)))
    }

    pub(crate) fn integer(&self, path: &str) -> Result<Option<i64>, ApiError> {
        self.value(path)
            .map(|text| {
                text.parse().map_err(|_| {
                    ApiError::invalid(format!("Invalid integer: {text}"), Some(&bracketed(path)))
                        .with_code("parameter_invalid_integer")
                })
            })
            .transpose()
    }

    pub(crate) fn flag(&self, path: &str) -> Result<Option<bool>, ApiError> {
        match self.value(path) {
            None => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(text) => Err(ApiError::invalid(format!("Invalid boolean: {text}"), Some(&bracketed(path)))),
        }
    }

    /// Whether anything stands at the path.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.node(path).is_some()
    }

    /// The part at the path.
    pub(crate) fn part(&self, path: &str) -> Option<&Self> {
        match self.node(path)? {
            Node::Map(map) => Some(map),
            Node::Text(_) => None,
        }
    }

    /// The parts of a list of objects, in the order of their indexes.
    pub(crate) fn parts(&self, path: &str) -> Vec<&Self> {
        self.listed(path)
            .into_iter()
            .filter_map(|node| match node {
                Node::Map(map) => Some(map),
                Node::Text(_) => None,
            })
            .collect()
    }

    /// The texts of a list, in the order of their indexes.
    pub(crate) fn texts(&self, path: &str) -> Vec<&str> {
        self.listed(path)
            .into_iter()
            .filter_map(|node| match node {
                Node::Text(text) => Some(text.as_str()),
                Node::Map(_) => None,
            })
            .collect()
    }

    fn listed(&self, path: &str) -> Vec<&Node> {
        let Some(map) = self.part(path) else { return Vec::new() };
        let mut nodes: Vec<(u64, &Node)> =
            map.0.iter().filter_map(|(key, node)| Some((key.parse().ok()?, node))).collect();
        nodes.sort_by_key(|(index, _)| *index);
        nodes.into_iter().map(|(_, node)| node).collect()
    }

    /// A map of text, such as `metadata`.
    pub(crate) fn map(&self, path: &str) -> BTreeMap<String, String> {
        let entries = self.part(path).into_iter().flat_map(|map| &map.0);
        entries
            .filter_map(|(key, node)| match node {
                Node::Text(text) => Some((key.clone(), text.clone())),
                Node::Map(_) => None,
            })
            .collect()
    }

    /// The same parameters always give the same text: what an idempotency key is bound to.
    pub(crate) fn fingerprint(&self) -> String {
        format!("{:?}", self.0)
    }
}

/// `items.0.price` as a form spells it.
fn bracketed(path: &str) -> String {
    let mut parts = path.split('.');
    let head = parts.next().unwrap_or_default().to_owned();
    parts.fold(head, |spelt, part| format!("{spelt}[{part}]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_nest_and_lists_keep_the_order_of_their_indexes() {
        let params = Params::parse(
            b"items[10][price]=b&items[2][price]=a&expand[]=x&expand[]=y&metadata[a.b]=1&flag=true&empty=",
        );
        assert_eq!(
            params.parts("items").iter().map(|part| part.text("price")).collect::<Vec<_>>(),
            [Some("a"), Some("b")]
        );
        assert_eq!(params.texts("expand"), ["x", "y"]);
        assert_eq!(params.map("metadata").get("a.b").map(String::as_str), Some("1"));
        assert_eq!(params.flag("flag"), Ok(Some(true)));
        assert_eq!((params.text("empty"), params.value("empty")), (Some(""), None));
    }

    #[test]
    fn a_missing_parameter_is_named_as_the_form_spells_it() {
        let error = Params::default().required("recurring.interval").expect_err("nothing is there");
        assert_eq!(error.message, "Missing required param: recurring[interval].");
    }
}
