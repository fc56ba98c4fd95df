//! The question at the end of a test: `exists`, `~exists` or `forall`, about registers and words.
use std::collections::BTreeMap;

use super::{
    program::{Item, Thread, Value, Word, address},
    scan::{Cursor, Unreadable, is_name, no, number, quoted},
};

/// A statement about an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Claim {
    True,
    /// The item at this place of the outcome has this value.
    Is(usize, Value),
    /// Two items have the same value.
    Same(usize, usize),
    Not(Box<Claim>),
    And(Box<Claim>, Box<Claim>),
    Or(Box<Claim>, Box<Claim>),
}

impl Claim {
    /// Whether it is true of an outcome.
    pub fn holds(&self, outcome: &[Value]) -> bool {
        match self {
            Self::True => true,
            Self::Is(item, value) => outcome[*item] == *value,
            Self::Same(a, b) => outcome[*a] == outcome[*b],
            Self::Not(c) => !c.holds(outcome),
            Self::And(a, b) => a.holds(outcome) && b.holds(outcome),
            Self::Or(a, b) => a.holds(outcome) || b.holds(outcome),
        }
    }
}

/// How the question is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantifier {
    /// Some execution ends so.
    Exists,
    /// None does.
    NotExists,
    /// Each does.
    Forall,
}

/// The question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// How it is asked.
    pub quantifier: Quantifier,
    /// What about.
    pub claim: Claim,
    /// Only outcomes of which this is true count.
    pub filter: Claim,
}

impl Condition {
    /// Whether the outcome is the one in question: the claim's, or after `forall` one that breaks it.
    pub fn asks_for(&self, outcome: &[Value]) -> bool {
        self.claim.holds(outcome) != (self.quantifier == Quantifier::Forall)
    }

    /// Whether the whole condition is true where the outcome in question is possible or not.
    pub fn is_met(&self, possible: bool) -> bool {
        possible == (self.quantifier == Quantifier::Exists)
    }
}

/// Reads what stands below the threads, and adds what it looks at to the items.
pub(super) struct Questions<'a> {
    pub(super) threads: &'a mut [Thread],
    pub(super) words: &'a mut Vec<Word>,
    pub(super) items: Vec<Item>,
    /// Other spellings of registers: `EAX` of `eax`.
    pub(super) register: fn(&str) -> String,
}

/// Words that begin the question.
pub(super) const STARTS: [&str; 8] =
    ["exists", "~exists", "~", "not", "forall", "final", "locations", "filter"];

