//! [`Arena`]: a table whose keys know whether they are stale.

use core::marker::PhantomData;

use super::ids::Id;

/// A slab of `T` with generational keys `K`. Insertion and removal are O(1); slots are reused, the
/// generation tells old keys from new ones.
#[derive(Debug)]
pub struct Arena<K, T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    key: PhantomData<fn() -> K>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<K: From<Id> + Into<Id> + Copy, T> Arena<K, T> {
    /// An empty table; it grows as entries are inserted.
    pub const fn new() -> Arena<K, T> {
        Arena {
            slots: Vec::new(),
            free: Vec::new(),
            key: PhantomData,
        }
    }

    /// Puts `value` into a free slot and gives its key.
    pub fn insert(&mut self, value: T) -> K {
        self.insert_with(|_| value)
    }

    /// Like [`insert`](Arena::insert), for values that hold their own key.
    pub fn insert_with(&mut self, make: impl FnOnce(K) -> T) -> K {
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            let key = K::from(Id {
                index,
                generation: slot.generation,
            });
            slot.value = Some(make(key));
            return key;
        }
        // A shard holds far fewer than 2^32 entries: `Limits` bounds each table.
        let index = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        let key = K::from(Id {
            index,
            generation: 0,
        });
        self.slots.push(Slot {
            generation: 0,
            value: Some(make(key)),
        });
        key
    }

    /// Takes the entry out; `None` if the key is stale.
    pub fn remove(&mut self, key: K) -> Option<T> {
        let id: Id = key.into();
        let slot = self.slots.get_mut(id.index as usize)?;
        if slot.generation != id.generation {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.index);
        Some(value)
    }

    /// The entry of `key`, or `None` if the key is stale.
    pub fn get(&self, key: K) -> Option<&T> {
        let id: Id = key.into();
        let slot = self.slots.get(id.index as usize)?;
        if slot.generation == id.generation {
            slot.value.as_ref()
        } else {
            None
        }
    }

    /// The entry of `key`, or `None` if the key is stale.
    pub fn get_mut(&mut self, key: K) -> Option<&mut T> {
        let id: Id = key.into();
        let slot = self.slots.get_mut(id.index as usize)?;
        if slot.generation == id.generation {
            slot.value.as_mut()
        } else {
            None
        }
    }

    /// The entries of two keys; `None` if they are the same, or one is stale.
    pub fn get_two_mut(&mut self, one: K, other: K) -> Option<(&mut T, &mut T)> {
        let ids: [Id; 2] = [one.into(), other.into()];
        let indexes = ids.map(|id| id.index as usize);
        let [one, other] = self.slots.get_disjoint_mut(indexes).ok()?;
        if one.generation != ids[0].generation || other.generation != ids[1].generation {
            return None;
        }
        one.value.as_mut().zip(other.value.as_mut())
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All entries with their keys, in slot order.
    pub fn iter(&self) -> impl Iterator<Item = (K, &T)> {
        (0u32..).zip(&self.slots).filter_map(|(index, slot)| {
            let value = slot.value.as_ref()?;
            Some((
                K::from(Id {
                    index,
                    generation: slot.generation,
                }),
                value,
            ))
        })
    }

    /// The keys of all entries, in slot order.
    pub fn keys(&self) -> Vec<K> {
        self.iter().map(|(key, _)| key).collect()
    }
}

impl<K: From<Id> + Into<Id> + Copy, T> Default for Arena<K, T> {
    fn default() -> Self {
        Arena::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::ConnId;

    #[test]
    fn a_stale_key_finds_nothing_after_its_slot_was_reused() {
        let mut arena: Arena<ConnId, &str> = Arena::new();
        let first = arena.insert("first");
        assert_eq!(arena.remove(first), Some("first"));
        let second = arena.insert("second");
        assert_eq!(first.0.index, second.0.index);
        assert_eq!(arena.get(first), None);
        assert_eq!(arena.remove(first), None);
        assert_eq!(arena.get(second), Some(&"second"));
        assert_eq!(arena.len(), 1);
        assert_eq!(arena.keys(), vec![second]);
    }
}
