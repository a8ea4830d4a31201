//! A set of the methods that the gateway lets through.

use std::fmt;

use http::Method;

/// The methods the gateway lets through, in the order `Allow` lists them.
const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

/// A set of methods. A set with GET has HEAD too.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct MethodSet(u8);

impl MethodSet {
    /// Every method that the gateway lets through.
    pub const ALL: Self = Self((1 << METHODS.len()) - 1);

    /// The set without a member.
    pub const EMPTY: Self = Self(0);

    /// Adds a method, with GET also HEAD; false when the gateway lets no such method through.
    pub fn insert(&mut self, method: &Method) -> bool {
        let Some(bit) = bit(method) else { return false };
        self.0 |= bit;
        if *method == Method::GET {
            self.0 |= bit << 1;
        }
        true
    }

    /// Whether the method is in the set.
    pub fn contains(self, method: &Method) -> bool {
        bit(method).is_some_and(|bit| self.0 & bit != 0)
    }

    /// Whether every method of the other set is in this one.
    pub const fn is_superset(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The methods of either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The methods of both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether no method is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The methods, in the order `Allow` lists them.
    pub fn iter(self) -> impl Iterator<Item = Method> {
        METHODS.into_iter().filter(move |method| self.contains(method))
    }
}

fn bit(method: &Method) -> Option<u8> {
    METHODS.iter().position(|known| known == method).map(|index| 1 << index)
}

/// As `Allow` writes it: `GET, HEAD, POST`.
impl fmt::Display for MethodSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, method) in self.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(formatter, "{separator}{method}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for MethodSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "MethodSet({self})")
    }
}
