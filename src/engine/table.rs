//! Compact collections for the thousands of entries of the state.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::Name;

/// A small set of names. Most alerts have one name, for which a tree takes twelve times the memory.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct NameSet(Vec<Name>);

impl NameSet {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, name: &Name) -> bool {
        self.0.contains(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Name> {
        self.0.iter()
    }

    pub(super) fn add<'n>(&mut self, names: impl IntoIterator<Item = &'n Name>) {
        for name in names {
            if !self.contains(name) {
                self.0.reserve_exact(1);
                self.0.push(name.clone());
            }
        }
    }
}

/// Entries by number, oldest first. Each has its own box: the nodes of a tree that grows at one end
/// stay half empty.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct BoxMap<T>(BTreeMap<u64, Box<T>>);

impl<T> Default for BoxMap<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> BoxMap<T> {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&self, id: &u64) -> Option<&T> {
        self.0.get(id).map(AsRef::as_ref)
    }

    pub(super) fn get_mut(&mut self, id: &u64) -> Option<&mut T> {
        self.0.get_mut(id).map(AsMut::as_mut)
    }

    pub(super) fn insert(&mut self, id: u64, one: T) {
        self.0.insert(id, Box::new(one));
    }

    pub(super) fn remove(&mut self, id: &u64) -> Option<T> {
        self.0.remove(id).map(|one| *one)
    }

    pub(super) fn keys(&self) -> impl DoubleEndedIterator<Item = &u64> {
        self.0.keys()
    }

    pub(super) fn values(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.0.values().map(AsRef::as_ref)
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (&u64, &T)> {
        self.0.iter().map(|(id, one)| (id, one.as_ref()))
    }
}
