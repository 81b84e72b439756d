//! Continuing an answer that broke after some of it went out: another target is given what was said
//! as the beginning of its answer (a *prefill*), and what it adds is spliced into the same message.
//!
//! Only text can be continued so: half a tool call, or half a thought, is the target's own.

use crate::base::JsonStr;
use crate::ir::{BlockId, BlockKind, Delta, PartKind, Piece};

/// More of what has no content is not kept while content is waited for.
const HELD_DELTAS_MAX: usize = 1_024;

/// What a client was told so far.
#[derive(Clone, Debug, Default)]
pub(in crate::gateway) struct Said {
    text: String,
    text_bytes_max: usize,
    /// Half a character at the end of that.
    half: JsonStr,
    /// The text that is not over.
    open: Option<BlockId>,
    /// A thought that is not over.
    thought: Option<BlockId>,
    /// The number of the next block.
    next: u32,
    /// Something was told that another target cannot go on from.
    is_beyond: bool,
}

/// Takes what a second target says as the rest of what the first one said.
#[derive(Debug)]
pub(in crate::gateway) struct Splice {
    open: Option<BlockId>,
    next: u32,
    /// Its blocks, and which of the message's they are; thoughts are none.
    blocks: Vec<(BlockId, Option<BlockId>)>,
    /// White space that was cut off the prefill's end, as the APIs want it: the target begins with
    /// it, mostly.
    white: String,
    /// What comes before its first content.
    pub(super) held: Vec<Delta>,
}

impl Said {
    /// Nothing was said; more text than this is not kept.
    pub(super) fn new(text_bytes_max: usize) -> Said {
        Said {
            text_bytes_max,
            ..Said::default()
        }
    }

    /// The client is told this.
    pub(super) fn note(&mut self, delta: &Delta) {
        match delta {
            Delta::BlockStart {
                block,
                choice,
                kind,
            } => {
                self.next = self.next.max(block.0.saturating_add(1));
                self.is_beyond |= *choice > 0;
                match kind {
                    BlockKind::Text => self.open = Some(*block),
                    BlockKind::Thinking => self.thought = Some(*block),
                    BlockKind::Whole(PartKind::RedactedThinking { .. }) => {}
                    BlockKind::Refusal | BlockKind::ToolCall { .. } | BlockKind::Whole(_) => {
                        self.is_beyond = true;
                    }
                }
            }
            Delta::Append {
                block,
                piece: Piece::Text(text),
            } if self.open == Some(*block) => {
                let (text, half) = self.half.concat(text).split_half();
                self.text.push_str(&text.unescape());
                self.half = half.detach();
                if self.text.len() > self.text_bytes_max {
                    self.is_beyond = true;
                    self.text = String::new();
                }
            }
            Delta::BlockStop { block } => {
                self.open = self.open.filter(|open| open != block);
                self.thought = self.thought.filter(|open| open != block);
            }
            Delta::Finish { .. } => self.is_beyond = true,
            _ => {}
        }
    }

    /// Memory held.
    pub(super) const fn bytes(&self) -> usize {
        self.text.capacity()
    }

    /// Whether another target can go on from here.
    pub(super) const fn can_be_continued(&self) -> bool {
        !self.is_beyond && self.thought.is_none()
    }

    /// What the next target is to begin with: no API takes white space at its end.
    pub(super) fn prefill(&self) -> &str {
        self.text.trim_end()
    }

    /// Joins what the next target says.
    pub(super) fn splice(&self) -> Splice {
        Splice {
            open: self.open,
            next: self.next,
            blocks: Vec::new(),
            white: self
                .text
                .get(self.prefill().len()..)
                .unwrap_or_default()
                .to_owned(),
            held: Vec::new(),
        }
    }
}

impl Splice {
    /// Gives `out` what the client is to be told of `delta`.
    pub(super) fn take(&mut self, delta: Delta, out: &mut Vec<Delta>) {
        match delta {
            Delta::Start(_) | Delta::Logprobs { .. } => {}
            Delta::BlockStart {
                block,
                choice,
                kind,
            } => self.begin(block, choice, kind, out),
            Delta::Append { block, piece } => {
                let Some(block) = self.place_of(block) else {
                    return;
                };
                let piece = match piece {
                    Piece::Text(text) if !self.white.is_empty() => {
                        Piece::Text(self.without_white(&text))
                    }
                    piece => piece,
                };
                out.push(Delta::Append { block, piece });
            }
            Delta::BlockStop { block } => {
                if let Some(block) = self.place_of(block) {
                    out.push(Delta::BlockStop { block });
                }
            }
            Delta::Finish { .. } => {
                self.close(out);
                out.push(delta);
            }
            Delta::Usage(_) | Delta::Failure(_) | Delta::Ping | Delta::End => out.push(delta),
        }
    }

    /// Keeps a delta for when there is content. Says whether it could.
    pub(super) fn hold(&mut self, delta: Delta) -> bool {
        if let Delta::Ping = delta {
            return true;
        }
        if let (Delta::Usage(_), Some(Delta::Usage(_))) = (&delta, self.held.last()) {
            self.held.pop();
        }
        self.held.push(delta);
        self.held.len() <= HELD_DELTAS_MAX
    }