impl Questions<'_> {
    pub(super) fn read(&mut self, at: &mut Cursor<'_>) -> Result<Condition, Unreadable> {
        let mut filter = Claim::True;
        loop {
            let line = at.line();
            match at.peek() {
                "locations" => {
                    at.take();
                    self.locations(at)?;
                }
                "filter" => {
                    at.take();
                    filter = self.either(at)?;
                }
                // `final (...) with tso: ~exists; cc: exists;` asks whether, and says what other models answer.
                "final" => {
                    at.take();
                    let claim = self.either(at)?;
                    return Ok(Condition { quantifier: Quantifier::Exists, claim, filter });
                }
                "exists" | "forall" | "~" | "not" => {
                    let negated = at.eat("~") || at.eat("not");
                    let quantifier = match (negated, at.take()) {
                        (false, "exists") => Quantifier::Exists,
                        (true, "exists") => Quantifier::NotExists,
                        (false, "forall") => Quantifier::Forall,
                        (_, other) => return no(line, format!("the question begins with {}", quoted(other))),
                    };
                    let claim = self.either(at)?;
                    at.eat(";");
                    // herd and other tools write notes of their own behind it.
                    if !at.is_done() && at.peek() != "<<" && !STARTS.contains(&at.peek()) {
                        return no(at.line(), format!("{} behind the question", quoted(at.peek())));
                    }
                    return Ok(Condition { quantifier, claim, filter });
                }
                "" => return no(line, "no question: 'exists', '~exists' or 'forall' is wanted"),
                other => {
                    return no(
                        line,
                        format!("{} where 'exists', '~exists' or 'forall' is wanted", quoted(other)),
                    );
                }
            }
        }
    }

    fn locations(&mut self, at: &mut Cursor<'_>) -> Result<(), Unreadable> {
        at.expect("[")?;
        while !at.eat("]") {
            if at.is_done() {
                return no(at.line(), "'locations [' without its ']'");
            }
            if !at.eat(";") {
                self.item(at)?;
            }
        }
        Ok(())
    }

    fn either(&mut self, at: &mut Cursor<'_>) -> Result<Claim, Unreadable> {
        let (mut claim, mut links) = (self.both(at)?, 0);
        while at.eat("\\/") {
            at.enter()?;
            links += 1;
            claim = Claim::Or(Box::new(claim), Box::new(self.both(at)?));
        }
        at.leave(links);
        if at.eat("=>") {
            let then = self.either(at)?;
            claim = Claim::Or(Box::new(Claim::Not(Box::new(claim))), Box::new(then));
        }
        Ok(claim)
    }

    fn both(&mut self, at: &mut Cursor<'_>) -> Result<Claim, Unreadable> {
        let (mut claim, mut links) = (self.one(at)?, 0);
        while at.eat("/\\") {
            at.enter()?;
            links += 1;
            claim = Claim::And(Box::new(claim), Box::new(self.one(at)?));
        }
        at.leave(links);
        Ok(claim)
    }

    fn one(&mut self, at: &mut Cursor<'_>) -> Result<Claim, Unreadable> {
        at.enter()?;
        let claim = self.single(at)?;
        at.leave(1);
        Ok(claim)
    }

    fn single(&mut self, at: &mut Cursor<'_>) -> Result<Claim, Unreadable> {
        if at.eat("~") || at.eat("not") {
            return Ok(Claim::Not(Box::new(self.one(at)?)));
        }
        if at.eat("(") {
            let claim = self.either(at)?;
            at.expect(")")?;
            return Ok(claim);
        }
        match at.peek() {
            "true" => {
                at.take();
                return Ok(Claim::True);
            }
            "false" => {
                at.take();
                return Ok(Claim::Not(Box::new(Claim::True)));
            }
            _ => {}
        }
        let item = self.item(at)?;
        let differs = at.peek() == "!=";
        if !at.eat("=") && !at.eat("==") && !at.eat("!=") {
            return no(at.line(), format!("'=' is wanted where {} stands", quoted(at.peek())));
        }
        let claim = self.value(item, at)?;
        Ok(if differs { Claim::Not(Box::new(claim)) } else { claim })
    }

    fn value(&mut self, item: usize, at: &mut Cursor<'_>) -> Result<Claim, Unreadable> {
        let line = at.line();
        if let Some(thread) = thread_of(at) {
            let other = self.register_of(thread, at)?;
            return Ok(Claim::Same(item, other));
        }
        at.eat("&");
        let sign = if at.eat("-") { -1 } else { 1 };
        let text = at.take();
        if let Some(n) = number(text) {
            return Ok(Claim::Is(item, sign * n));
        }
        match self.words.iter().position(|w| w.name == text) {
            Some(word) if sign == 1 => Ok(Claim::Is(item, address(word))),
            _ => no(line, format!("{} is no value", quoted(text))),
        }
    }

    /// `1:r0`, `P1:r0`, `x`, `[x]`, `*x`: its place among the items.
    fn item(&mut self, at: &mut Cursor<'_>) -> Result<usize, Unreadable> {
        if let Some(thread) = thread_of(at) {
            return self.register_of(thread, at);
        }
        let line = at.line();
        let bracket = at.eat("[");
        at.eat("*");
        let name = at.take();
        if !is_name(name) {
            return no(line, format!("{} is neither a register nor a word", quoted(name)));
        }
        if bracket {
            at.expect("]")?;
        } else if at.peek() == "[" {
            return no(line, format!("an array: {name}[...]"));
        }
        let word = self.words.iter().position(|w| w.name == name).unwrap_or_else(|| {
            self.words.push(Word { name: name.into(), initial: 0 });
            self.words.len() - 1
        });
        Ok(self.add(Item::Word(word)))
    }

    fn register_of(&mut self, thread: usize, at: &mut Cursor<'_>) -> Result<usize, Unreadable> {
        let line = at.line();
        at.eat("%");
        let name = (self.register)(at.take());
        let Some(own) = self.threads.get_mut(thread) else {
            return no(line, format!("there is no thread {thread}"));
        };
        let register = own.register(&name);
        Ok(self.add(Item::Reg(thread, register)))
    }

    fn add(&mut self, item: Item) -> usize {
        self.items.iter().position(|i| *i == item).unwrap_or_else(|| {
            self.items.push(item);
            self.items.len() - 1
        })
    }
}

