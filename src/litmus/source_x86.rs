//! x86 as herd7 reads it: a column for each thread, in Intel's order of operands (`X86`) or AT&T's (`X86_64`).
use super::{
    condition::{Beginning, Questions},
    program::{Change, Dialect, Expr, Op, Step, Strength, Test, Thread, When, address},
    scan::{Cursor, Unreadable, is_name, no, number, quoted, tokens, without_comments},
    source_c::unquoted,
};

/// Reads a test whose first line begins with `X86` (Intel) or `X86_64` (AT&T).
pub(super) fn read(name: &str, text: &str, att: bool) -> Result<Test, Unreadable> {
    let text = without_comments(text, false);
    let register: fn(&str) -> String = if att { wide } else { |r| r.to_uppercase() };
    let after = text.find('\n').map_or(text.len(), |end| end + 1);
    let Some(open) = unquoted(&text[after..], '{').map(|i| after + i) else {
        return no(1, "no '{' of the first block");
    };
    let line_of = |at: usize| 1 + text[..at].matches('\n').count();
    let Some(close) = text[open..].find('}').map(|i| open + i + 1) else {
        return no(line_of(open), "'{' without its '}'");
    };
    let first = tokens(&text[open..close], line_of(open));
    let mut beginning = Beginning::read(&mut Cursor::new(&first, line_of(close)))?;
    let mut threads: Vec<Thread> = Vec::new();
    let (mut row_start, mut end) = (close, text.len());
    for (row, line) in text[close..].split_inclusive('\n').scan(close, |at, l| {
        let start = *at;
        *at += l.len();
        Some((start, l))
    }) {
        let (trimmed, number) = (line.trim().trim_start_matches(';').trim(), line_of(row));
        if asks(trimmed) {
            end = row;
            break;
        }
        row_start = row + line.len();
        if trimmed.is_empty() {
            continue;
        }
        let Some((cells, behind)) = trimmed.split_once(';') else {
            return no(number, format!("{}: a row without its ';'", quoted(trimmed)));
        };
        if !behind.trim().is_empty() {
            return no(number, format!("{} behind the row", quoted(behind.trim())));
        }
        let cells: Vec<&str> = cells.split('|').map(str::trim).collect();
        if threads.is_empty() {
            for (i, cell) in cells.iter().enumerate() {
                if cell.strip_prefix('P').and_then(|n| n.parse().ok()) != Some(i) {
                    return no(number, format!("P{i} is wanted where {} stands", quoted(cell)));
                }
            }
            threads = vec![Thread::default(); cells.len()];
            continue;
        }
        for (i, cell) in cells.iter().enumerate().filter(|(_, cell)| !cell.is_empty()) {
            let Some(thread) = threads.get_mut(i) else {
                return no(number, format!("{} stands right of the last thread", quoted(cell)));
            };
            Line { thread, beginning: &mut beginning, att, register, number }.read(cell)?;
        }
    }
    if threads.is_empty() {
        return no(line_of(row_start.min(text.len())), "no threads");
    }
    for ((thread, name), value) in &beginning.registers {
        let Some(own) = threads.get_mut(*thread) else {
            return no(
                line_of(open),
                format!("the first block sets a register of thread {thread}, which is not there"),
            );
        };
        let reg = own.register(&register(name));
        own.initial[reg] = *value;
    }
    let asked = tokens(&text[end..], line_of(end));
    let mut words = beginning.words;
    let mut questions = Questions { threads: &mut threads, words: &mut words, items: Vec::new(), register };
    let condition = questions.read(&mut Cursor::new(&asked, line_of(text.len())))?;
    let items = questions.items;
    Ok(Test { name: name.into(), dialect: Dialect::X86, threads, words, items, condition })
}

/// Whether the question begins here.
fn asks(line: &str) -> bool {
    let word =
        |w: &str| line.strip_prefix(w).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()));
    super::condition::STARTS.iter().any(|w| word(w))
}

/// `%eax` and `%rax` are one register.
fn wide(name: &str) -> String {
    let name = name.to_lowercase();
    if name.len() == 3 && name.starts_with('e') { format!("r{}", &name[1..]) } else { name }
}

struct Line<'a> {
    thread: &'a mut Thread,
    beginning: &'a mut Beginning,
    att: bool,
    register: fn(&str) -> String,
    number: usize,
}

enum Operand {
    Memory(Expr),
    Register(usize),
    Number(i64),
}

impl Operand {
    /// Its value, if it is none in memory.
    fn value(&self) -> Option<Expr> {
        match self {
            Self::Memory(_) => None,
            Self::Register(r) => Some(Expr::Reg(*r)),
            Self::Number(n) => Some(Expr::Const(*n)),
        }
    }
}

