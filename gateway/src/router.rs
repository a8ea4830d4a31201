//! Which route a call takes: the first in file order whose path, method and conditions fit.
//!
//! Paths are indexed by segment, so a lookup costs what the path costs, whatever the number of routes.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use http::{HeaderMap, Method};
use tollgate_config::{MethodSet, Route, Segment};

/// What a call is matched by.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The method; of a preflight, the one it asks for.
    pub method: &'a Method,
    /// The canonical path.
    pub path: &'a str,
    /// The query as it came.
    pub query: Option<&'a str>,
    /// The request's headers.
    pub headers: &'a HeaderMap,
}

/// Where a call leads.
#[derive(Clone, Debug, PartialEq)]
pub enum Matched<'a> {
    /// To this route: of the file, or the one for everything the file does not match.
    Route(&'a Arc<Route>),
    /// Nowhere: routes have this path, but none this method.
    MethodNotAllowed(MethodSet),
}

/// The index over a policy's routes.
#[derive(Debug)]
pub struct Router {
    routes: Vec<Arc<Route>>,
    unmatched: Arc<Route>,
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<Box<str>, Self, RandomState>,
    parameter: Option<Box<Self>>,
    /// Routes whose pattern ends here, in file order.
    exact: Vec<usize>,
    /// Routes whose pattern ends here in `/*`, in file order.
    below: Vec<usize>,
}

impl Router {
    /// An index over these routes, in file order.
    pub fn new(routes: &[Route]) -> Self {
        let mut root = Node::default();
        for (index, route) in routes.iter().enumerate() {
            let mut node = &mut root;
            for segment in route.path.segments() {
                node = match segment {
                    Segment::Literal(text) => node.literals.entry(text.clone()).or_default(),
                    Segment::Parameter(_) => node.parameter.get_or_insert_default(),
                };
            }
            let ends = if route.path.matches_below() { &mut node.below } else { &mut node.exact };
            ends.push(index);
        }
        Self {
            routes: routes.iter().cloned().map(Arc::new).collect(),
            unmatched: Arc::new(Route::unmatched(routes.len())),
            root,
        }
    }

    /// The route of a call.
    pub fn find(&self, target: &Target<'_>) -> Matched<'_> {
        let mut search = Search { routes: &self.routes, target, first: None, allowed: MethodSet::EMPTY };
        search.descend(&self.root, target.path.strip_prefix('/').unwrap_or(target.path));
        match search.first {
            Some(index) => Matched::Route(&self.routes[index]),
            None if !search.allowed.is_empty() => Matched::MethodNotAllowed(search.allowed),
            None => Matched::Route(&self.unmatched),
        }
    }

    /// Every route of the file, in order.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }
}

struct Search<'a> {
    routes: &'a [Arc<Route>],
    target: &'a Target<'a>,
    first: Option<usize>,
    /// Methods of routes that have the path, but not the method.
    allowed: MethodSet,
}

impl Search<'_> {
    /// Looks at every pattern that fits. A path can fit a literal and a parameter at each of its segments, so the
    /// branches are bounded by the patterns there are, and each is left as soon as its next segment does not fit.
    fn descend(&mut self, node: &Node, rest: &str) {
        self.consider(&node.below);
        let (segment, rest) = rest.split_once('/').map_or((rest, None), |(segment, rest)| (segment, Some(rest)));
        let parameter = node.parameter.as_deref().filter(|_| !segment.is_empty());
        for next in node.literals.get(segment).into_iter().chain(parameter) {
            match rest {
                Some(rest) => self.descend(next, rest),
                None => self.consider(&next.exact),
            }
        }
    }

    fn consider(&mut self, candidates: &[usize]) {
        for index in candidates {
            if self.first.is_some_and(|first| first < *index) {
                return;
            }
            let route = &self.routes[*index];
            if !route.allows(self.target.method) {
                self.allowed = self.allowed.union(route.methods.unwrap_or(MethodSet::EMPTY));
            } else if conditions_hold(route, self.target) {
                self.first = Some(*index);
                return;
            }
        }
    }
}

fn conditions_hold(route: &Route, target: &Target<'_>) -> bool {
    let headers = route.headers.iter().all(|(name, condition)| {
        target.headers.get_all(name).iter().any(|value| condition.is_met_by(value.as_bytes()))
    });
    headers
        && route.query.iter().all(|(name, condition)| {
            crate::query::parameters(target.query.unwrap_or(""))
                .any(|(key, value)| key == name.as_bytes() && condition.is_met_by(&value))
        })
}

#[cfg(test)]
mod tests;
