//! The scanner against `serde_json` and against the model a text was printed from.

use bytes::Bytes;
use tollgate_core::base::OutBuf;
use tollgate_core::base::limits::JsonLimits;
use tollgate_core::wire::json::{Kind, Tape, Value, Writer};

use crate::check;
use crate::random::{Model, Random};

#[test]
fn a_scan_gives_the_model_back_and_numbers_verbatim() {
    for seed in 0..3000 {
        let mut random = Random::new(seed);
        let model = random.model(5);
        let mut text = String::new();
        random.print(&model, &mut text);
        let text = Bytes::from(text);
        let mut tape = Tape::new();
        let root = tape.parse(&text, &JsonLimits::default()).unwrap();
        assert_eq!(read(root), model, "seed {seed}");
        check_places(root);
    }
}

#[test]
fn written_again_it_means_the_same() {
    for seed in 0..1000 {
        let mut random = Random::new(seed);
        let model = random.model(5);
        let mut text = String::new();
        random.print(&model, &mut text);
        let text = Bytes::from(text);
        let mut tape = Tape::new();
        let root = tape.parse(&text, &JsonLimits::default()).unwrap();
        let mut out = OutBuf::new();
        let mut json = Writer::new(&mut out);
        write(root, &mut json);
        let written = out.take_all();
        let mut tape = Tape::new();
        let again = tape.parse(&written, &JsonLimits::default()).unwrap();
        assert_eq!(read(again), model, "seed {seed}");
    }
}

/// `serde_json::value::RawValue` skips without converting, so that number ranges and lone
/// surrogates play no part.
#[test]
fn mutated_texts_are_taken_or_refused_as_serde_json_does() {
    const BYTES: &[u8] = b"{}[]\",:\\/u0123456789.eE+-tfnrl \n\x00\x1f\x7f\x80\xc3\xa9\xed\xff";
    let mut taken = 0;
    for seed in 0..20_000 {
        let mut random = Random::new(seed);
        let model = random.model(4);
        let mut text = String::new();
        random.print(&model, &mut text);
        let mut text = text.into_bytes();
        for _ in 0..=random.below(3) {
            let at = random.below(text.len());
            match random.below(4) {
                0 => text[at] = BYTES[random.below(BYTES.len())],
                1 => text.insert(at, BYTES[random.below(BYTES.len())]),
                2 if text.len() > 1 => drop(text.remove(at)),
                _ => text.truncate(at.max(1)),
            }
        }
        let own = check(&text);
        taken += usize::from(own.is_ok());
        assert_eq!(
            own.is_ok(),
            valid(&text),
            "{:?} {own:?}",
            String::from_utf8_lossy(&text)
        );
    }
    assert!(
        (1000..19_000).contains(&taken),
        "the mutations are too tame or too wild: {taken}"
    );
}

#[test]
fn faults_are_told_with_their_place() {
    let cases: [(&str, &str); 14] = [
        ("", "the text ends before a value at line 1 column 1"),
        (
            "{\"a\":1\n\n \"b\":2}",
            "expected ',' or '}' at line 3 column 2",
        ),
        ("[1 2]", "expected ',' or ']' at line 1 column 4"),
        ("[\"é\", x]", "expected a value at line 1 column 7"),
        ("{\"a\" 1}", "expected ':' at line 1 column 6"),
        ("{a:1}", "expected a key in quotes at line 1 column 2"),
        ("{\"a\":1,}", "expected a key in quotes at line 1 column 8"),
        ("{} {}", "expected the end of the text at line 1 column 4"),
        (
            "\"abc",
            "the text ends before the closing quote of a string at line 1 column 5",
        ),
        ("\"a\nb\"", "unescaped control character at line 1 column 3"),
        ("\"\\x\"", "invalid escape at line 1 column 2"),
        ("-", "the text ends before a digit at line 1 column 2"),
        ("01", "expected the end of the text at line 1 column 2"),
        (
            "\u{feff}{}",
            "unexpected byte order mark at line 1 column 1",
        ),
    ];
    for (text, message) in cases {
        assert_eq!(
            check(text.as_bytes()).unwrap_err().to_string(),
            message,
            "{text}"
        );
    }
    let broken = check(b"[\"a\xff\"]").unwrap_err();
    assert_eq!(
        (broken.to_string().as_str(), broken.offset),
        ("invalid UTF-8 at line 1 column 4", 3)
    );
}

#[test]
fn limits_hold_to_the_last_value() {
    let limits = JsonLimits {
        depth_max: 3,
        values_max: 6,
    };
    let fits = |text: &'static str| {
        let text = Bytes::from_static(text.as_bytes());
        Tape::new()
            .parse(&text, &limits)
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    assert_eq!(fits("[[[0]]]"), Ok(()));
    let error = fits("[[{\"a\":[]}]]").unwrap_err();
    assert_eq!(error, "nested deeper than 3 levels at line 1 column 8");
    assert_eq!(fits("[1,{\"a\":2},3]"), Ok(()));
    assert_eq!(
        fits("[1,{\"a\":2},3,4]").unwrap_err(),
        "more than 6 values at line 1 column 14"
    );
}

fn read(value: Value<'_>) -> Model {
    match value.kind() {
        Kind::String => Model::Text(value.as_text().unwrap().into_owned()),
        Kind::Array => Model::Array(value.elements().map(read).collect()),
        Kind::Object => {
            let member = |(key, value): (tollgate_core::wire::json::Key<'_>, _)| {
                (key.text().into_owned(), read(value))
            };
            Model::Object(value.members().map(member).collect())
        }
        _ => Model::Plain(String::from_utf8(value.raw_text().to_vec()).unwrap()),
    }
}

fn write(value: Value<'_>, json: &mut Writer<'_>) {
    match value.kind() {
        Kind::String => json.str(&value.as_str().unwrap()),
        Kind::Array => {
            json.begin_array();
            value.elements().for_each(|element| write(element, json));
            json.end_array();
        }
        Kind::Object => {
            json.begin_object();
            for (key, value) in value.members() {
                json.key_str(&key.to_json_str());
                write(value, json);
            }
            json.end_object();
        }
        _ => json.raw(&value.raw()),
    }
}

/// Every value's text is a document by itself, lies within its parent, and its path names its
/// place.
fn check_places(value: Value<'_>) {
    assert_eq!(check(value.raw_text()), Ok(()));
    assert_eq!(value.raw().text().as_ref(), value.raw_text());
    let inner = value
        .elements()
        .chain(value.members().map(|(_, value)| value));
    for (index, child) in inner.enumerate() {
        assert!(value.span().start < child.span().start && child.span().end < value.span().end);
        let path = child.path();
        if value.kind() == Kind::Array {
            assert_eq!(path, format!("{}[{index}]", value.path()));
        } else {
            assert!(path.starts_with(&value.path()) && path.len() > value.path().len());
        }
        check_places(child);
    }
}

fn valid(text: &[u8]) -> bool {
    serde_json::from_slice::<&serde_json::value::RawValue>(text).is_ok()
}
