//! `data:` URLs (RFC 2397), which carry a file's data in its address.

use crate::base::JsonStr;

/// The media type and the base64 data of a `data:` URL, as slices; `None` for any other address.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(url: &JsonStr) -> Option<Result<(JsonStr, JsonStr), &'static str>> {
    let escaped = url.escaped();
    let scheme = escaped.get(..5)?;
    scheme.eq_ignore_ascii_case(b"data:").then(|| parts(url))
}

fn parts(url: &JsonStr) -> Result<(JsonStr, JsonStr), &'static str> {
    let escaped = url.escaped();
    let Some(comma) = memchr::memchr(b',', escaped) else {
        return Err("is a data URL without a comma");
    };
    // Both cuts lie beside ASCII characters that no escape holds.
    let head = JsonStr::from_checked(escaped.slice(5..comma));
    let data = JsonStr::from_checked(escaped.slice(comma + 1..));
    let text = head.unescape();
    let Some(described) = text.strip_suffix(";base64") else {
        return Err("must be base64 where it is a data URL");
    };
    let media_type = described.split(';').next().unwrap_or_default();
    if !is_media_type(media_type) {
        return Err("has a media type that cannot be one");
    }
    let media_type = match media_type {
        "" => JsonStr::from_static("text/plain"),
        // The slice, where it is no other text than that.
        media_type if head.escaped().starts_with(media_type.as_bytes()) => {
            JsonStr::from_checked(head.escaped().slice(..media_type.len()))
        }
        media_type => JsonStr::escape(media_type),
    };
    Ok((media_type, data))
}

/// Whether `text` can stand before the data in a data URL, and be read again.
pub(super) fn is_media_type(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b',' | b';');
    text.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_urls_are_taken_apart() {
        let url = JsonStr::from_checked(bytes::Bytes::from_static(
            br"data:image\/png;charset=x;base64,iV\/B=",
        ));
        let (media_type, data) = read(&url).unwrap().unwrap();
        assert!(media_type.is("image/png"));
        assert!(data.is("iV/B="));
        let (media_type, _) = read(&JsonStr::escape("DATA:;base64,AA=="))
            .unwrap()
            .unwrap();
        assert!(media_type.is("text/plain"));
        assert!(read(&JsonStr::escape("https://a.example/;base64,x")).is_none());
        for broken in [
            "data:text/plain,hi",
            "data:text/plain;base64",
            "data:a b;base64,AA==",
        ] {
            assert!(read(&JsonStr::escape(broken)).unwrap().is_err(), "{broken}");
        }
    }
}
