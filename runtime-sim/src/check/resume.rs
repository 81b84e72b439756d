//! Answers that broke and were continued: what the next target is given as its beginning is what
//! the client was told, what the client is told is both as they were sent, and it is done where it
//! is wanted and can be, and nowhere else.

use std::borrow::Cow;

use tollgate_core::ir::Blame;
use tollgate_core::record::{Access, Outcome};

use super::rescue::ends_all;
use crate::faults::Fault;
use crate::script::journal::{Asked, Journal, Kind, Sent, Shared};
use crate::setup::{PROVIDERS, chain_of};
use crate::world::Violation;

/// All that a client may have been told by these attempts in the end, and by which of them last.
pub(super) fn texts(attempts: &[Sent]) -> Vec<(Cow<'_, str>, usize)> {
    let mut texts: Vec<(Cow<'_, str>, usize)> = Vec::with_capacity(attempts.len());
    for (number, sent) in attempts.iter().enumerate() {
        let Some(prefill) = &sent.prefill else {
            texts.push((Cow::Borrowed(&sent.told.text), number));
            continue;
        };
        let mut joined: Vec<String> = Vec::new();
        for (before, _) in &texts {
            joined.extend(join(before, prefill, &sent.told.text));
        }
        joined.sort_unstable();
        joined.dedup();
        texts.extend(joined.into_iter().map(|text| (Cow::Owned(text), number)));
    }
    texts
}

/// What comes of `before`, of which the client was told the `prefill` and perhaps white space
/// behind it, and of what the next one says. It is not told white space twice.
fn join<'a>(before: &'a str, prefill: &'a str, next: &'a str) -> impl Iterator<Item = String> {
    let rest = before.strip_prefix(prefill);
    let white = rest.map_or("", |rest| &rest[..rest.len() - rest.trim_start().len()]);
    let ends = white.char_indices().map(|(at, it)| at + it.len_utf8());
    let ends = rest.is_some().then_some(0).into_iter().chain(ends);
    ends.map(move |end| {
        let told = &white[..end];
        let same = told.chars().zip(next.chars());
        let same = same.take_while(|(one, other)| one == other);
        let known: usize = same.map(|(it, _)| it.len_utf8()).sum();
        format!("{prefill}{told}{}", &next[known..])
    })
}

/// Holds the continuations of a request against what may be, and what must.
pub(super) fn check(shared: &Shared, marker: &str, record: &Access) -> Result<(), Violation> {
    let journal = shared.journal.borrow();
    let Some(asked) = journal.asked.get(marker) else {
        return Ok(());
    };
    let sent = journal.sent_for(asked);
    let wrong = sent
        .iter()
        .enumerate()
        .find_map(|(number, it)| {
            let prefill = it.prefill.as_deref()?;
            is_wrong(shared, asked, prefill, &sent[..=number])
        })
        .or_else(|| is_missing(shared, &journal, (marker, asked), record));
    match wrong {
        None => Ok(()),
        Some(what) => {
            let prefills = sent.iter().map(|it| (&it.asked, &it.prefill));
            let prefills: Vec<_> = prefills.collect();
            let message = format!("{marker}: {what}: asked {prefills:?}, recorded {record:?}");
            Err(Violation::new("resume", message))
        }
    }
}

/// What is wrong with the last of these, which continues `prefill`.
fn is_wrong(shared: &Shared, asked: &Asked, prefill: &str, sent: &[Sent]) -> Option<&'static str> {
    let (last, before) = sent.split_last()?;
    if !texts(before)
        .iter()
        .any(|(text, _)| text.starts_with(prefill))
    {
        return Some("continues what nobody has said");
    }
    if shared.faults.borrow().injected()[Fault::Reload as usize] > 0 {
        return None;
    }
    let chain = chain_of(&shared.snapshot, asked.model)?;
    if !chain.manner.resume || !asked.is_stream {
        return Some("a continuation that nobody wants");
    }
    let mut upstreams = chain.upstreams();
    let target = upstreams.find(|it| it.provider == last.asked.provider)?;
    (!target.traits.prefill).then_some("a continuation by a target that cannot")
}

/// Whether an answer broke although a target that was well could have continued it.
fn is_missing(
    shared: &Shared,
    journal: &Journal,
    (marker, asked): (&str, &Asked),
    record: &Access,
) -> Option<&'static str> {
    let Outcome::Failed { class, blame, .. } = &record.outcome else {
        return None;
    };
    let chain = chain_of(&shared.snapshot, asked.model)?;
    let seen = journal.seen.get(marker)?;
    let is_text = seen.is_ended && seen.content_at.is_some() && !seen.is_beyond;
    let is_generate = matches!(asked.kind, Kind::Generate(_));
    if !chain.manner.resume || !is_text || !is_generate || !asked.is_stream {
        return None;
    }
    let healthy = shared.healthy?;
    let mut upstreams = chain.upstreams();
    let can = upstreams.any(|it| it.provider == healthy && it.traits.prefill);
    let (name, ..) = PROVIDERS[healthy];
    let was_asked = record.attempts.iter().any(|it| *it.provider == *name);
    let is_full = record.attempts.len() >= shared.snapshot.retry.attempts_max as usize;
    let failed = record.attempts.iter().filter_map(|it| it.failed());
    let is_hopeless = ends_all(*class) || failed.into_iter().any(ends_all);
    // What disturbs, or takes long.
    const OTHERS: [Fault; 6] = [
        Fault::EarlyDrain,
        Fault::Reload,
        Fault::SmallLimits,
        Fault::SlowReader,
        Fault::Bandwidth,
        Fault::SmallWindow,
    ];
    let is_disturbed = shared.faults.borrow().has(&OTHERS);
    let is_own = matches!(blame, Blame::Gateway | Blame::Client);
    let is_lost = can && !was_asked && !is_full && !is_hopeless && !is_disturbed && !is_own;
    is_lost.then_some("a target that was well did not continue it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_is_told_once() {
        let all = |before, prefill, next| join(before, prefill, next).collect::<Vec<_>>();
        assert_eq!(all("one two", "one", " three"), ["one three", "one three"]);
        assert_eq!(
            all("one \ntwo", "one", "\n3"),
            ["one\n3", "one \n3", "one \n\n3"]
        );
        assert_eq!(all("one", "two", "3"), Vec::<String>::new());
        assert_eq!(all("one", "one", "3"), ["one3"]);
    }
}
