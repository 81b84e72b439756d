//! Reads the parts of a user's or a tool's `content`.

use super::notes::Notes;
use crate::base::JsonStr;
use crate::dialect::fields::{
    Checked, fault, given, object, required, string, string_in, word, wrong,
};
use crate::dialect::openai_chat::answer::{cache_hint, source};
use crate::ir::{Document, Media, Origin, Part, PartKind, Source};
use crate::wire::json::{Kind, Value};

/// Reads `content`: text or a list of parts.
pub(super) fn decode(content: Value<'_>, notes: &mut Notes) -> Checked<Vec<Part>> {
    match content.kind() {
        Kind::String => Ok(vec![Part::text(string(content)?)]),
        Kind::Array => content.elements().map(|entry| part(entry, notes)).collect(),
        _ => Err(wrong(content, "a string or an array")),
    }
}

fn part(entry: Value<'_>, notes: &mut Notes) -> Checked<Part> {
    let name = required(object(entry)?, "type")?;
    let kind = match word(name)? {
        b"text" | b"input_text" => PartKind::Text {
            text: string(required(entry, "text")?)?,
            citations: Vec::new(),
        },
        b"image_url" => PartKind::Image(media(entry, "image_url")?),
        b"video_url" => PartKind::Video(media(entry, "video_url")?),
        b"audio_url" => PartKind::Audio(media(entry, "audio_url")?),
        b"input_audio" => PartKind::Audio(audio(required(entry, "input_audio")?)?),
        b"file" => file(object(required(entry, "file")?)?)?,
        b"document_url" => document_url(entry)?,
        b"refusal" => PartKind::Refusal {
            text: string(required(entry, "refusal")?)?,
        },
        _ => {
            let known = "`text`, `image_url`, `input_audio`, `file`, `document_url`, `video_url`";
            return Err(fault(name, &format!("must be one of {known}")));
        }
    };
    note_rest(entry, notes)?;
    let cache = given(entry, "cache_control").map(cache_hint).transpose()?;
    Ok(Part { kind, cache })
}

fn note_rest(entry: Value<'_>, notes: &mut Notes) -> Checked<()> {
    for (key, value) in entry.members() {
        match key.escaped() {
            b"type" | b"text" | b"image_url" | b"video_url" | b"audio_url" | b"input_audio"
            | b"file" | b"document_url" | b"document_name" | b"refusal" | b"cache_control" => {}
            key => notes.note("messages[].content[]", key, value)?,
        }
    }
    Ok(())
}

/// A part with an address: as an object with `url`, or (Mistral) just the address.
fn media(entry: Value<'_>, key: &str) -> Checked<Media> {
    let given = required(entry, key)?;
    let (url, detail) = match given.kind() {
        Kind::String => (given, None),
        _ => (
            required(object(given)?, "url")?,
            string_in(given, "detail")?,
        ),
    };
    Ok(Media {
        source: address(url)?,
        detail,
    })
}

fn address(url: Value<'_>) -> Checked<Source> {
    source(string(url)?).map_err(|what| fault(url, what))
}

/// `{"data":…,"format":"wav"}`, or (Mistral) base64 or an address by itself.
fn audio(given: Value<'_>) -> Checked<Media> {
    let source = if given.kind() == Kind::String {
        let text = string(given)?;
        let is_address = [&b"data:"[..], b"http"]
            .iter()
            .any(|start| text.escaped().starts_with(start));
        if is_address {
            address(given)?
        } else {
            Source::Base64 {
                media_type: JsonStr::from_static("audio/mpeg"),
                data: text,
            }
        }
    } else {
        let format = string(required(object(given)?, "format")?)?;
        let media_type = match format.escaped().as_ref() {
            b"wav" => JsonStr::from_static("audio/wav"),
            b"mp3" => JsonStr::from_static("audio/mpeg"),
            _ => JsonStr::from_static("audio/").concat(&format),
        };
        Source::Base64 {
            media_type,
            data: string(required(given, "data")?)?,
        }
    };
    Ok(Media {
        source,
        detail: None,
    })
}

/// A file by its data (a `data:` URL; at OpenRouter an address too) or by its id.
fn file(file: Value<'_>) -> Checked<PartKind> {
    let title = string_in(file, "filename")?;
    let source = match (given(file, "file_data"), given(file, "file_id")) {
        (Some(data), _) => data_of(data)?,
        (None, Some(id)) => Source::File {
            id: string(id)?,
            origin: Origin::OpenAiChat,
        },
        (None, None) => return Err(fault(file, "has neither `file_data` nor `file_id`")),
    };
    let kind_of = match &source {
        Source::Base64 { media_type, .. } => media_type.escaped().clone(),
        _ => bytes::Bytes::new(),
    };
    let media = |source| Media {
        source,
        detail: None,
    };
    Ok(match kind_of.as_ref() {
        kind if kind.starts_with(b"image/") => PartKind::Image(media(source)),
        kind if kind.starts_with(b"audio/") => PartKind::Audio(media(source)),
        kind if kind.starts_with(b"video/") => PartKind::Video(media(source)),
        _ => document(source, title),
    })
}

/// `file_data`: OpenAI takes a `data:` URL and bare base64 of a PDF.
fn data_of(data: Value<'_>) -> Checked<Source> {
    let text = string(data)?;
    let escaped = text.escaped();
    if escaped.starts_with(b"data:") || escaped.starts_with(b"http") {
        return address(data);
    }
    Ok(Source::Base64 {
        media_type: JsonStr::from_static("application/pdf"),
        data: text,
    })
}

fn document_url(entry: Value<'_>) -> Checked<PartKind> {
    let given = required(entry, "document_url")?;
    let url = match given.kind() {
        Kind::Object => required(given, "url")?,
        _ => given,
    };
    Ok(document(address(url)?, string_in(entry, "document_name")?))
}

const fn document(source: Source, title: Option<JsonStr>) -> PartKind {
    PartKind::Document(Document {
        source,
        title,
        context: None,
        citations: false,
    })
}