    fn begin(&mut self, block: BlockId, choice: u32, kind: BlockKind, out: &mut Vec<Delta>) {
        let is_thought = matches!(
            kind,
            BlockKind::Thinking | BlockKind::Whole(PartKind::RedactedThinking { .. })
        );
        if is_thought {
            self.blocks.push((block, None));
            return;
        }
        if kind == BlockKind::Text
            && let Some(open) = self.open.take()
        {
            self.blocks.push((block, Some(open)));
            return;
        }
        self.close(out);
        let place = BlockId(self.next);
        self.next = self.next.saturating_add(1);
        self.blocks.push((block, Some(place)));
        out.push(Delta::BlockStart {
            block: place,
            choice,
            kind,
        });
    }

    /// The text that was open is over without more.
    fn close(&mut self, out: &mut Vec<Delta>) {
        out.extend(self.open.take().map(|block| Delta::BlockStop { block }));
    }

    fn place_of(&self, block: BlockId) -> Option<BlockId> {
        let (_, place) = self.blocks.iter().rev().find(|(own, _)| *own == block)?;
        *place
    }

    /// `text` without the white space that the client has already.
    fn without_white(&mut self, text: &JsonStr) -> JsonStr {
        let text = text.unescape();
        let mut rest = &*text;
        while let (Some(known), Some(next)) = (self.white.chars().next(), rest.chars().next()) {
            if known != next {
                self.white = String::new();
                break;
            }
            self.white.remove(0);
            rest = rest.get(next.len_utf8()..).unwrap_or_default();
        }
        JsonStr::escape(rest)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn start(block: u32, kind: BlockKind) -> Delta {
        Delta::BlockStart {
            block: BlockId(block),
            choice: 0,
            kind,
        }
    }

    fn text(block: u32, text: &str) -> Delta {
        Delta::Append {
            block: BlockId(block),
            piece: Piece::Text(JsonStr::escape(text)),
        }
    }

    const fn stop(block: u32) -> Delta {
        Delta::BlockStop {
            block: BlockId(block),
        }
    }

    fn call() -> BlockKind {
        BlockKind::ToolCall {
            id: JsonStr::from_static("c"),
            name: JsonStr::from_static("n"),
            free: false,
        }
    }

    fn said(deltas: &[Delta]) -> Said {
        let mut said = Said::new(100);
        for delta in deltas {
            said.note(delta);
        }
        said
    }

    fn spliced(said: &Said, deltas: Vec<Delta>) -> Vec<Delta> {
        let mut splice = said.splice();
        let mut out = Vec::new();
        for delta in deltas {
            splice.take(delta, &mut out);
        }
        out
    }

    #[test]
    fn a_character_whose_halves_come_apart_is_one() {
        let piece = |text: &'static str| Delta::Append {
            block: BlockId(0),
            piece: Piece::Text(JsonStr::from_checked(Bytes::from_static(text.as_bytes()))),
        };
        let begin = start(0, BlockKind::Text);
        let said = said(&[begin, piece(r"so \ud83d"), piece(r"\ude00!")]);
        assert_eq!(said.prefill(), "so \u{1F600}!");
    }

    #[test]
    fn the_rest_goes_on_in_the_block_that_is_open() {
        let said = said(&[
            start(0, BlockKind::Thinking),
            stop(0),
            start(1, BlockKind::Text),
            text(1, "one two \n"),
        ]);
        assert!(said.can_be_continued());
        assert_eq!(said.prefill(), "one two");
        let rest = vec![
            start(0, BlockKind::Thinking),
            text(0, "hm"),
            stop(0),
            start(1, BlockKind::Text),
            text(1, " "),
            text(1, "\n three"),
            stop(1),
            start(2, call()),
            stop(2),
        ];
        let expected = [
            text(1, ""),
            text(1, " three"),
            stop(1),
            start(2, call()),
            stop(2),
        ];
        assert_eq!(spliced(&said, rest), expected);
    }

    #[test]
    fn a_text_that_is_over_or_gets_no_more_is_closed_once() {
        let open = said(&[start(0, BlockKind::Text), text(0, "one")]);
        let rest = vec![start(0, call()), stop(0)];
        assert_eq!(spliced(&open, rest), [stop(0), start(1, call()), stop(1)]);
        let closed = said(&[start(0, BlockKind::Text), text(0, "one"), stop(0)]);
        let rest = vec![start(0, BlockKind::Text), text(0, " two")];
        let expected = [start(1, BlockKind::Text), text(1, " two")];
        assert_eq!(spliced(&closed, rest), expected);
    }

    #[test]
    fn calls_and_half_thoughts_and_too_much_cannot_be_continued() {
        assert!(said(&[]).can_be_continued());
        assert!(!said(&[start(0, call())]).can_be_continued());
        assert!(!said(&[start(0, BlockKind::Thinking)]).can_be_continued());
        let long = "x".repeat(101);
        assert!(!said(&[start(0, BlockKind::Text), text(0, &long)]).can_be_continued());
    }
}
