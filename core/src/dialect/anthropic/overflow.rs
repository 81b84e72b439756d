//! Prompts that are too long, in the one form that Claude Code understands: it shortens its
//! conversation by itself when it reads `prompt is too long: A tokens > B maximum` or
//! ``input length and `max_tokens` exceed context limit: A + B > C``.

/// The message for a Messages client: the vendor's own where it has the form already, else that
/// form with the numbers of the vendor's message, or the vendor's words behind it where it names
/// none.
pub(super) fn message(vendor: &str) -> String {
    let has_form = |mark: &str, sign: &str| {
        let after = vendor.find(mark).and_then(|at| vendor.get(at..));
        after.is_some_and(|text| text.contains(sign))
    };
    if has_form("prompt is too long:", " > ") || has_form("exceed context limit:", " > ") {
        return vendor.to_owned();
    }
    let numbers = numbers(vendor);
    let Some(limit) = numbers.iter().find(|number| number.limit) else {
        return format!("prompt is too long: {vendor}");
    };
    let told = |role: fn(&Number) -> bool| numbers.iter().find(|number| role(number));
    if let (Some(prompt), Some(answer)) = (told(|it| it.prompt), told(|it| it.answer))
        && prompt.value <= limit.value
        && prompt.value.saturating_add(answer.value) > limit.value
    {
        return format!(
            "input length and `max_tokens` exceed context limit: {} + {} > {}, decrease input \
             length or `max_tokens` and try again",
            prompt.value, answer.value, limit.value
        );
    }
    let longest = numbers.iter().map(|number| number.value).max();
    match longest.filter(|longest| *longest > limit.value) {
        Some(longest) => format!(
            "prompt is too long: {longest} tokens > {} maximum",
            limit.value
        ),
        None => format!("prompt is too long: {vendor}"),
    }
}

#[derive(Debug)]
struct Number {
    value: u64,
    /// The words around it say what it counts.
    limit: bool,
    prompt: bool,
    answer: bool,
}

/// The numbers in a text, `131,072` being one, with what the words next to each make of it.
fn numbers(text: &str) -> Vec<Number> {
    let lower = text.to_ascii_lowercase();
    let bytes = lower.as_bytes();
    let mut found = Vec::new();
    let mut before = 0;
    let mut at = 0;
    while at < bytes.len() && found.len() < 16 {
        if !bytes[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let start = at;
        let mut value: u64 = 0;
        while let Some(&byte) = bytes.get(at) {
            let grouped = byte == b',' && bytes.get(at + 1).is_some_and(u8::is_ascii_digit);
            if byte.is_ascii_digit() {
                value = value
                    .saturating_mul(10)
                    .saturating_add(u64::from(byte - b'0'));
            } else if !grouped {
                break;
            }
            at += 1;
        }
        let ahead = lower.get(before..start).unwrap_or_default();
        let after = lower.get(at..).unwrap_or_default();
        let behind = after.split(|c: char| c.is_ascii_digit()).next();
        let behind = behind.unwrap_or_default();
        let limits = [
            "maximum",
            "limit",
            "allowed",
            "context size",
            "n_ctx",
            "window",
        ];
        found.push(Number {
            value,
            limit: limits.iter().any(|word| ahead.contains(word)) || behind.starts_with(" maximum"),
            prompt: behind.starts_with(" in your prompt")
                || behind.starts_with(" in the messages")
                || behind.starts_with(" of text input"),
            answer: behind.starts_with(" for the completion")
                || behind.starts_with(" in the completion")
                || behind.starts_with(" in the output"),
        });
        before = at;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::failure::is_overflow;

    #[test]
    fn every_spelling_becomes_the_form_that_clients_parse() {
        let own = "prompt is too long: 3333404 tokens > 200000 maximum";
        let too_long = "prompt is too long: 10000 tokens > 8192 maximum";
        for (vendor, expected) in [
            (own, own),
            (
                "This model's maximum context length is 8192 tokens. However, your messages \
                 resulted in 10000 tokens. Please reduce the length of the messages.",
                too_long,
            ),
            (
                "The input token count (10000) exceeds the maximum number of tokens allowed \
                 (8192).",
                too_long,
            ),
            (
                "This model's maximum prompt length is 8,192 but the request contains 10,000 \
                 tokens.",
                too_long,
            ),
            (
                "Prompt contains 10000 tokens and 0 draft tokens, too large for model with 8192 \
                 maximum context length",
                too_long,
            ),
            (
                "This model's maximum context length is 4097 tokens, however you requested 5000 \
                 tokens (1000 in your prompt; 4000 for the completion).",
                "input length and `max_tokens` exceed context limit: 1000 + 4000 > 4097, decrease \
                 input length or `max_tokens` and try again",
            ),
            (
                "Input is too long for requested model.",
                "prompt is too long: Input is too long for requested model.",
            ),
        ] {
            assert!(is_overflow(&vendor.to_ascii_lowercase()), "{vendor}");
            assert_eq!(message(vendor), expected);
        }
    }
}
