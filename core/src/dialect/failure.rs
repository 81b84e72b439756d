//! What error answers have in common, whatever API they are told in: the sentences that say that a
//! prompt is too long, bodies that are no JSON, and the failures of answers that are not whole.

use crate::ir::{Class, Failure};

/// Characters of the upstream's own words that are shown.
const SHOWN_CHARS_MAX: usize = 500;

/// What a prompt can be too long for, in lower case. Errors about other things name it too (a
/// context window that a key may not use), so it must be said along with one of [`EXCESS`].
const CONTEXT: [&str; 4] = [
    "context length",
    "context limit",
    "context size",
    "context window",
];
const EXCESS: [&str; 8] = [
    "exceed",
    "greater than",
    "larger than",
    "longer than",
    "maximum",
    "reduce",
    "too large",
    "too long",
];
/// How vendors say it in other words. Each is specific enough never to stand in another error.
const SENTENCES: [&str; 13] = [
    "context_length_exceeded",
    "exceeded model token limit",
    "exceeds the available context",
    "exceeds the maximum number of tokens",
    "exceeds the model's context",
    "input is too long",
    "input token count exceeds",
    "input too long",
    "maximum prompt length",
    "prompt is too long",
    "prompt too long",
    "reduce the length of the messages",
    "too many tokens in the prompt",
];

/// Whether an error's words, in lower case, say that the prompt is too long for the model.
pub(super) fn is_overflow(words: &str) -> bool {
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| words.contains(phrase));
    says(&SENTENCES) || (says(&CONTEXT) && says(&EXCESS))
}

/// A body that is no JSON: plain text, the page of a proxy, nothing.
pub(super) struct Plain {
    /// What it says, or that it says nothing.
    pub(super) message: String,
    /// It is a page, whose words are not about the request.
    pub(super) is_page: bool,
}

/// Reads a body that is no JSON.
pub(super) fn plain(status: u16, body: &[u8]) -> Plain {
    let text = String::from_utf8_lossy(body.get(..64 * 1024).unwrap_or(body));
    let text = text.trim();
    let is_page = text.starts_with('<');
    let shown = cut(if is_page { title(text) } else { text });
    let message = match (is_page, shown.is_empty()) {
        (true, true) => format!("the upstream answered {status} with an HTML page"),
        (true, false) => format!("the upstream answered {status} with an HTML page: {shown}"),
        (false, true) => says_nothing(Some(status)),
        (false, false) => shown,
    };
    Plain { message, is_page }
}

/// The message of a failure without words.
pub(super) fn says_nothing(status: Option<u16>) -> String {
    match status {
        Some(status) => format!("the upstream answered {status} and did not say why"),
        None => "the upstream failed and did not say why".to_owned(),
    }
}

/// As much of a text as is shown.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// A stream that ended before its answer did.
pub(super) fn truncated() -> Failure {
    let message = "the upstream's stream ended before it was complete";
    Failure::new(Class::BadGateway, message)
}

/// An answer that ends for the sake of its tool calls and has none.
pub(super) fn calls_nothing() -> Failure {
    let message = "the upstream says that tools are called, and calls none";
    Failure::new(Class::BadGateway, message)
}

fn title(page: &str) -> &str {
    const BEGIN: &str = "<title>";
    let lower = page.to_ascii_lowercase();
    let words = lower.find(BEGIN).and_then(|at| {
        let words = page.get(at + BEGIN.len()..)?;
        words.get(..words.find('<')?)
    });
    words.unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_that_is_too_long_is_told_from_talk_of_the_context() {
        for words in [
            "this model's maximum context length is 8192 tokens",
            "the request exceeds the available context size",
            "prompt contains 9 tokens, too large for model with 8 maximum context length",
            "your input exceeds the context window of this model",
            "input length and `max_tokens` exceed context limit: 5 + 4 > 8",
            "please reduce the length of the messages or completion",
            "the prompt is greater than the context length",
        ] {
            assert!(is_overflow(words), "{words}");
        }
        for words in [
            "the 1m context window is not available to this organization",
            "unknown field: context_size",
            "max_tokens must be at most 4096",
        ] {
            assert!(!is_overflow(words), "{words}");
        }
    }
}
