//! A Rust source file as this test sees it: its tokens without literals, its comments, the paths it
//! names, its functions. No parser: only what the rules need, and exact for what rustfmt prints.

use std::path::{Path, PathBuf};

/// One file.
#[derive(Debug)]
pub(crate) struct Source {
    /// Below the workspace root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    tokens: Vec<Token>,
    /// Line, text.
    pub(crate) comments: Vec<(usize, String)>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Token {
    line: usize,
    text: String,
    is_word: bool,
}

/// A path that the file names, with `crate`, `self` and `super` resolved to modules of the crate.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) line: usize,
    /// `["crate", "base", "Arena"]`, `["std", "fs"]`, `["tollgate_core", "wire"]`.
    pub(crate) segments: Vec<String>,
    /// The name by which a `use` brings it in: its last segment, what `as` says, `*` for a glob.
    pub(crate) brings: Option<String>,
}

/// A function with a body.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) lines: usize,
}

impl Source {
    pub(crate) fn read(root: &Path, path: &Path) -> Source {
        let text = std::fs::read_to_string(path).expect("a source is text");
        let below = path
            .strip_prefix(root)
            .expect("it was found below the root");
        Source::new(below.to_string_lossy().replace('\\', "/"), text)
    }

    pub(crate) fn new(path: String, text: String) -> Source {
        let mut lexer = Lexer {
            rest: &text,
            line: 1,
            tokens: Vec::new(),
            comments: Vec::new(),
        };
        while lexer.step() {}
        let (tokens, comments) = (lexer.tokens, lexer.comments);
        Source {
            path,
            text,
            tokens,
            comments,
        }
    }

    /// The modules that lead to this file from its crate's root: `["wire", "sse", "decode"]`.
    pub(crate) fn module(&self) -> Vec<String> {
        let below = self.path.split_once("/src/").map_or("", |(_, below)| below);
        let names = below.trim_end_matches(".rs").split('/');
        let is_module = |name: &&str| !matches!(*name, "mod" | "lib" | "main" | "");
        names.filter(is_module).map(str::to_owned).collect()
    }

    /// Words that are called as macros, with their lines.
    pub(crate) fn macros(&self) -> impl Iterator<Item = (usize, &str)> {
        let pairs = self.tokens.windows(2);
        let calls = pairs.filter(|pair| pair[0].is_word && pair[1].text == "!");
        calls.map(|pair| (pair[0].line, pair[0].text.as_str()))
    }

    /// Lines on which `word` stands outside of comments and literals.
    pub(crate) fn lines_of(&self, word: &str) -> impl Iterator<Item = usize> {
        let found = self.tokens.iter().filter(move |token| token.text == word);
        found.map(|token| token.line)
    }

    pub(crate) fn functions(&self) -> Vec<Function> {
        let mut found = Vec::new();
        for (at, pair) in self.tokens.windows(2).enumerate() {
            if pair[0].text != "fn" || !pair[1].is_word {
                continue;
            }
            let line = pair[0].line;
            if let Some(end) = self.body_end(at) {
                let (name, lines) = (pair[1].text.clone(), end - line + 1);
                found.push(Function { name, line, lines });
            }
        }
        found
    }

    /// The last line of the body that follows token `at`; `None` where `;` comes first.
    fn body_end(&self, at: usize) -> Option<usize> {
        let (mut depth, mut braces) = (0_usize, 0_usize);
        for token in &self.tokens[at..] {
            match token.text.as_str() {
                "(" | "[" => depth += 1,
                ")" | "]" => depth -= 1,
                "{" => braces += 1,
                "}" if braces == 1 => return Some(token.line),
                "}" => braces -= 1,
                ";" if depth == 0 && braces == 0 => return None,
                _ => {}
            }
        }
        None
    }

