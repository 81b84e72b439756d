//! A session stays where it is while all is well there: its provider's prompt cache knows it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::script::journal::Shared;
use crate::world::Violation;

/// What a session asks for: its name, and the model.
type Thread<'j> = (&'j str, &'static str);

/// Where it went: a provider, and a key of it.
type Place = (usize, Option<Arc<str>>);

/// Holds where the requests of each session went against each other, in a run in which nothing
/// went wrong.
pub(super) fn check(shared: &Shared) -> Result<(), Violation> {
    let journal = shared.journal.borrow();
    let mut places: BTreeMap<Thread<'_>, Place> = BTreeMap::new();
    for (marker, attempts) in &journal.sent {
        let asked = journal.asked.get(marker);
        let Some((session, model)) = asked.and_then(|it| Some((it.session.as_deref()?, it.model)))
        else {
            continue;
        };
        for sent in attempts {
            let place = (sent.asked.provider, sent.asked.key.clone());
            let before = places
                .entry((session, model))
                .or_insert_with(|| place.clone());
            if *before != place {
                let message =
                    format!("{marker} of {session} went to {place:?}, others to {before:?}");
                return Err(Violation::new("affinity", message));
            }
        }
    }
    Ok(())
}
