//! Writes the parts of a message.

use super::encode_messages::{Turns, text_of};
use super::write::{write_joined, write_url};
use crate::dialect::encode::write_cache_control;
use crate::ir::{CacheHint, Document, Failure, Media, Origin, Part, PartKind, Source};

impl<'a> Turns<'_, '_, 'a> {
    /// A user's content: a string where it is one text.
    pub(super) fn content(&mut self, parts: &[&'a Part]) -> Result<(), Box<Failure>> {
        match parts {
            [] => self.json.text(""),
            [part] if self.taken(part.cache.as_ref()).is_none() && text_of(part).is_some() => {
                write_joined(text_of(part).into_iter(), "", self.json);
            }
            _ => return self.parts(parts),
        }
        Ok(())
    }

    pub(super) fn parts(&mut self, parts: &[&Part]) -> Result<(), Box<Failure>> {
        self.json.begin_array();
        for part in parts {
            self.part(part)?;
        }
        self.json.end_array();
        Ok(())
    }

    pub(super) fn part(&mut self, part: &Part) -> Result<(), Box<Failure>> {
        match &part.kind {
            PartKind::Text { text, .. } | PartKind::Refusal { text } => {
                self.begin_part("text");
                self.json.key("text");
                self.json.str(text);
            }
            PartKind::Image(media) => self.media("image_url", media)?,
            PartKind::Video(media) => self.media("video_url", media)?,
            PartKind::Audio(media) => self.audio(media)?,
            PartKind::Document(document) => return self.document(document, part),
            PartKind::Opaque {
                origin: Origin::OpenAiChat,
                json,
                ..
            } => {
                self.json.raw(json);
                return Ok(());
            }
            PartKind::Opaque { name, .. } => {
                self.drop_part(name);
                return Ok(());
            }
            PartKind::RedactedThinking { .. }
            | PartKind::Thinking(_)
            | PartKind::ToolCall(_)
            | PartKind::ToolResult(_) => {
                self.dropped.add("messages[].content[].thinking");
                return Ok(());
            }
        }
        self.end_part(part.cache.as_ref());
        Ok(())
    }

    fn begin_part(&mut self, kind: &'static str) {
        self.json.begin_object();
        self.json.key("type");
        self.json.text(kind);
    }

    fn end_part(&mut self, hint: Option<&CacheHint>) {
        if let Some(hint) = self.taken(hint) {
            self.json.key("cache_control");
            write_cache_control(hint, self.json);
        }
        self.json.end_object();
    }

    fn media(&mut self, kind: &'static str, media: &Media) -> Result<(), Box<Failure>> {
        if matches!(
            media.source,
            Source::File { .. } | Source::Parts(_) | Source::Text { .. }
        ) {
            return Err(
                self.cannot("the target takes pictures and video by address or as data only")
            );
        }
        self.begin_part(kind);
        self.json.key(kind);
        self.json.begin_object();
        self.json.key("url");
        write_url(&media.source, self.json);
        if let Some(detail) = &media.detail {
            self.json.key("detail");
            self.json.str(detail);
        }
        self.json.end_object();
        Ok(())
    }

    fn audio(&mut self, media: &Media) -> Result<(), Box<Failure>> {
        let Source::Base64 { media_type, data } = &media.source else {
            return Err(self.cannot("the target takes sound as data only"));
        };
        let media_type = media_type.unescape();
        let format = match media_type.strip_prefix("audio/").unwrap_or(&media_type) {
            "mpeg" => "mp3",
            "x-wav" | "wave" => "wav",
            other => other,
        };
        self.begin_part("input_audio");
        self.json.key("input_audio");
        self.json.begin_object();
        self.json.key("data");
        self.json.str(data);
        self.json.key("format");
        self.json.text(format);
        self.json.end_object();
        Ok(())
    }

    fn document(&mut self, document: &Document, part: &Part) -> Result<(), Box<Failure>> {
        if document.citations {
            return Err(self.cannot("the target cannot cite documents"));
        }
        match &document.source {
            Source::Text { text } => {
                self.begin_part("text");
                self.json.key("text");
                let about = [document.title.as_ref(), document.context.as_ref()];
                let texts = about.into_iter().flatten().chain([text]);
                write_joined(texts, "\n", self.json);
            }
            Source::Parts(parts) => {
                for part in parts {
                    self.part(part)?;
                }
                return Ok(());
            }
            Source::Base64 { media_type, .. } => {
                self.begin_part("file");
                self.json.key("file");
                self.json.begin_object();
                self.json.key("filename");
                match &document.title {
                    Some(title) => self.json.str(title),
                    None if media_type.is("application/pdf") => self.json.text("document.pdf"),
                    None => self.json.text("document"),
                }
                self.json.key("file_data");
                write_url(&document.source, self.json);
                self.json.end_object();
            }
            Source::File {
                id,
                origin: Origin::OpenAiChat | Origin::OpenAiResponses,
            } => {
                self.begin_part("file");
                self.json.key("file");
                self.json.begin_object();
                self.json.key("file_id");
                self.json.str(id);
                self.json.end_object();
            }
            Source::File { .. } => {
                return Err(self.cannot("the file was uploaded to another provider"));
            }
            Source::Url { .. } => {
                return Err(self.cannot("the target takes no documents by address"));
            }
        }
        self.end_part(part.cache.as_ref());
        Ok(())
    }
}
