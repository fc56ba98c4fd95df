//! Which code was measured: a key for each lab, made of the code that decides its numbers and of nothing else.
//!
//! The build script hashes every module of the library once ([`of_module`]) and notes which modules it names. A lab's key covers its own
//! file, every module that can be reached from it, the versions of the contenders, and the compiler with its flags. Comments and the
//! layout of the code don't count, and in the lab's own file texts don't count either: a better sentence leaves the key as it is.
//! Rooms that only judge and show are left out, and so is the part of `lab` that only holds data.
//!
//! Limits: a module counts as a whole, so a change beside the measured function changes the key too. Code that a lab takes from outside the
//! library (`#[path]`, a crate of its own) is seen only as a version. Uses std alone, because the build script includes this file.

/// Rooms whose code can't change a measured number. `lab` is data, except for the plan and the sample.
pub const NOT_MEASURED: [&str; 12] = [
    "cli",
    "show",
    "judge",
    "record",
    "main",
    "build",
    "lab",
    "lab::claim",
    "lab::contender",
    "lab::mechanism",
    "lab::param",
    "lab::step",
];

/// True if a module is one of those, or lies in a room that is: the path is from the crate's root, `measure::cost`.
pub fn is_measured(module: &str) -> bool {
    let room = module.split("::").next().unwrap_or_default();
    !NOT_MEASURED.contains(&module) && (room == "lab" || !NOT_MEASURED.contains(&room))
}

/// FNV-1a with 128 bits (Fowler, Noll, Vo; draft-eastlake-fnv): names content, and protects against accidents only.
pub fn hash(bytes: &[u8]) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(OFFSET, |h, b| (h ^ u128::from(*b)).wrapping_mul(PRIME))
}

/// What one module is in a key: its hash, and the paths that it names, from the crate's root.
pub fn of_module(module: &str, source: &str) -> (u128, Vec<String>) {
    let essence = essence(source, true);
    let paths = paths(&essence, module);
    (hash(essence.as_bytes()), paths)
}

