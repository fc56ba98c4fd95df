//! Words and signs of a file, each with its line, and the error that names what cannot be read.
use std::fmt;

/// What cannot be read, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The line, from 1.
    pub line: usize,
    /// What stands there, in words.
    pub what: String,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for Unreadable {}

pub(super) fn no<T>(line: usize, what: impl Into<String>) -> Result<T, Unreadable> {
    Err(Unreadable { line, what: what.into() })
}

/// A word, a number or a sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) line: usize,
}

/// Signs of more than one character, longest first.
const SIGNS: [&str; 21] = [
    "<<=", ">>=", "/\\", "\\/", "==", "!=", "<=", ">=", "&&", "||", "<<", ">>", "->", "++", "--", "+=", "-=",
    "&=", "|=", "^=", "=>",
];

/// Cuts text into tokens. Comments of C are left out.
pub(super) fn tokens(text: &str, first_line: usize) -> Vec<Token> {
    let (mut found, mut line, mut rest) = (Vec::new(), first_line, text);
    while let Some(c) = rest.chars().next() {
        let word = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
        let end = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if c.is_whitespace() {
            c.len_utf8()
        } else {
            let sign = SIGNS.iter().find(|s| rest.starts_with(**s)).map(|s| s.len());
            let end = if word(c) { rest.find(|c| !word(c)).unwrap_or(rest.len()) } else { c.len_utf8() };
            let end = sign.unwrap_or(end);
            found.push(Token { text: rest[..end].into(), line });
            end
        };
        line += rest[..end].matches('\n').count();
        rest = &rest[end..];
    }
    found
}

/// A place among tokens.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    tokens: &'a [Token],
    next: usize,
    last_line: usize,
    depth: usize,
}

/// Deeper than any test nests; a file of brackets alone must not use up the stack.
const DEEPEST: usize = 200;

impl<'a> Cursor<'a> {
    pub(super) fn new(tokens: &'a [Token], last_line: usize) -> Self {
        Self { tokens, next: 0, last_line, depth: 0 }
    }

    pub(super) fn peek(&self) -> &'a str {
        self.ahead(0)
    }

    pub(super) fn ahead(&self, by: usize) -> &'a str {
        self.tokens.get(self.next + by).map_or("", |t| t.text.as_str())
    }

    /// The line of the next token.
    pub(super) fn line(&self) -> usize {
        self.tokens.get(self.next).map_or(self.last_line, |t| t.line)
    }

    pub(super) fn take(&mut self) -> &'a str {
        let text = self.peek();
        self.next += 1;
        text
    }

    pub(super) fn eat(&mut self, text: &str) -> bool {
        let there = self.peek() == text;
        self.next += usize::from(there);
        there
    }

    pub(super) fn expect(&mut self, text: &str) -> Result<(), Unreadable> {
        if self.eat(text) {
            return Ok(());
        }
        no(self.line(), format!("'{text}' is wanted where {} stands", quoted(self.peek())))
    }

    /// One level further in.
    pub(super) fn enter(&mut self) -> Result<(), Unreadable> {
        self.depth += 1;
        if self.depth > DEEPEST { no(self.line(), "nested too deep, or too long") } else { Ok(()) }
    }

    /// So many levels out.
    pub(super) fn leave(&mut self, levels: usize) {
        self.depth -= levels;
    }

    pub(super) fn is_done(&self) -> bool {
        self.next >= self.tokens.len()
    }
}

/// A token in an error.
pub(super) fn quoted(text: &str) -> String {
    if text.is_empty() { "the end".into() } else { format!("'{text}'") }
}

/// True for a name of C.
pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// A number of C: decimal or hexadecimal, with or without a suffix.
pub(super) fn number(text: &str) -> Option<i64> {
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return i64::from_str_radix(hex, 16).ok();
    }
    text.trim_end_matches(['u', 'U', 'l', 'L']).parse().ok()
}

/// Blanks comments `(* like this (* or this *) *)`, keeping line ends. In the body of a process of a C test `(*x)` is no comment: there
/// `in_bodies` is true, and what stands in braces after a parenthesis is left alone.
pub(super) fn without_comments(text: &str, in_bodies: bool) -> String {
    let (mut out, mut comment, mut body, mut seen_parenthesis) =
        (String::with_capacity(text.len()), 0, 0, false);
    let (mut chars, mut quoted) = (text.chars().peekable(), false);
    while let Some(c) = chars.next() {
        let pair = (c, chars.peek().copied().unwrap_or(' '));
        if comment > 0 || (body == 0 && !quoted && pair == ('(', '*')) {
            match pair {
                ('(', '*') => comment += 1,
                ('*', ')') => comment -= 1,
                ('\n', _) => {
                    out.push('\n');
                    continue;
                }
                _ => {
                    out.push(' ');
                    continue;
                }
            }
            chars.next();
            out.push_str("  ");
            continue;
        }
        // A comment of C between `)` and `{`.
        if body == 0 && !quoted && pair == ('/', '/') {
            while chars.next_if(|c| *c != '\n').is_some() {}
            continue;
        }
        match c {
            '"' if body == 0 => quoted = !quoted,
            '\n' => quoted = false,
            _ if quoted => {}
            ')' => seen_parenthesis = true,
            '{' if in_bodies && (seen_parenthesis || body > 0) => body += 1,
            '}' if in_bodies && body > 0 => body -= 1,
            c if body == 0 && !c.is_whitespace() => seen_parenthesis = false,
            _ => {}
        }
        out.push(c);
    }
    out
}
