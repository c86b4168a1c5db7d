//! What is kept as long as there is room: the least recently used goes first.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// A map of bounded weight.
#[derive(Debug)]
pub(super) struct Kept<K, V> {
    held: HashMap<K, Held<V>>,
    /// The keys by the time of their last use.
    order: BTreeMap<u64, K>,
    /// Counts uses.
    time: u64,
    weight: u64,
    limit: u64,
}

#[derive(Debug)]
struct Held<V> {
    value: V,
    weight: u64,
    used: u64,
}

impl<K: Hash + Eq + Clone, V: Clone> Kept<K, V> {
    /// Keeps values of this weight altogether, or a single one that is heavier.
    pub fn new(limit: u64) -> Self {
        Self { held: HashMap::new(), order: BTreeMap::new(), time: 0, weight: 0, limit }
    }

    /// The value, which is then the one used last.
    pub fn get(&mut self, key: &K) -> Option<V> {
        let held = self.held.get_mut(key)?;
        self.time += 1;
        if let Some(key) = self.order.remove(&held.used) {
            self.order.insert(self.time, key);
        }
        held.used = self.time;
        Some(held.value.clone())
    }

    /// Keeps a value, instead of the one that was kept under the key.
    pub fn insert(&mut self, key: K, value: V, weight: u64) {
        self.remove(&key);
        self.time += 1;
        self.weight += weight;
        self.order.insert(self.time, key.clone());
        self.held.insert(key, Held { value, weight, used: self.time });
        while self.weight > self.limit && self.held.len() > 1 {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.weight -= self.held.remove(&oldest).map_or(0, |held| held.weight);
        }
    }

    /// Lets a value go.
    pub fn remove(&mut self, key: &K) {
        if let Some(held) = self.held.remove(key) {
            self.order.remove(&held.used);
            self.weight -= held.weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_last_stays() {
        let mut kept = Kept::new(10);
        for key in 0..5 {
            kept.insert(key, key * 10, 2);
        }
        assert_eq!(kept.get(&0), Some(0));
        kept.insert(5, 50, 4);
        assert_eq!([0, 1, 2, 3, 4, 5].map(|key| kept.get(&key)), [Some(0), None, None, Some(30), Some(40), Some(50)]);
        kept.insert(6, 60, 100);
        assert_eq!([0, 5, 6].map(|key| kept.get(&key)), [None, None, Some(60)]);
        kept.insert(6, 61, 1);
        kept.insert(7, 70, 9);
        assert_eq!([6, 7].map(|key| kept.get(&key)), [Some(61), Some(70)]);
        kept.remove(&6);
        kept.remove(&6);
        kept.insert(8, 80, 1);
        assert_eq!([6, 7, 8].map(|key| kept.get(&key)), [None, Some(70), Some(80)]);
        assert_eq!((kept.weight, kept.order.len(), kept.held.len()), (10, 2, 2));
    }
}
