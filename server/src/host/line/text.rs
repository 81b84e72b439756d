//! The line for people.
//!
//! Much of it was chosen by clients and providers. No text of theirs may end a line, begin a field
//! or speak to a terminal.

use core::fmt::{self, Display, Write};
use core::time::Duration;

use tollgate_core::ir::Usage;
use tollgate_core::record::{Access, Outcome};

use super::super::time::Timestamp;
use super::finish_name;

/// Appends the line: time, status, duration, time to the first content, request, model, where it
/// was answered and under which other name, tokens, and what else there is to say.
///
/// ```text
/// 2026-11-22T03:37:23.123Z 200    1.24s first    312ms POST /v1/messages fast
/// -> groq/llama-3.3-70b 12+345 tokens stream stop 127.0.0.1:50412 req_1
/// ```
pub(super) fn append(access: &Access, out: &mut Vec<u8>) {
    let mut line = String::with_capacity(256);
    // Writing to a `String` cannot fail.
    let _ = write(access, &mut line);
    line.push('\n');
    out.extend_from_slice(line.as_bytes());
}

fn write(access: &Access, line: &mut String) -> fmt::Result {
    write!(line, "{} ", Timestamp(access.time))?;
    match access.status {
        Some(status) => write!(line, "{status:3}")?,
        None => line.push_str("---"),
    }
    write!(line, " {:>8}", Short(access.duration).to_string())?;
    match access.first_content {
        Some(time) => write!(line, " first {:>8}", Short(time).to_string())?,
        None => write!(line, " {:14}", "")?,
    }
    write!(line, " {} {}", access.method, Plain(&access.path))?;
    if let Some(model) = &access.model {
        write!(line, " {}", Plain(&model.unescape()))?;
    }
    if let Some(provider) = &access.provider {
        write!(line, " -> {}", Plain(provider))?;
        if let Some(model) = &access.answered_by
            && access.model.as_ref() != Some(model)
        {
            write!(line, "/{}", Plain(&model.unescape()))?;
        }
    }
    let Usage { input, output, .. } = access.usage;
    if input.is_some() || output.is_some() {
        let (input, output) = (input.unwrap_or(0), output.unwrap_or(0));
        write!(line, " {input}+{output} tokens")?;
    }
    if access.stream {
        line.push_str(" stream");
    }
    if let Some(reason) = &access.finish {
        write!(line, " {}", finish_name(reason))?;
    }
    if access.attempts.len() > 1 {
        write!(line, " {} attempts", access.attempts.len())?;
    }
    if !access.waited.is_zero() {
        write!(line, " waited {}ms", access.waited.as_millis())?;
    }
    if access.shared_with.is_some() {
        line.push_str(" shared");
    }
    if access.broken_events > 0 {
        write!(line, " {} broken events", access.broken_events)?;
    }
    if !access.dropped.is_empty() {
        write!(line, " dropped {}", Plain(&access.dropped.join(",")))?;
    }
    if let Some(caller) = &access.caller {
        write!(line, " by {}", Plain(caller))?;
    }
    let id = String::from_utf8_lossy(&access.request_id);
    write!(line, " {} {}", access.peer, Plain(&id))?;
    match &access.outcome {
        Outcome::Complete => Ok(()),
        Outcome::ClientGone => write!(line, " client gone"),
        Outcome::Failed {
            class,
            blame,
            message,
        } => {
            let (class, blame) = (class.name(), blame.name());
            write!(line, " {class} ({blame}): {}", Words(&message.unescape()))
        }
    }
}

/// A time in the unit that shows three digits of it.
struct Short(Duration);

impl Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        match seconds {
            _ if seconds < 0.001 => write!(f, "{:.0}us", seconds * 1e6),
            _ if seconds < 0.01 => write!(f, "{:.2}ms", seconds * 1e3),
            _ if seconds < 0.1 => write!(f, "{:.1}ms", seconds * 1e3),
            _ if seconds < 1.0 => write!(f, "{:.0}ms", seconds * 1e3),
            _ if seconds < 10.0 => write!(f, "{seconds:.2}s"),
            _ => write!(f, "{seconds:.1}s"),
        }
    }
}

/// Foreign text as one word: blanks and control characters escaped.
struct Plain<'a>(&'a str);

impl Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|letter| match letter {
            ' ' => f.write_str("\\x20"),
            letter => escape(letter, f),
        })
    }
}

/// Foreign text in which blanks are harmless: the end of a line.
struct Words<'a>(&'a str);

impl Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|letter| escape(letter, f))
    }
}

/// Escapes what is not a visible character: controls, other blanks and line ends, and marks that
/// change the direction of what follows.
fn escape(letter: char, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let is_hidden = letter.is_control()
        || (letter.is_whitespace() && letter != ' ')
        || matches!(letter, '\u{200E}'..='\u{200F}')
        || matches!(letter, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    if is_hidden {
        write!(f, "{}", letter.escape_default())
    } else {
        f.write_char(letter)
    }
}

#[cfg(test)]
mod tests {
    use tollgate_core::base::JsonStr;
    use tollgate_core::ir::{Blame, Class};

    use super::super::tests::access;
    use super::*;

    fn text_of(access: &Access) -> String {
        let mut out = Vec::new();
        append(access, &mut out);
        String::from_utf8(out).unwrap_or_default()
    }

    #[test]
    fn people_read_one_line() {
        assert_eq!(
            text_of(&access()),
            "2026-11-22T03:37:23.123Z 200    1.24s first    312ms POST /v1/messages fast -> \
             groq/llama-3.3-70b 12+345 tokens stream stop waited 80ms dropped top_k by ci \
             127.0.0.1:50412 req_1\n"
        );
    }

    #[test]
    fn nobody_writes_lines_of_their_own() {
        let mut access = access();
        access.path = "/a\n2026 200 b".to_owned();
        access.model = Some(JsonStr::escape("x\u{1b}[2J\u{202e}y z"));
        access.outcome = Outcome::Failed {
            class: Class::NotFound,
            blame: Blame::Client,
            message: JsonStr::escape("no\r\nsuch model"),
        };
        let line = text_of(&access);
        assert_eq!(line.lines().count(), 1);
        assert!(
            line.contains("/a\\n2026\\x20200\\x20b x\\u{1b}[2J\\u{202e}y\\x20z -> "),
            "{line}"
        );
        assert!(
            line.ends_with("req_1 not_found (client): no\\r\\nsuch model\n"),
            "{line}"
        );
    }

    #[test]
    fn times_show_three_digits() {
        let shown = |micros| Short(Duration::from_micros(micros)).to_string();
        assert_eq!(shown(7), "7us");
        assert_eq!(shown(1234), "1.23ms");
        assert_eq!(shown(12_345), "12.3ms");
        assert_eq!(shown(123_456), "123ms");
        assert_eq!(shown(61_000_000), "61.0s");
    }
}
