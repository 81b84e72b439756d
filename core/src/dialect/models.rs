//! [`ModelEntry`]: a model, as lists of models need it.

use crate::base::UnixMillis;

/// A model to show in a list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ModelEntry<'a> {
    /// The name to ask for.
    pub id: &'a str,
    /// Who serves it.
    pub owner: &'a str,
    /// When it was made known.
    pub created: UnixMillis,
}
