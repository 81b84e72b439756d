//! The conversation as Messages wants it: turns that alternate, and each call's result at the start
//! of the user's turn that follows it.
//!
//! Messages of one role in a row become one turn. Instructions in mid-conversation keep their
//! place, as a text block in `<system>` tags in the user's turn. A conversation that consists of
//! instructions alone is sent as the user's words, since Messages wants a turn.

use super::blocks::Blocks;
use crate::base::JsonStr;
use crate::dialect::anthropic::text;
use crate::ir::{Failure, Message, Origin, Part, PartKind, Request, Role, Thinking};

/// Whether a Messages upstream can read what this origin wrote.
pub(super) fn own(origin: Origin) -> bool {
    origin == Origin::Anthropic
}

/// The signature with which a Messages upstream takes thinking back.
pub(super) fn signature(thinking: &Thinking) -> Option<&JsonStr> {
    let signature = thinking.signature.as_ref()?;
    (own(signature.origin) && !signature.value.is_empty()).then_some(&signature.value)
}

/// Writes the members `system`, unless the config's extra parameters set it, and `messages`. `more`
/// is said to the system last.
pub(super) fn write(
    request: &Request,
    blocks: &mut Blocks<'_, '_>,
    more: Option<&'static str>,
    system_is_set: bool,
) -> Result<(), Box<Failure>> {
    let alone = request.messages.is_empty();
    if !alone && !system_is_set {
        system(&request.system, blocks, more)?;
    }
    blocks.json.key("messages");
    blocks.json.begin_array();
    if alone {
        for part in &request.system {
            blocks.part("user", part)?;
        }
        if let Some(more) = more.filter(|_| blocks.in_turn()) {
            blocks.text(&JsonStr::escape(more), &[], None);
        }
    }
    let mut rest = request.messages.as_slice();
    while let Some(first) = rest.first() {
        let models = first.role == Role::Assistant;
        let run = rest
            .iter()
            .take_while(|message| (message.role == Role::Assistant) == models)
            .count();
        let (run, after) = rest.split_at(run);
        if run.iter().any(|message| message.name.is_some()) {
            blocks.dropped.add("messages[].name");
        }
        if models {
            assistant(run, after.is_empty(), blocks)?;
        } else {
            user(run, blocks)?;
            settle(blocks)?;
        }
        rest = after;
    }
    settle(blocks)?;
    if !blocks.in_turn() {
        let message = "at least one message with content is required";
        return Err(Box::new(Failure::invalid("messages", message)));
    }
    blocks.end_turn();
    blocks.json.end_array();
    Ok(())
}

fn settle(blocks: &mut Blocks<'_, '_>) -> Result<(), Box<Failure>> {
    blocks.ids.settle().map_err(|id| {
        let message = format!("the tool call {id:?} has no result in the turn that follows it");
        Box::new(Failure::invalid("messages", message))
    })
}

fn system(
    parts: &[Part],
    blocks: &mut Blocks<'_, '_>,
    more: Option<&'static str>,
) -> Result<(), Box<Failure>> {
    let said = |part: &Part| match &part.kind {
        PartKind::Text { text, .. } => !text::is_blank(text),
        _ => true,
    };
    if more.is_none() && !parts.iter().any(said) {
        return Ok(());
    }
    blocks.json.key("system");
    blocks.json.begin_array();
    for part in parts.iter().filter(|part| said(part)) {
        match &part.kind {
            PartKind::Text { text, citations } => {
                blocks.text(text, citations, part.cache.as_ref());
            }
            PartKind::Opaque { origin, json, .. } if own(*origin) => blocks.json.raw(json),
            _ => {
                let message = "instructions to a Messages model are text";
                return Err(Box::new(Failure::invalid("system", message)));
            }
        }
    }
    if let Some(more) = more {
        blocks.text(&JsonStr::escape(more), &[], None);
    }
    blocks.json.end_array();
    Ok(())
}

fn assistant(run: &[Message], last: bool, blocks: &mut Blocks<'_, '_>) -> Result<(), Box<Failure>> {
    let mut parts = run.iter().flat_map(|message| &message.parts).peekable();
    while let Some(part) = parts.next() {
        match &part.kind {
            // The begun answer that the model is to go on with.
            PartKind::Text { text, citations } if last && parts.peek().is_none() => {
                let part = Part {
                    kind: PartKind::Text {
                        text: text::trim_end(text),
                        citations: citations.clone(),
                    },
                    cache: part.cache.clone(),
                };
                blocks.part("assistant", &part)?;
            }
            _ => blocks.part("assistant", part)?,
        }
    }
    Ok(())
}

fn user(run: &[Message], blocks: &mut Blocks<'_, '_>) -> Result<(), Box<Failure>> {
    let is_result = |part: &&Part| matches!(part.kind, PartKind::ToolResult(_));
    for part in run.iter().flat_map(|it| &it.parts).filter(is_result) {
        blocks.part("user", part)?;
    }
    for message in run {
        for part in message.parts.iter().filter(|part| !is_result(part)) {
            match &part.kind {
                PartKind::Text { text, .. } if message.role == Role::System => {
                    if !text::is_blank(text) {
                        blocks.turn("user");
                        blocks.system(text, part.cache.as_ref());
                    }
                }
                _ => blocks.part("user", part)?,
            }
        }
    }
    Ok(())
}