/// The code without comments and without layout; without `texts` every string literal is empty.
pub fn essence(source: &str, texts: bool) -> String {
    let b = source.as_bytes();
    let (mut out, mut i) = (Vec::with_capacity(b.len()), 0);
    let at = |i: usize| b.get(i).copied().unwrap_or(0);
    let is_word = |c: u8| c.is_ascii_alphanumeric() || c == b'_' || c >= 0x80;
    while i < b.len() {
        let raw = raw_string(b, i).filter(|_| i == 0 || !is_word(at(i - 1)));
        match (at(i), at(i + 1)) {
            (b'/', b'/') => {
                while i < b.len() && b[i] != b'\n' {
                    i += 1;
                }
            }
            (b'/', b'*') => {
                let mut depth = 0;
                loop {
                    match (at(i), at(i + 1)) {
                        (b'/', b'*') => (depth, i) = (depth + 1, i + 2),
                        (b'*', b'/') => (depth, i) = (depth - 1, i + 2),
                        _ => i += 1,
                    }
                    if depth == 0 || i >= b.len() {
                        break;
                    }
                }
            }
            _ if raw.is_some() => {
                let end = raw.unwrap_or(i + 1);
                if texts {
                    out.extend_from_slice(&b[i..end]);
                } else {
                    out.extend_from_slice(b"\"\"");
                }
                i = end;
            }
            (b'"', _) => {
                let start = i;
                i += 1;
                while i < b.len() && b[i] != b'"' {
                    i += if b[i] == b'\\' { 2 } else { 1 };
                }
                i = (i + 1).min(b.len());
                if texts {
                    out.extend_from_slice(&b[start..i]);
                } else {
                    out.extend_from_slice(b"\"\"");
                }
            }
            // A quote or an escape as a character, which is neither a text nor a comment.
            (b'\'', b'\\') => {
                out.extend_from_slice(&b[i..(i + 3).min(b.len())]);
                i += 3;
            }
            (b'\'', _) if at(i + 2) == b'\'' => {
                out.extend_from_slice(&b[i..i + 3]);
                i += 3;
            }
            (c, _) if c.is_ascii_whitespace() => {
                while i < b.len() && b[i].is_ascii_whitespace() {
                    i += 1;
                }
                // A space matters between two words only.
                if out.last().is_some_and(|c| is_word(*c)) && is_word(at(i)) {
                    out.push(b' ');
                }
            }
            // A comma before a closing bracket is the formatter's.
            (b')' | b']' | b'}', _) => {
                if out.last() == Some(&b',') {
                    out.pop();
                }
                out.push(b[i]);
                i += 1;
            }
            (c, _) => {
                out.push(c);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// If a raw string literal begins here, where it ends.
fn raw_string(b: &[u8], i: usize) -> Option<usize> {
    let mut j = i;
    if b.get(j) == Some(&b'b') {
        j += 1;
    }
    if b.get(j) != Some(&b'r') {
        return None;
    }
    let hashes = b[j + 1..].iter().take_while(|c| **c == b'#').count();
    j += 1 + hashes;
    if b.get(j) != Some(&b'"') {
        return None;
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let end = b[j + 1..].windows(close.len()).position(|w| w == close)?;
    Some(j + 1 + end + close.len())
}

/// The paths into this crate that the essence of a module names, each from the crate's root: those of `use` trees, and those in the code.
pub fn paths(essence: &str, module: &str) -> Vec<String> {
    let mut out = Vec::new();
    let parent = module.rsplit_once("::").map_or("", |(p, _)| p);
    for (root, base) in [("crate::", ""), ("underhood::", ""), ("super::", parent), ("self::", module)] {
        for (i, _) in essence.match_indices(root) {
            if is_inside(essence[..i].chars().next_back()) {
                continue;
            }
            let (mut base, mut rest) = (base.to_string(), &essence[i + root.len()..]);
            while let Some(further) = rest.strip_prefix("super::") {
                base = base.rsplit_once("::").map_or(String::new(), |(p, _)| p.to_string());
                rest = further;
            }
            tree(&base, rest, &mut out);
        }
    }
    // Who names a module goes on from there: `lock::mcs::Mcs` after `use crate::structures::lock`, `block::Block` after `mod block`.
    let mut known = out.clone();
    for (i, declares) in essence.match_indices("mod ") {
        let name = word(&essence[i + declares.len()..]);
        let before = essence[..i].chars().next_back();
        if is_inside(before) || !essence[i + declares.len() + name.len()..].starts_with(';') {
            continue;
        }
        let path = if module.is_empty() { name.to_string() } else { format!("{module}::{name}") };
        // Nobody but its parent can reach a private one.
        if !matches!(before, Some(' ' | ')')) {
            out.push(path.clone());
        }
        known.push(path);
    }
    for path in known {
        let name = format!("{}::", path.rsplit("::").next().unwrap_or_default());
        for (i, _) in essence.match_indices(&name) {
            if !is_inside(essence[..i].chars().next_back()) {
                tree(&path, &essence[i + name.len()..], &mut out);
            }
        }
    }
    out.sort();
    out.dedup();
    out
}

/// True after this character nothing new begins: it goes on with a word or a path.
fn is_inside(before: Option<char>) -> bool {
    before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
}

/// The word that a text begins with; empty if it begins with none.
fn word(text: &str) -> &str {
    &text[..text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())]
}

/// Follows one path, and every branch of it in braces. Returns what comes after.
fn tree<'a>(base: &str, text: &'a str, out: &mut Vec<String>) -> &'a str {
    let word = word(text);
    let rest = &text[word.len()..];
    let here = match (base, word) {
        (base, "" | "self") => base.to_string(),
        ("", word) => word.to_string(),
        (base, word) => format!("{base}::{word}"),
    };
    if let Some(branches) =
        rest.strip_prefix("::{").or_else(|| rest.strip_prefix('{').filter(|_| word.is_empty()))
    {
        let mut rest = branches;
        loop {
            rest = tree(&here, rest, out);
            rest = rest.trim_start_matches(|c: char| c != ',' && c != '}');
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => return rest.strip_prefix('}').unwrap_or(rest),
            }
        }
    }
    if let Some(more) = rest.strip_prefix("::") {
        return tree(&here, more, out);
    }
    out.push(here);
    rest
}

/// One module in the table that the build script makes: its path, its hash, and the paths that it names.
pub type Module = (&'static str, u128, &'static [&'static str]);

/// The key of a lab with this text: twelve hex digits. `table` is the build script's, `build` what else decides the numbers (compiler,
/// flags, versions).
pub fn key(text: &str, table: &[Module], build: &str) -> String {
    let essence = essence(text, false);
    let mut todo = paths(&essence, "");
    let mut seen: Vec<&Module> = Vec::new();
    while let Some(path) = todo.pop() {
        // The module itself, or the one that the named thing is in.
        let of =
            |m: &&Module| path == m.0 || path.strip_prefix(m.0).is_some_and(|rest| rest.starts_with("::"));
        let Some(module) = table.iter().filter(of).max_by_key(|m| m.0.len()) else { continue };
        if !seen.iter().any(|m| m.0 == module.0) {
            seen.push(module);
            todo.extend(module.2.iter().map(ToString::to_string));
        }
    }
    seen.sort_by_key(|m| m.0);
    let parts = seen.iter().map(|m| format!("{} {:032x}", m.0, m.1));
    let all: Vec<String> = parts.chain([essence, build.to_string()]).collect();
    format!("{:032x}", hash(all.join("\n").as_bytes()))[..12].to_string()
}