    /// All paths with `::`, those of `use` trees written out, and in full those that begin with
    /// what a `use` brings from elsewhere (`use std::io;`, `io::stdin()`).
    pub(crate) fn paths(&self) -> Vec<Named> {
        let mut walk = Paths {
            tokens: &self.tokens,
            at: 0,
            file: self.module(),
            inner: Vec::new(),
            depth: 0,
            is_use: false,
            found: Vec::new(),
        };
        while walk.at < walk.tokens.len() {
            walk.step();
        }
        let found = walk.found;
        let full = |named: &Named| {
            let (first, rest) = named.segments.split_first()?;
            let by = |one: &&Named| one.brings.as_ref() == Some(first);
            let brought = &found.iter().find(by)?.segments;
            Some([brought, rest].concat()).filter(|full| full[0] != "crate")
        };
        let written_out = found.iter().map(|named| Named {
            line: named.line,
            segments: full(named).unwrap_or_else(|| named.segments.clone()),
            brings: named.brings.clone(),
        });
        written_out.collect()
    }
}

/// All `.rs` files below `root`, but for what is built or installed there.
pub(crate) fn sources(root: &Path) -> Vec<Source> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in entries(&folder) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() {
                if !name.starts_with('.') && !matches!(&*name, "target" | "node_modules") {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files.iter().map(|path| Source::read(root, path)).collect()
}

/// What lies in a folder, sorted; nothing where there is none.
pub(crate) fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

struct Lexer<'t> {
    rest: &'t str,
    line: usize,
    tokens: Vec<Token>,
    comments: Vec<(usize, String)>,
}

impl Lexer<'_> {
    /// Takes one token, comment, literal or space; false at the end.
    fn step(&mut self) -> bool {
        let Some(first) = self.rest.chars().next() else {
            return false;
        };
        let rest = self.rest;
        if rest.starts_with("//") {
            let len = rest.find('\n').unwrap_or(rest.len());
            self.comment(len);
        } else if rest.starts_with("/*") {
            self.comment(block_comment_len(rest));
        } else if let Some(len) = literal_len(rest) {
            self.take(len);
        } else if first.is_alphanumeric() || first == '_' {
            let end = |c: char| !(c.is_alphanumeric() || c == '_');
            let len = rest.find(end).unwrap_or(rest.len());
            self.token(len, true);
        } else if rest.starts_with("::") {
            self.token(2, false);
        } else if first.is_whitespace() {
            self.take(first.len_utf8());
        } else {
            self.token(first.len_utf8(), false);
        }
        true
    }

    fn comment(&mut self, len: usize) {
        self.comments.push((self.line, self.rest[..len].to_owned()));
        self.take(len);
    }

    fn token(&mut self, len: usize, is_word: bool) {
        let text = self.rest[..len].to_owned();
        let line = self.line;
        self.tokens.push(Token {
            line,
            text,
            is_word,
        });
        self.take(len);
    }

    fn take(&mut self, len: usize) {
        self.line += self.rest[..len].matches('\n').count();
        self.rest = &self.rest[len..];
    }
}

