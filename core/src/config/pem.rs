//! Certificates out of PEM text (RFC 7468).

/// The contents of every `CERTIFICATE` block, as DER. Text between blocks is passed over, other
/// blocks too.
///
/// # Errors
/// If a block does not end, is not base64, or none is there.
pub(super) fn certificates(text: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut found = Vec::new();
    let mut block: Option<(bool, Vec<u8>)> = None;
    for line in text.split(|&byte| byte == b'\n') {
        let line = line.trim_ascii();
        if line.starts_with(b"-----BEGIN ") {
            let label = line.strip_prefix(b"-----BEGIN ").unwrap_or(line);
            let wanted = label == b"CERTIFICATE-----" || label == b"TRUSTED CERTIFICATE-----";
            block = Some((wanted, Vec::new()));
        } else if line.starts_with(b"-----END ") {
            if let Some((true, base64)) = block.take() {
                let number = found.len() + 1;
                let der = decode(&base64);
                found.push(der.ok_or_else(|| format!("certificate {number} is not base64"))?);
            }
        } else if let Some((_, base64)) = &mut block {
            base64.extend_from_slice(line);
        }
    }
    if block.is_some() {
        return Err("a block has no `-----END …-----`".to_owned());
    }
    if found.is_empty() {
        return Err("no `-----BEGIN CERTIFICATE-----` is in it".to_owned());
    }
    Ok(found)
}

/// Undoes base64 (RFC 4648 §4); `None` for anything that is not it.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii_end();
    let digits = text.strip_suffix(b"=").unwrap_or(text);
    let digits = digits.strip_suffix(b"=").unwrap_or(digits);
    if !text.len().is_multiple_of(4) || digits.is_empty() {
        return None;
    }
    let mut out = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    let (mut bits, mut held) = (0u32, 0u32);
    for &digit in digits {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xFFFF;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held & 0xFF) as u8);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_and_decoded() {
        let text = b"# a bundle\r\n-----BEGIN CERTIFICATE-----\r\nAAEC\r\nAw==\r\n\
            -----END CERTIFICATE-----\n\n-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE \
            KEY-----\n-----BEGIN CERTIFICATE-----\n//79\n-----END CERTIFICATE-----";
        let found = certificates(text).unwrap();
        assert_eq!(found, [vec![0, 1, 2, 3], vec![0xFF, 0xFE, 0xFD]]);
    }

    #[test]
    fn broken_text_is_refused() {
        for text in [
            "",
            "no blocks",
            "-----BEGIN CERTIFICATE-----\nAAAA",
            "-----BEGIN CERTIFICATE-----\nAAA\n-----END CERTIFICATE-----",
            "-----BEGIN CERTIFICATE-----\n\n-----END CERTIFICATE-----",
            "-----BEGIN CERTIFICATE-----\nA A=\n-----END CERTIFICATE-----",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
        ] {
            assert!(certificates(text.as_bytes()).is_err(), "{text}");
        }
    }
}
