//! Routes from documented paths: in an order in which each can match, under names of their own.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashSet};
use std::fmt::Write as _;

use tollgate_config::{InvalidPath, PathPattern, Segment, UNMATCHED_ROUTE};

use super::document::{Access, Operation, PathItem};
use super::{LeftOut, comment, quoted};

/// The longest name that is made of a path; some room is left for what tells equal ones apart.
const NAME_CHARS_MAX: usize = 50;

/// Every path of a document: with its routes, or with the reason why it has none.
pub(super) struct Routes {
    paths: Vec<RoutedPath>,
    left_out: Vec<LeftOut>,
}

/// A path that has routes.
struct RoutedPath {
    pattern: PathPattern,
    /// As documented; several where the document has templates that match the same.
    documented: Vec<String>,
    operations: Vec<Operation>,
    /// The lines that its routes take, counted from the first line after the head; as last written.
    lines: (usize, usize),
    name: String,
}

impl Routes {
    pub(super) fn of(items: &[PathItem]) -> Self {
        let mut routes = Self { paths: Vec::new(), left_out: Vec::new() };
        for item in items {
            match pattern(&item.path) {
                Ok(_) if item.operations.is_empty() => routes.leave_out(&item.path, "no operation is documented"),
                Ok(pattern) => routes.add(pattern, item),
                Err(reason) => routes.leave_out(&item.path, &reason.to_string()),
            }
        }
        routes.paths.sort_by(|one, other| precedence(&one.pattern, &other.pattern));
        routes.give_names();
        routes
    }

    pub(super) fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// Leaves out the paths whose routes stand on these lines, counted from the first after the head. False when there
    /// are none.
    pub(super) fn leave_out_at(&mut self, refused: &[(usize, &str)]) -> bool {
        let before = self.paths.len();
        let paths = std::mem::take(&mut self.paths);
        for path in paths {
            let within = |line: usize| path.lines.0 <= line && line <= path.lines.1;
            match refused.iter().find(|(line, _)| within(*line)) {
                Some((_, reason)) => path.documented.iter().for_each(|documented| self.leave_out(documented, reason)),
                None => self.paths.push(path),
            }
        }
        self.paths.len() < before
    }

    fn leave_out(&mut self, path: &str, reason: &str) {
        self.left_out.push(LeftOut { path: path.to_owned(), reason: reason.to_owned() });
    }

    /// Adds a path, or its operations to the one whose template matches the same.
    fn add(&mut self, pattern: PathPattern, item: &PathItem) {
        let same = self.paths.iter_mut().find(|known| precedence(&known.pattern, &pattern) == Ordering::Equal);
        let Some(known) = same else {
            self.paths.push(RoutedPath {
                pattern,
                documented: vec![item.path.clone()],
                operations: item.operations.clone(),
                lines: (0, 0),
                name: String::new(),
            });
            return;
        };
        known.documented.push(item.path.clone());
        for operation in &item.operations {
            match known.operations.iter_mut().find(|other| other.method == operation.method) {
                // Of two that cannot be told apart the stricter holds.
                Some(other) => other.access = other.access.max(operation.access),
                None => known.operations.push(operation.clone()),
            }
        }
    }

    /// Names made of the paths, each once: also with the words that tell a path's routes apart.
    fn give_names(&mut self) {
        let mut taken: HashSet<String> = HashSet::from([UNMATCHED_ROUTE.to_owned()]);
        for path in &mut self.paths {
            let base = base_name(&path.pattern);
            let mut name = base.clone();
            let mut number = 1;
            while ["", "-public", "-optional"].iter().any(|suffix| taken.contains(&format!("{name}{suffix}"))) {
                number += 1;
                name = format!("{base}-{number}");
            }
            taken.extend(["", "-public", "-optional"].map(|suffix| format!("{name}{suffix}")));
            path.name = name;
        }
    }

    /// The routes as TOML, and what is left out as comments. Remembers the lines.
    pub(super) fn write_toml(&mut self) -> String {
        let mut text = String::new();
        let mut lines = 0;
        for path in &mut self.paths {
            let written = path.to_toml();
            let count = written.lines().count();
            path.lines = (lines + 1, lines + count);
            lines += count;
            text.push_str(&written);
        }
        if !self.left_out.is_empty() {
            text.push_str("\n# Documented paths without a route of their own; they need a key, as everything does that no route matches:\n");
        }
        for LeftOut { path, reason } in &self.left_out {
            writeln!(text, "#   {}: {}", comment(path), comment(reason)).expect("writing to a string cannot fail");
        }
        text
    }
}

