//! Random documents: as a model, and as text in a random layout.

use tollgate_core::base::{Rng, Seed};

pub(crate) const KEYS: [&str; 6] = ["a", "model", "", "b c", "\u{e9}", "k\"\\"];

/// A document of which order, duplicates and number text matter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Model {
    /// `null`, `true`, `false` or a number, as text.
    Plain(String),
    Text(String),
    Array(Vec<Model>),
    Object(Vec<(String, Model)>),
}

pub(crate) struct Random(Rng);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(Rng::new(Seed(seed)))
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound as u64) as usize
    }

    pub(crate) fn model(&mut self, depth: usize) -> Model {
        match self.below(if depth == 0 { 4 } else { 8 }) {
            0 => Model::Plain(["null", "true", "false"][self.below(3)].to_owned()),
            1 => Model::Plain(self.number()),
            2 | 3 => Model::Text(self.text()),
            4 | 5 => {
                let len = self.below(4);
                Model::Array((0..len).map(|_| self.model(depth - 1)).collect())
            }
            _ => self.object(depth - 1),
        }
    }

    pub(crate) fn object(&mut self, depth: usize) -> Model {
        let len = self.below(6);
        let mut member = || (KEYS[self.below(KEYS.len())].to_owned(), self.model(depth));
        Model::Object((0..len).map(|_| member()).collect())
    }

    pub(crate) fn number(&mut self) -> String {
        let mut text = String::new();
        if self.below(3) == 0 {
            text.push('-');
        }
        match self.below(3) {
            0 => text.push('0'),
            _ => {
                text.push(char::from(b'1' + self.below(9) as u8));
                self.digits(&mut text, 0);
            }
        }
        if self.below(3) == 0 {
            text.push('.');
            self.digits(&mut text, 1);
        }
        if self.below(4) == 0 {
            text.push_str(["e", "E", "e+", "E-"][self.below(4)]);
            text.push(char::from(b'0' + self.below(10) as u8));
        }
        text
    }

    fn digits(&mut self, text: &mut String, least: usize) {
        let count = least + self.below(24);
        text.extend((0..count).map(|_| char::from(b'0' + self.below(10) as u8)));
    }

    pub(crate) fn text(&mut self) -> String {
        const PARTS: [&str; 12] = [
            "plain",
            "\n",
            "\"",
            "\\",
            "\u{1}",
            "é",
            "😀",
            "/",
            "\u{7f}",
            " long and plain text",
            "\u{2028}",
            "x",
        ];
        let count = self.below(8);
        (0..count).map(|_| PARTS[self.below(PARTS.len())]).collect()
    }

    /// Prints with random white space and random escapes.
    pub(crate) fn print(&mut self, model: &Model, out: &mut String) {
        match model {
            Model::Plain(text) => out.push_str(text),
            Model::Text(text) => self.print_text(text, out),
            Model::Array(elements) => {
                out.push('[');
                for (index, element) in elements.iter().enumerate() {
                    self.comma(index, out);
                    self.print(element, out);
                }
                self.space(out);
                out.push(']');
            }
            Model::Object(members) => {
                out.push('{');
                for (index, (key, value)) in members.iter().enumerate() {
                    self.comma(index, out);
                    self.print_text(key, out);
                    self.space(out);
                    out.push(':');
                    self.space(out);
                    self.print(value, out);
                }
                self.space(out);
                out.push('}');
            }
        }
    }

    fn comma(&mut self, index: usize, out: &mut String) {
        self.space(out);
        if index > 0 {
            out.push(',');
            self.space(out);
        }
    }

    fn space(&mut self, out: &mut String) {
        if self.below(4) == 0 {
            out.push_str([" ", "\n  ", "\t", "\r\n"][self.below(4)]);
        }
    }

    fn print_text(&mut self, text: &str, out: &mut String) {
        out.push('"');
        for c in text.chars() {
            match c {
                '\n' if self.below(2) == 0 => out.push_str("\\n"),
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '/' if self.below(2) == 0 => out.push_str("\\/"),
                c if u32::from(c) < 0x20 || self.below(16) == 0 => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }
}
