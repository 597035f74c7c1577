//! All patterns at once, one level per token, so that matching a name costs its tokens and not the
//! number of patterns.
//!
//! Used twice: by the shared table (who has seats for a pattern) and by each worker (which of its
//! sessions). A branch is cut when its last pattern goes. Recursion is as deep as a subject has
//! tokens, at most 256 for the 255 bytes that callers let through.

use std::collections::HashMap;

#[derive(Debug)]
pub(crate) struct Trie<T> {
    root: Node<T>,
    len: usize,
}

#[derive(Debug)]
struct Node<T> {
    exact: HashMap<Box<str>, Self>,
    any: Option<Box<Self>>,
    /// The pattern that ends here.
    value: Option<T>,
    /// The pattern that ends here with `>`.
    tail: Option<T>,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self {
            exact: HashMap::new(),
            any: None,
            value: None,
            tail: None,
        }
    }
}

impl<T> Trie<T> {
    pub(crate) fn new() -> Self {
        Self {
            root: Node::default(),
            len: 0,
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn get(&self, pattern: &str) -> Option<&T> {
        let mut node = &self.root;
        for (token, last) in tokens(pattern) {
            if last && token == ">" {
                return node.tail.as_ref();
            }
            node = match token {
                "*" => node.any.as_deref()?,
                _ => node.exact.get(token)?,
            };
        }
        node.value.as_ref()
    }

    pub(crate) fn get_mut(&mut self, pattern: &str) -> Option<&mut T> {
        let mut node = &mut self.root;
        for (token, last) in tokens(pattern) {
            if last && token == ">" {
                return node.tail.as_mut();
            }
            node = match token {
                "*" => node.any.as_deref_mut()?,
                _ => node.exact.get_mut(token)?,
            };
        }
        node.value.as_mut()
    }

    pub(crate) fn get_or_insert_with(&mut self, pattern: &str, make: impl FnOnce() -> T) -> &mut T {
        let len = &mut self.len;
        let make = || {
            *len += 1;
            make()
        };
        let mut node = &mut self.root;
        for (token, last) in tokens(pattern) {
            if last && token == ">" {
                return node.tail.get_or_insert_with(make);
            }
            node = if token == "*" {
                node.any.get_or_insert_default()
            } else {
                // Two look-ups where there is none: an `entry` would allocate the key every time.
                if !node.exact.contains_key(token) {
                    node.exact.insert(token.into(), Node::default());
                }
                node.exact.get_mut(token).expect("inserted when missing")
            };
        }
        node.value.get_or_insert_with(make)
    }

    pub(crate) fn remove(&mut self, pattern: &str) -> Option<T> {
        let removed = self.root.remove(Some(pattern));
        if removed.is_some() {
            self.len -= 1;
        }
        removed
    }

    /// Calls `visit` for each pattern that matches the name, each once.
    pub(crate) fn matching<'a>(&'a self, name: &str, mut visit: impl FnMut(&'a T)) {
        if !self.is_empty() {
            self.root.matching(Some(name), &mut visit);
        }
    }

    /// Calls `visit` for every pattern, in no promised order.
    pub(crate) fn for_each<'a>(&'a self, mut visit: impl FnMut(&'a T)) {
        self.root.for_each(&mut visit);
    }
}

impl<T> Node<T> {
    fn for_each<'a>(&'a self, visit: &mut impl FnMut(&'a T)) {
        self.value.iter().chain(&self.tail).for_each(&mut *visit);
        for child in self.exact.values().chain(self.any.as_deref()) {
            child.for_each(visit);
        }
    }

    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.any.is_none() && self.value.is_none() && self.tail.is_none()
    }

    fn remove(&mut self, rest: Option<&str>) -> Option<T> {
        let Some(rest) = rest else {
            return self.value.take();
        };
        let (token, rest) = split(rest);
        match token {
            ">" if rest.is_none() => self.tail.take(),
            "*" => {
                let child = self.any.as_deref_mut()?;
                let removed = child.remove(rest);
                if child.is_empty() {
                    self.any = None;
                }
                removed
            }
            _ => {
                let child = self.exact.get_mut(token)?;
                let removed = child.remove(rest);
                if child.is_empty() {
                    self.exact.remove(token);
                    if self.exact.is_empty() {
                        self.exact = HashMap::new();
                    }
                }
                removed
            }
        }
    }

    fn matching<'a>(&'a self, rest: Option<&str>, visit: &mut impl FnMut(&'a T)) {
        let Some(rest) = rest else {
            if let Some(value) = &self.value {
                visit(value);
            }
            return;
        };
        if let Some(tail) = &self.tail {
            visit(tail);
        }
        let (token, rest) = split(rest);
        if let Some(child) = self.exact.get(token) {
            child.matching(rest, visit);
        }
        if let Some(child) = &self.any {
            child.matching(rest, visit);
        }
    }
}

fn split(text: &str) -> (&str, Option<&str>) {
    match text.split_once('.') {
        Some((token, rest)) => (token, Some(rest)),
        None => (text, None),
    }
}

/// The tokens of a subject, each with whether it is the last.
fn tokens(subject: &str) -> impl Iterator<Item = (&str, bool)> {
    let mut rest = Some(subject);
    std::iter::from_fn(move || {
        let (token, after) = split(rest?);
        rest = after;
        Some((token, after.is_none()))
    })
}

#[cfg(test)]
mod tests {
    use super::super::Pattern;
    use super::*;

    #[test]
    fn finds_exactly_the_patterns_that_match() {
        let patterns: Vec<&str> = super::super::tests::CASES.iter().map(|c| c.1).collect();
        let mut trie = Trie::new();
        for &pattern in &patterns {
            trie.get_or_insert_with(pattern, || pattern);
        }
        for &(name, ..) in super::super::tests::CASES {
            let mut found = Vec::new();
            trie.matching(name, |&pattern| found.push(pattern));
            found.sort_unstable();
            let mut expected: Vec<&str> = patterns
                .iter()
                .copied()
                .filter(|text| {
                    text.parse::<Pattern>()
                        .expect("the table holds patterns")
                        .matches(name)
                })
                .collect();
            expected.sort_unstable();
            expected.dedup();
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn removing_the_last_pattern_leaves_nothing_behind() {
        let mut trie = Trie::new();
        let patterns = ["a.*", "a.>", "a.b.c.*", ">", "*", "a.*.c"];
        for (index, pattern) in patterns.iter().enumerate() {
            assert_eq!(*trie.get_or_insert_with(pattern, || index), index);
            assert_eq!(*trie.get_or_insert_with(pattern, || 99), index);
        }
        assert_eq!(trie.len(), patterns.len());
        for (index, pattern) in patterns.iter().enumerate() {
            assert_eq!(trie.get(pattern), Some(&index));
            assert_eq!(trie.remove(pattern), Some(index));
            assert_eq!(trie.remove(pattern), None);
        }
        assert!(trie.is_empty());
        assert!(trie.root.is_empty());
    }

    #[test]
    fn a_subject_of_the_greatest_depth_is_matched_and_removed() {
        let deep = vec!["*"; 128].join(".");
        let name = vec!["a"; 128].join(".");
        let mut trie = Trie::new();
        trie.get_or_insert_with(&deep, || ());
        let mut found = 0;
        trie.matching(&name, |()| found += 1);
        assert_eq!(found, 1);
        assert_eq!(trie.remove(&deep), Some(()));
        assert!(trie.root.is_empty());
    }
}