/// `1:` or `P1:`, taken.
fn thread_of(at: &mut Cursor<'_>) -> Option<usize> {
    let text = at.peek();
    let thread = text.strip_prefix('P').unwrap_or(text).parse().ok()?;
    (at.ahead(1) == ":").then(|| {
        at.take();
        at.take();
        thread
    })
}

/// What the block in braces says of the beginning.
#[derive(Debug, Default)]
pub(super) struct Beginning {
    pub(super) words: Vec<Word>,
    /// Of a thread and the name of its register.
    pub(super) registers: BTreeMap<(usize, String), Value>,
}

impl Beginning {
    /// The word of this name, made on first sight.
    pub(super) fn word(&mut self, name: &str) -> usize {
        self.words.iter().position(|w| w.name == name).unwrap_or_else(|| {
            self.words.push(Word { name: name.into(), initial: 0 });
            self.words.len() - 1
        })
    }

    /// Reads `{ x = 1; int y = 2; [z] = 0; 0:r1 = x; uint64_t 1:rax; }` up to the closing brace.
    pub(super) fn read(at: &mut Cursor<'_>) -> Result<Self, Unreadable> {
        let mut own = Self::default();
        at.expect("{")?;
        while !at.eat("}") {
            if at.eat(";") {
                continue;
            }
            if at.is_done() {
                return no(at.line(), "'{' without its '}'");
            }
            own.statement(at)?;
        }
        Ok(own)
    }

    fn statement(&mut self, at: &mut Cursor<'_>) -> Result<(), Unreadable> {
        let line = at.line();
        let (mut names, mut thread) = (Vec::new(), None);
        loop {
            if let Some(t) = thread_of(at) {
                thread = Some(t);
            }
            match at.peek() {
                "=" | ";" | "}" | "" => break,
                "*" | "[" | "]" | "%" => _ = at.take(),
                text if is_name(text) => {
                    names.push(at.take());
                    if at.peek() == "[" {
                        return no(line, format!("an array: {}[...]", names[names.len() - 1]));
                    }
                }
                other => return no(line, format!("{} in the first block", quoted(other))),
            }
        }
        let Some(name) = names.last() else {
            return no(line, format!("{} in the first block", quoted(at.peek())));
        };
        let value = if at.eat("=") { self.initial(at)? } else { 0 };
        match thread {
            Some(thread) => _ = self.registers.insert((thread, (*name).into()), value),
            None => {
                let word = self.word(name);
                self.words[word].initial = value;
            }
        }
        Ok(())
    }

    fn initial(&mut self, at: &mut Cursor<'_>) -> Result<Value, Unreadable> {
        let line = at.line();
        at.eat("&");
        if at.peek() == "(" {
            // A cast.
            while !at.eat(")") && !at.is_done() {
                at.take();
            }
        }
        let sign = if at.eat("-") { -1 } else { 1 };
        let text = at.take();
        if let Some(n) = number(text) {
            return Ok(sign * n);
        }
        if at.eat("(") {
            // ATOMIC_INIT(1)
            at.enter()?;
            let value = self.initial(at)?;
            at.leave(1);
            at.expect(")")?;
            return Ok(value);
        }
        if !is_name(text) {
            return no(line, format!("{} is no first value", quoted(text)));
        }
        Ok(address(self.word(text)))
    }
}
