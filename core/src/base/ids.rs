//! Ids: an index and a generation. A stale id (its slot was freed, or taken again) is recognised
//! and ignored, never delivered to the slot's new owner.

use core::fmt;

/// What every id is made of: a slot index, and the count of times that slot was used before.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Id {
    /// Slot in its arena.
    pub index: u32,
    /// How often the slot had been freed when this id was given out.
    pub generation: u32,
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(pub Id);

        impl From<Id> for $name {
            fn from(id: Id) -> $name {
                $name(id)
            }
        }

        impl From<$name> for Id {
            fn from(id: $name) -> Id {
                id.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), self.0)
            }
        }
    };
}

typed_id! {
    /// A connection of a shard, to a client or to an upstream.
    ConnId
}
typed_id! {
    /// One client request and all that is done to answer it.
    ExchangeId
}
typed_id! {
    /// Work given to the host: a name to resolve, a job to perform.
    TicketId
}

/// A listener, by its place in the list that the runtime was started with.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ListenerId(pub u16);

/// A shard, by its place among the workers.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ShardId(pub u16);