impl RoutedPath {
    fn to_toml(&self) -> String {
        let mut text = String::new();
        let accesses: BTreeSet<Access> = self.operations.iter().map(|operation| operation.access).collect();
        for access in &accesses {
            let operations: Vec<_> = self.operations.iter().filter(|operation| operation.access == *access).collect();
            self.write_route(*access, accesses.len() > 1, &operations, &mut text);
        }
        text
    }

    fn write_route(&self, access: Access, is_one_of_several: bool, operations: &[&Operation], text: &mut String) {
        // The gateway lets no TRACE through, so no route can name it.
        let methods: Vec<&str> =
            operations.iter().map(|operation| operation.method.as_str()).filter(|method| *method != "TRACE").collect();
        if access != Access::Keyed && methods.is_empty() {
            return;
        }
        let (word, suffix) = match access {
            Access::Public => (Some("public"), "-public"),
            Access::Optional => (Some("optional"), "-optional"),
            Access::Keyed => (None, ""),
        };
        let suffix = if is_one_of_several { suffix } else { "" };
        let said = operations.iter().map(|operation| match &operation.summary {
            Some(summary) => format!("{} {}", operation.method, comment(summary)),
            None => operation.method.clone(),
        });
        let said = said.collect::<Vec<_>>().join("; ");
        let others = self.documented[1..].iter().map(|path| format!("; also documented as {}", comment(path)));
        let others: String = others.collect();
        let (name, path) = (quoted(&format!("{}{suffix}", self.name)), quoted(&self.pattern.to_string()));
        write!(text, "\n# {said}{others}\n[[routes]]\nname = {name}\npath = {path}\n")
            .expect("writing to a string cannot fail");
        let literals = || {
            self.pattern.segments().iter().filter_map(|segment| match segment {
                Segment::Literal(literal) => Some(literal),
                Segment::Parameter(_) => None,
            })
        };
        let mut push = |line: String| {
            text.push_str(&line);
            text.push('\n');
        };
        if let Some(word) = word {
            // Only what is documented to be open is open: any other method falls through.
            let methods: Vec<String> = methods.iter().map(|method| quoted(method)).collect();
            push(format!("methods = [{}]", methods.join(", ")));
            push(format!("access = \"{word}\""));
        }
        if literals().any(|literal| literal.contains(';')) {
            push("path_params = \"keep\"".to_owned());
        }
        if literals().any(|literal| literal.contains("%2F")) {
            push("encoded_slash = \"keep\"".to_owned());
        }
    }
}

/// The pattern of a documented path: parameters under names that a pattern may have, literals in their normal form.
fn pattern(path: &str) -> Result<PathPattern, InvalidPath> {
    let mut names = HashSet::new();
    let segments: Vec<String> = path.split('/').map(|segment| parameter(segment, &mut names)).collect();
    let text = segments.join("/");
    match PathPattern::parse(&text) {
        Err(InvalidPath::NotNormal(_, normal)) => PathPattern::parse(&normal),
        other => other,
    }
}

/// A segment that is one `{parameter}`, its name made one that a pattern may have and that is not there yet; any other
/// as it is.
fn parameter(segment: &str, names: &mut HashSet<String>) -> String {
    let inner = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let Some(inner) = inner.filter(|inner| !inner.contains(['{', '}'])) else { return segment.to_owned() };
    let safe = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
    let base: String = inner.chars().map(safe).collect();
    let base = if base.is_empty() { "parameter".to_owned() } else { base };
    let mut name = base.clone();
    let mut number = 1;
    while !names.insert(name.clone()) {
        number += 1;
        name = format!("{base}_{number}");
    }
    format!("{{{name}}}")
}

/// The order of routes: what matches less comes first, so that nothing stands in another's way. Patterns that match the
/// same are equal.
fn precedence(one: &PathPattern, other: &PathPattern) -> Ordering {
    fn key(pattern: &PathPattern) -> impl Iterator<Item = (u8, &str)> {
        let segments = pattern.segments().iter().map(|segment| match segment {
            Segment::Literal(literal) => (0, &**literal),
            Segment::Parameter(_) => (1, ""),
        });
        segments.chain(pattern.matches_below().then_some((2, "")))
    }
    key(one).cmp(key(other))
}

/// `/pets/{petId}` is `pets-petId`, `/` is `root`.
fn base_name(pattern: &PathPattern) -> String {
    let words = pattern.segments().iter().map(|segment| match segment {
        Segment::Literal(text) | Segment::Parameter(text) => &**text,
    });
    let words: Vec<&str> =
        words.chain(pattern.matches_below().then_some("all")).filter(|word| !word.is_empty()).collect();
    let safe = |letter: char| if letter.is_ascii_alphanumeric() || "-_.".contains(letter) { letter } else { '-' };
    let name: String = words.join("-").chars().take(NAME_CHARS_MAX).map(safe).collect();
    if name.is_empty() { "root".to_owned() } else { name }
}