impl Line<'_> {
    fn read(&mut self, cell: &str) -> Result<(), Unreadable> {
        let whole = cell.to_lowercase();
        let (lock, rest) = match whole.strip_prefix("lock") {
            Some(rest) => (true, cell[cell.len() - rest.len()..].trim_start_matches(';').trim()),
            None => (false, cell),
        };
        let (word, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let mut operands = Vec::new();
        for part in rest.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            operands.push(self.operand(part)?);
        }
        if !self.att && operands.len() == 2 {
            operands.swap(0, 1);
        }
        let lower = word.to_lowercase();
        let stem = if lower.len() > 3 { lower.trim_end_matches(['l', 'q', 'w', 'b']) } else { &lower };
        let done = match (stem, operands.as_slice()) {
            ("mfence", []) => {
                self.thread.steps.push(Step::Fence(Strength::SeqCst));
                true
            }
            // On ordinary memory they order nothing that x86 would reorder.
            ("lfence" | "sfence", []) => true,
            ("mov", [from, to]) => self.moves(from, to),
            ("xchg", [a, b]) => self.swaps(a, b),
            ("xadd", [Operand::Register(r), Operand::Memory(at)]) if lock => {
                let old = self.change(at.clone(), Some(Op::Add), Expr::Reg(*r));
                self.thread.steps.push(Step::Let { to: *r, value: Expr::Reg(old) });
                true
            }
            ("inc" | "dec", [to]) => self.adds(stem == "inc", lock, to, Expr::Const(1)),
            ("add" | "sub", [by, to]) => match by.value() {
                Some(by) => self.adds(stem == "add", lock, to, by),
                None => false,
            },
            _ => false,
        };
        if done { Ok(()) } else { no(self.number, format!("the instruction {} is not read", quoted(cell))) }
    }

    fn moves(&mut self, from: &Operand, to: &Operand) -> bool {
        let order = Strength::Relaxed;
        let step = match (from, to) {
            (Operand::Memory(at), Operand::Register(to)) => Step::Load { to: *to, at: at.clone(), order },
            (from, Operand::Memory(at)) => match from.value() {
                Some(value) => Step::Store { at: at.clone(), value, order },
                None => return false,
            },
            (from, Operand::Register(to)) => match from.value() {
                Some(value) => Step::Let { to: *to, value },
                None => return false,
            },
            (_, Operand::Number(_)) => return false,
        };
        self.thread.steps.push(step);
        true
    }

    fn swaps(&mut self, a: &Operand, b: &Operand) -> bool {
        match (a, b) {
            (Operand::Memory(at), Operand::Register(r)) | (Operand::Register(r), Operand::Memory(at)) => {
                let old = self.change(at.clone(), None, Expr::Reg(*r));
                self.thread.steps.push(Step::Let { to: *r, value: Expr::Reg(old) });
                true
            }
            _ => false,
        }
    }

    fn adds(&mut self, up: bool, lock: bool, to: &Operand, by: Expr) -> bool {
        let op = if up { Op::Add } else { Op::Sub };
        match to {
            Operand::Register(r) => {
                let value = Expr::two(op, Expr::Reg(*r), by);
                self.thread.steps.push(Step::Let { to: *r, value });
                true
            }
            Operand::Memory(at) if lock => {
                self.change(at.clone(), Some(op), by);
                true
            }
            // Without the prefix it is a load and a store.
            Operand::Memory(at) => {
                let to = self.thread.register(" 0");
                let order = Strength::Relaxed;
                self.thread.steps.push(Step::Load { to, at: at.clone(), order });
                let value = Expr::two(op, Expr::Reg(to), by);
                self.thread.steps.push(Step::Store { at: at.clone(), value, order });
                true
            }
            Operand::Number(_) => false,
        }
    }

    fn change(&mut self, at: Expr, op: Option<Op>, operand: Expr) -> usize {
        let (old, wrote) = (self.thread.register(" old"), self.thread.register(" wrote"));
        let (order, failure) = (Strength::SeqCst, Strength::SeqCst);
        let change = Change { when: When::Always, op, operand, order, failure, weak: false };
        self.thread.steps.push(Step::Change { old, wrote, at, change });
        old
    }

    /// `[x]`, `(x)`, `x(%rip)`, `[EAX]`, `%rax`, `EAX`, `$1`, `1`, `$x`.
    fn operand(&mut self, text: &str) -> Result<Operand, Unreadable> {
        let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
        let inner = inner.or_else(|| text.strip_prefix('(').and_then(|t| t.strip_suffix(')')));
        let inner = inner.or_else(|| text.strip_suffix("(%rip)")).map(str::trim);
        if let Some(name) = inner {
            let plain = name.trim_start_matches('%');
            if is_register(plain) {
                return Ok(Operand::Memory(Expr::Reg(self.thread.register(&(self.register)(plain)))));
            }
            if !is_name(name) || name.contains(|c: char| !c.is_alphanumeric() && c != '_') {
                return no(self.number, format!("the address {} is not read", quoted(text)));
            }
            return Ok(Operand::Memory(Expr::Const(address(self.beginning.word(name)))));
        }
        let bare = text.trim_start_matches('$');
        let (sign, digits) = bare.strip_prefix('-').map_or((1, bare), |rest| (-1, rest));
        if let Some(n) = number(digits) {
            return Ok(Operand::Number(sign * n));
        }
        let plain = text.trim_start_matches('%');
        if is_register(plain) {
            return Ok(Operand::Register(self.thread.register(&(self.register)(plain))));
        }
        if text.starts_with('$') && is_name(bare) {
            return Ok(Operand::Number(address(self.beginning.word(bare))));
        }
        no(self.number, format!("the operand {} is not read", quoted(text)))
    }
}

fn is_register(name: &str) -> bool {
    let name = name.to_lowercase();
    let stem = name.strip_prefix(['e', 'r']).unwrap_or_default();
    let numbered = stem.trim_end_matches('d');
    matches!(stem, "ax" | "bx" | "cx" | "dx" | "si" | "di" | "bp" | "sp")
        || (name.starts_with('r') && matches!(numbered, "8" | "9" | "10" | "11" | "12" | "13" | "14" | "15"))
}
