//! Finds the end of a head or a trailer section while it arrives. Each byte is looked at once: what
//! was scanned is remembered, and httparse runs once, on the complete block.
//!
//! What is wrong is found at the same byte however the input is split, so the error is the same.

use memchr::memchr_iter;

use super::error::ErrorKind;

/// The bounds of one section, and the errors that passing them gives.
#[derive(Clone, Copy, Debug)]
pub(super) struct SectionLimits {
    /// Bytes of the section with its last CRLF.
    pub(super) bytes_max: usize,
    pub(super) bytes_error: ErrorKind,
    /// Bytes of the start line without its LF; a trailer section has none.
    pub(super) start_line_bytes_max: Option<usize>,
    pub(super) fields_max: usize,
}

/// The position in a section that is not complete yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LineScan {
    /// Bytes scanned.
    at: usize,
    /// Where the current line begins.
    line_at: usize,
    /// Complete lines before it.
    lines: usize,
}

/// A complete section.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Section {
    /// Bytes with the last CRLF.
    pub(super) len: usize,
    /// Lines without the empty one.
    pub(super) lines: usize,
}

impl LineScan {
    /// Scans what is new in `input`, which begins with the section; `None` while it is incomplete.
    pub(super) fn section(
        &mut self,
        input: &[u8],
        limits: &SectionLimits,
    ) -> Result<Option<Section>, ErrorKind> {
        let view = input.get(..limits.bytes_max).unwrap_or(input);
        let begin = self.at;
        for found in memchr_iter(b'\n', view.get(begin..).unwrap_or_default()) {
            if let Some(section) = self.line(view, begin + found, limits)? {
                *self = LineScan::default();
                return Ok(Some(section));
            }
        }
        self.at = view.len();
        self.check_start_line(view.len(), limits)?;
        if input.len() > limits.bytes_max {
            return Err(limits.bytes_error);
        }
        Ok(None)
    }

    /// Takes the line that ends with the LF at `end`.
    fn line(
        &mut self,
        view: &[u8],
        end: usize,
        limits: &SectionLimits,
    ) -> Result<Option<Section>, ErrorKind> {
        self.check_start_line(end, limits)?;
        let line = view.get(self.line_at..end).unwrap_or_default();
        //= RFC 9112 §2.2: a recipient MAY recognise a single LF as a line terminator. Another
        // recipient on the way may not, and then the two see different messages.
        let Some((b'\r', line)) = line.split_last() else {
            return Err(ErrorKind::BareLineFeed);
        };
        if line.is_empty() {
            return Ok(Some(Section {
                len: end + 1,
                lines: self.lines,
            }));
        }
        //= RFC 9112 §5.2: a server that receives an obs-fold MUST reject the message or replace
        // the fold. §2.2: blanks before the first field line are to be rejected as well.
        let is_field = self.lines > 0 || limits.start_line_bytes_max.is_none();
        if is_field && matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(ErrorKind::ObsFold);
        }
        self.lines += 1;
        let start_lines = usize::from(limits.start_line_bytes_max.is_some());
        if self.lines > limits.fields_max.saturating_add(start_lines) {
            return Err(ErrorKind::TooManyFields);
        }
        self.line_at = end + 1;
        Ok(None)
    }

    fn check_start_line(&self, len: usize, limits: &SectionLimits) -> Result<(), ErrorKind> {
        match limits.start_line_bytes_max {
            Some(max) if self.lines == 0 && len > max => Err(ErrorKind::TargetTooLong),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: SectionLimits = SectionLimits {
        bytes_max: 100,
        bytes_error: ErrorKind::HeadTooLarge,
        start_line_bytes_max: Some(50),
        fields_max: 3,
    };

    #[test]
    fn no_byte_is_scanned_twice() {
        let input = b"GET / HTTP/1.1\r\nHost: h\r\n\r\nrest";
        let end = input.len() - 4;
        let mut scan = LineScan::default();
        for len in 0..end {
            assert_eq!(scan.section(&input[..len], &LIMITS), Ok(None));
            assert_eq!(scan.at, len, "the next scan begins where the input ended");
        }
        let section = Section { len: end, lines: 2 };
        assert_eq!(scan.section(input, &LIMITS), Ok(Some(section)));
    }

    #[test]
    fn an_input_that_shrinks_is_no_reason_to_panic() {
        let mut scan = LineScan::default();
        assert_eq!(scan.section(b"GET / HTTP/1.1\r\nHost", &LIMITS), Ok(None));
        assert_eq!(scan.section(b"GET", &LIMITS), Ok(None));
    }

    #[test]
    fn a_section_of_exactly_the_limit_is_accepted() {
        let mut input = b"GET / HTTP/1.1\r\nX: ".to_vec();
        input.resize(LIMITS.bytes_max - 4, b'x');
        input.extend_from_slice(b"\r\n\r\n");
        let section = LineScan::default().section(&input, &LIMITS);
        assert_eq!(section, Ok(Some(Section { len: 100, lines: 2 })));
        input.insert(30, b'x');
        let section = LineScan::default().section(&input, &LIMITS);
        assert_eq!(section, Err(ErrorKind::HeadTooLarge));
    }
}
