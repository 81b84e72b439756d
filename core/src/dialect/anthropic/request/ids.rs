//! Ids of tool calls, as Messages wants them: of the characters `a-z A-Z 0-9 _ -`, and each but
//! once in a conversation. Other vendors give `functions.read:0`, count from 0 anew in each turn,
//! or give none.
//!
//! An id that is fine stays. Any other gets a name that depends on it and on the ids before it
//! alone, so that a longer conversation begins with the same bytes.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::base::JsonStr;

/// The calls of a conversation.
#[derive(Debug, Default)]
pub(super) struct CallIds {
    /// Ids given out, and how many were asked for under each.
    used: BTreeMap<Bytes, u32>,
    /// Calls of the last turn that wait for their results: by the client's id, in order.
    waiting: BTreeMap<Bytes, Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    ids: Vec<JsonStr>,
    answered: usize,
}

/// Why a result has no call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NoCall {
    /// All calls of that id have their results.
    Answered,
    /// The turn before made no such call.
    Unknown,
}

impl CallIds {
    /// The id under which a call is sent.
    pub(super) fn call(&mut self, id: &JsonStr) -> JsonStr {
        let sent = self.unique(allowed(id));
        self.waiting
            .entry(characters(id))
            .or_default()
            .ids
            .push(sent.clone());
        sent
    }

    /// The id under which a call's result is sent.
    pub(super) fn result(&mut self, id: &JsonStr) -> Result<JsonStr, NoCall> {
        let waiting = self
            .waiting
            .get_mut(&characters(id))
            .ok_or(NoCall::Unknown)?;
        let sent = waiting.ids.get(waiting.answered).ok_or(NoCall::Answered)?;
        waiting.answered += 1;
        Ok(sent.clone())
    }

    /// The turn is over: the client's id of a call that has no result.
    pub(super) fn settle(&mut self) -> Result<(), String> {
        let waiting = core::mem::take(&mut self.waiting);
        let open = waiting
            .iter()
            .find(|(_, calls)| calls.answered < calls.ids.len());
        match open {
            Some((id, _)) => Err(String::from_utf8_lossy(id).into_owned()),
            None => Ok(()),
        }
    }

    fn unique(&mut self, id: JsonStr) -> JsonStr {
        let count = self.used.entry(id.escaped().clone()).or_insert(0);
        *count += 1;
        if *count == 1 {
            return id;
        }
        let mut count = *count;
        let base = id.unescape().into_owned();
        loop {
            let next = JsonStr::escape(&format!("{base}_{count}"));
            if !self.used.contains_key(next.escaped()) {
                self.used.insert(next.escaped().clone(), 1);
                self.used.insert(id.escaped().clone(), count);
                return next;
            }
            count = count.saturating_add(1);
        }
    }
}

/// The characters of an id, unescaped, to look it up by.
pub(super) fn characters(id: &JsonStr) -> Bytes {
    if memchr::memchr(b'\\', id.escaped()).is_none() {
        return id.escaped().clone();
    }
    Bytes::from(id.unescape().into_owned())
}

/// `id` if Messages takes it; else its allowed characters and a digest of all of them, so that two
/// ids stay two.
fn allowed(id: &JsonStr) -> JsonStr {
    let fine = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !id.is_empty() && id.escaped().iter().all(fine) {
        return id.clone();
    }
    let characters = id.unescape();
    let mut name: String = characters
        .bytes()
        .map(|byte| if fine(&byte) { char::from(byte) } else { '_' })
        .collect();
    let separator = if name.is_empty() { "call_" } else { "_" };
    name.push_str(separator);
    name.push_str(&format!("{:08x}", fnv1a(characters.as_bytes())));
    JsonStr::escape(&name)
}

/// FNV-1a, 32 bits: short, stable, and enough to tell ids of one conversation apart (equal ones
/// would still be numbered).
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811C_9DC5, |hash, &byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> JsonStr {
        JsonStr::escape(text)
    }

    #[test]
    fn allowed_ids_stay_and_others_get_a_name_of_their_own() {
        let mut ids = CallIds::default();
        assert_eq!(ids.call(&id("toolu_01-A")), id("toolu_01-A"));
        let dotted = ids.call(&id("functions.f:0"));
        let colon = ids.call(&id("functions:f.0"));
        assert_ne!(dotted, colon);
        for sent in [&dotted, &colon, &ids.call(&id("")), &ids.call(&id("ä"))] {
            let text = sent.unescape();
            let fine = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            assert!(!text.is_empty() && text.chars().all(fine), "{text}");
        }
        assert_eq!(ids.result(&id("functions.f:0")), Ok(dotted));
        assert_eq!(ids.result(&id("functions:f.0")), Ok(colon));
    }

    #[test]
    fn ids_that_come_again_are_numbered() {
        let mut ids = CallIds::default();
        assert_eq!(ids.call(&id("c")), id("c"));
        assert_eq!(ids.call(&id("c")), id("c_2"));
        assert_eq!(ids.result(&id("c")), Ok(id("c")));
        assert_eq!(ids.settle(), Err("c".to_owned()));
        assert_eq!(ids.call(&id("c")), id("c_3"));
        assert_eq!(ids.result(&id("c")), Ok(id("c_3")));
        assert_eq!(ids.result(&id("c")), Err(NoCall::Answered));
        assert_eq!(ids.result(&id("d")), Err(NoCall::Unknown));
        assert_eq!(ids.settle(), Ok(()));
        assert_eq!(ids.call(&id("c_2")), id("c_2_2"));
    }
}