fn block_comment_len(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if text[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of the string, byte string, raw string, character or lifetime that `text` begins
/// with.
fn literal_len(text: &str) -> Option<usize> {
    let prefix = text
        .find(|c| !matches!(c, 'b' | 'c' | 'r'))
        .filter(|len| *len <= 2)?;
    let is_raw = text[..prefix].contains('r');
    let rest = &text[prefix..];
    if is_raw {
        let hashes = rest.len() - rest.trim_start_matches('#').len();
        rest[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", &rest[..hashes]);
        let body = &rest[hashes + 1..];
        return Some(prefix + hashes + 1 + body.find(&end)? + end.len());
    }
    if rest.starts_with('"') {
        return quoted_len(rest, '"').map(|len| prefix + len);
    }
    if !rest.starts_with('\'') {
        return None;
    }
    let mut chars = rest[1..].chars();
    let (first, second) = (chars.next()?, chars.next()?);
    if first == '\\' || second == '\'' {
        return quoted_len(rest, '\'').map(|len| prefix + len);
    }
    // A lifetime.
    let end = |c: char| !(c.is_alphanumeric() || c == '_');
    Some(prefix + 1 + rest[1..].find(end).unwrap_or(rest.len() - 1))
}

fn quoted_len(text: &str, quote: char) -> Option<usize> {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if is_escaped {
            is_escaped = false;
        } else if c == '\\' {
            is_escaped = true;
        } else if c == quote {
            return Some(at + 1);
        }
    }
    None
}

struct Paths<'t> {
    tokens: &'t [Token],
    at: usize,
    file: Vec<String>,
    /// Inline modules that are open: name, depth of their brace.
    inner: Vec<(String, usize)>,
    depth: usize,
    is_use: bool,
    found: Vec<Named>,
}

impl Paths<'_> {
    fn text(&self, ahead: usize) -> &str {
        let token = self.tokens.get(self.at + ahead);
        token.map_or("", |token| token.text.as_str())
    }

    fn is_word(&self, ahead: usize) -> bool {
        let token = self.tokens.get(self.at + ahead);
        token.is_some_and(|token| token.is_word)
    }

    fn step(&mut self) {
        if self.text(0) == "mod" && self.is_word(1) && self.text(2) == "{" {
            let name = self.text(1).to_owned();
            self.inner.push((name, self.depth));
            self.at += 2;
        } else if self.text(0) == "use" && (self.is_word(1) || self.text(1) == "{") {
            self.at += 1;
            self.is_use = true;
            self.tree(&mut Vec::new());
            self.is_use = false;
        } else if self.is_word(0) && self.text(1) == "::" {
            self.tree(&mut Vec::new());
        } else {
            match self.text(0) {
                "{" => self.depth += 1,
                "}" => {
                    self.depth -= 1;
                    self.inner.pop_if(|(_, depth)| *depth == self.depth);
                }
                _ => {}
            }
            self.at += 1;
        }
    }

    /// A path or a `use` tree behind `prefix`.
    fn tree(&mut self, prefix: &mut Vec<String>) {
        let (len, line) = (prefix.len(), self.tokens[self.at].line);
        loop {
            if self.is_word(0) {
                prefix.push(self.text(0).to_owned());
                self.at += 1;
            } else if self.text(0) == "{" {
                self.at += 1;
                while !matches!(self.text(0), "}" | "") {
                    if self.text(0) == "," {
                        self.at += 1;
                    } else {
                        self.tree(prefix);
                    }
                }
                self.at += 1;
                break prefix.truncate(len);
            } else {
                // `*` of a glob, `<` of a turbofish, `$` of a macro.
                let brings = (self.text(0) == "*").then(|| "*".to_owned());
                self.at += 1;
                self.keep(line, prefix, brings);
                break prefix.truncate(len);
            }
            if self.text(0) == "::" {
                self.at += 1;
                continue;
            }
            let mut brings = prefix.iter().rfind(|segment| *segment != "self").cloned();
            if self.text(0) == "as" {
                brings = Some(self.text(1).to_owned());
                self.at += 2;
            }
            self.keep(line, prefix, brings);
            break prefix.truncate(len);
        }
    }

    fn keep(&mut self, line: usize, path: &[String], brings: Option<String>) {
        let inner = self.inner.iter().map(|(name, _)| name.clone());
        let mut here: Vec<String> = self.file.iter().cloned().chain(inner).collect();
        let mut rest = path;
        let mut is_ours = false;
        while let Some((first, after)) = rest.split_first() {
            match first.as_str() {
                "crate" => here.clear(),
                "super" => drop(here.pop()),
                "self" => {}
                _ => break,
            }
            (is_ours, rest) = (true, after);
        }
        let mut segments = Vec::new();
        if is_ours {
            segments.push("crate".to_owned());
            segments.append(&mut here);
        }
        segments.extend_from_slice(rest);
        if segments.last().is_some_and(|last| last == "self") {
            segments.pop();
        }
        self.found.push(Named {
            line,
            segments,
            brings: brings.filter(|_| self.is_use),
        });
    }
}
