//! C as herd7 reads it: C11 with its atomics, and the Linux kernel's C without RCU's grace periods.
//!
//! What the kernel's words become is said in [`crate::litmus`]. Loops, arrays and structures are refused by name.
use std::collections::BTreeSet;

use super::{
    condition::{Beginning, Questions},
    program::{Change, Dialect, Expr, Op, Step, Strength, Test, Thread, When, address},
    scan::{Cursor, Unreadable, is_name, no, number, quoted, tokens, without_comments},
};

/// Words of the kernel that C11 has not.
const KERNEL: [&str; 12] = [
    "READ_ONCE",
    "WRITE_ONCE",
    "smp_",
    "spin_lock",
    "rcu_",
    "xchg(",
    "atomic_t",
    "atomic_read",
    "atomic_set",
    "xchg_",
    "atomic_inc",
    "mutex_lock",
];
const C11: [&str; 4] = ["memory_order_", "atomic_int", "atomic_load", "atomic_store"];

/// Reads a test whose first line begins with `C`.
pub(super) fn read(name: &str, text: &str) -> Result<Test, Unreadable> {
    // A test of plain accesses alone is the kernel's if it states its verdict as the kernel's tests do.
    let says_kernel = text.contains("Result:");
    let text = without_comments(text, true);
    let has = |words: &[&str]| words.iter().any(|w| text.contains(w));
    let kernel = !has(&C11) && (has(&KERNEL) || says_kernel);
    let dialect = if kernel { Dialect::Kernel } else { Dialect::C11 };
    // Behind the first line: titles and notes of the generator, up to the brace.
    let after = text.find('\n').map_or(text.len(), |end| end + 1);
    let Some(brace) = unquoted(&text[after..], '{') else {
        return no(1, "no '{' of the first block");
    };
    let line = 1 + text[..after + brace].matches('\n').count();
    let all = tokens(&text[after + brace..], line);
    let mut at = Cursor::new(&all, text.matches('\n').count() + 1);
    let mut beginning = Beginning::read(&mut at)?;
    at.eat(";");
    let mut threads = Vec::new();
    while let Some(number) = at.peek().strip_prefix('P').and_then(|n| n.parse::<usize>().ok()) {
        if number != threads.len() {
            return no(at.line(), format!("thread {} is wanted where P{number} stands", threads.len()));
        }
        at.take();
        threads.push(process(&mut at, &mut beginning, dialect)?);
    }
    if threads.is_empty() {
        return no(at.line(), format!("thread P0 is wanted where {} stands", quoted(at.peek())));
    }
    for ((thread, name), value) in &beginning.registers {
        let Some(own) = threads.get_mut(*thread) else {
            return no(
                line,
                format!("the first block sets a register of thread {thread}, which is not there"),
            );
        };
        let reg = own.register(name);
        own.initial[reg] = *value;
    }
    let mut words = beginning.words;
    let mut questions =
        Questions { threads: &mut threads, words: &mut words, items: Vec::new(), register: str::to_string };
    let condition = questions.read(&mut at)?;
    let items = questions.items;
    Ok(Test { name: name.into(), dialect, threads, words, items, condition })
}

/// The first such character that is not in a quoted title.
pub(super) fn unquoted(text: &str, wanted: char) -> Option<usize> {
    let mut quoted = false;
    text.char_indices().find_map(|(i, c)| {
        quoted = (quoted != (c == '"')) && c != '\n';
        (c == wanted && !quoted).then_some(i)
    })
}

/// `(int *x, atomic_int* y) { ... }`
fn process(at: &mut Cursor<'_>, beginning: &mut Beginning, dialect: Dialect) -> Result<Thread, Unreadable> {
    at.expect("(")?;
    let (mut words, mut last) = (BTreeSet::new(), "");
    loop {
        let line = at.line();
        match at.take() {
            "," | ")" if is_name(last) => {
                beginning.word(last);
                words.insert(last.to_string());
                if at.peek() == "{" {
                    break;
                }
            }
            ")" if last.is_empty() => break,
            "*" => {}
            text if is_name(text) => last = text,
            other => return no(line, format!("{} among the parameters", quoted(other))),
        }
    }
    let mut body =
        Body { at, beginning, words, thread: Thread::default(), kernel: dialect == Dialect::Kernel };
    body.block()?;
    Ok(body.thread)
}

struct Body<'a, 'b> {
    at: &'a mut Cursor<'b>,
    beginning: &'a mut Beginning,
    /// The parameters: pointers to shared words of the same name.
    words: BTreeSet<String>,
    thread: Thread,
    kernel: bool,
}

/// An operand that a call may write back to.
enum Expected {
    Register(usize),
    Word(Expr),
}

impl Body<'_, '_> {
    fn add(&mut self, step: Step) {
        self.thread.steps.push(step);
    }

    /// A register that the file cannot name.
    fn fresh(&mut self) -> usize {
        let name = format!(" {}", self.thread.registers.len());
        self.thread.register(&name)
    }

    fn block(&mut self) -> Result<(), Unreadable> {
        self.at.expect("{")?;
        while !self.at.eat("}") {
            if self.at.is_done() {
                return no(self.at.line(), "'{' without its '}'");
            }
            self.statement()?;
        }
        Ok(())
    }

    fn statement(&mut self) -> Result<(), Unreadable> {
        self.at.enter()?;
        self.one_statement()?;
        self.at.leave(1);
        Ok(())
    }

    fn one_statement(&mut self) -> Result<(), Unreadable> {
        let line = self.at.line();
        match self.at.peek() {
            ";" => _ = self.at.take(),
            "{" => self.block()?,
            "if" => self.branch()?,
            loop_word @ ("while" | "for" | "do" | "goto" | "switch" | "return" | "break" | "continue") => {
                return no(
                    line,
                    format!("'{loop_word}' is not read: a test here is a few steps without loops"),
                );
            }
            word if is_type(word) => self.declaration()?,
            "*" => {
                self.at.take();
                let to = self.unary()?;
                self.at.expect("=")?;
                let value = self.expression()?;
                self.add(Step::Store { at: to, value, order: Strength::Plain });
                self.at.expect(";")?;
            }
            word if is_name(word) && self.at.ahead(1) != "(" => self.assignment()?,
            _ => {
                self.expression()?;
                self.at.expect(";")?;
            }
        }
        Ok(())
    }

    fn branch(&mut self) -> Result<(), Unreadable> {
        self.at.take();
        self.at.expect("(")?;
        let value = self.expression()?;
        self.at.expect(")")?;
        let unless = self.thread.steps.len();
        self.add(Step::Unless { value, to: 0 });
        self.statement()?;
        if self.at.eat("else") {
            let over = self.thread.steps.len();
            self.add(Step::Goto(0));
            self.lead(unless);
            self.statement()?;
            self.lead(over);
        } else {
            self.lead(unless);
        }
        Ok(())
    }

    /// Lets the jump at this place lead to here.
    fn lead(&mut self, jump: usize) {
        let here = self.thread.steps.len();
        match &mut self.thread.steps[jump] {
            Step::Unless { to, .. } | Step::Goto(to) => *to = here,
            _ => {}
        }
    }

    fn declaration(&mut self) -> Result<(), Unreadable> {
        self.skip_type();
        loop {
            while self.at.eat("*") || self.at.eat("const") || self.at.eat("volatile") {}
            let line = self.at.line();
            let name = self.at.take();
            if !is_name(name) {
                return no(line, format!("{} where a name is declared", quoted(name)));
            }
            let reg = self.thread.register(name);
            if self.at.peek() == "[" {
                return no(line, format!("an array: {name}[...]"));
            }
            if self.at.eat("=") {
                let value = self.expression()?;
                self.add(Step::Let { to: reg, value });
            }
            if !self.at.eat(",") {
                return self.at.expect(";");
            }
        }
    }

    fn skip_type(&mut self) {
        while is_type(self.at.peek()) {
            if self.at.take() == "struct" {
                self.at.take();
            }
        }
    }

    fn assignment(&mut self) -> Result<(), Unreadable> {
        let line = self.at.line();
        let name = self.at.take();
        let sign = self.at.take();
        if sign == "[" {
            return no(line, format!("an array: {name}[...]"));
        }
        if sign == "->" || sign == "." {
            return no(line, format!("a structure: {name}{sign}"));
        }
        let is_word = self.words.contains(name) && !self.thread.registers.iter().any(|r| r == name);
        if is_word {
            return no(line, format!("'{name}' is a pointer to a shared word; '*{name}' writes the word"));
        }
        let op = match sign {
            "=" => None,
            "+=" | "++" => Some(Op::Add),
            "-=" | "--" => Some(Op::Sub),
            "&=" => Some(Op::And),
            "|=" => Some(Op::Or),
            "^=" => Some(Op::Xor),
            other => return no(line, format!("{} behind '{name}'", quoted(other))),
        };
        let value = if matches!(sign, "++" | "--") { Expr::Const(1) } else { self.expression()? };
        let to = self.thread.register(name);
        let value = op.map_or(value.clone(), |op| Expr::two(op, Expr::Reg(to), value));
        self.add(Step::Let { to, value });
        self.at.expect(";")
    }

    fn expression(&mut self) -> Result<Expr, Unreadable> {
        self.binary(0)
    }

    /// Climbs the precedences of C; `&&` and `||` skip steps of their second side as C does.
    fn binary(&mut self, least: u8) -> Result<Expr, Unreadable> {
        let (mut left, mut links) = (self.unary()?, 0);
        while let Some((op, rank)) = operator(self.at.peek()) {
            if rank < least {
                break;
            }
            self.at.take();
            self.at.enter()?;
            links += 1;
            let lazy = matches!(op, Op::Both | Op::Either);
            let jump = self.thread.steps.len();
            if lazy {
                let go = if op == Op::Both { left.clone() } else { Expr::Not(Box::new(left.clone())) };
                self.add(Step::Unless { value: go, to: 0 });
            }
            let right = self.binary(rank + 1)?;
            if lazy && self.thread.steps.len() > jump + 1 {
                let result = self.fresh();
                let first = Step::Let { to: result, value: Expr::two(Op::Ne, left, Expr::Const(0)) };
                self.insert(jump, first);
                self.add(Step::Let { to: result, value: Expr::two(Op::Ne, right, Expr::Const(0)) });
                self.lead(jump + 1);
                left = Expr::Reg(result);
            } else {
                self.thread.steps.truncate(if lazy { jump } else { self.thread.steps.len() });
                left = Expr::two(op, left, right);
            }
        }
        self.at.leave(links);
        if self.at.peek() == "?" {
            return no(self.at.line(), "'?' is not read: write 'if'");
        }
        Ok(left)
    }

    /// Puts a step in, and moves the jumps behind it.
    fn insert(&mut self, place: usize, step: Step) {
        self.thread.steps.insert(place, step);
        for later in &mut self.thread.steps[place + 1..] {
            match later {
                Step::Unless { to, .. } | Step::Goto(to) if *to > place => *to += 1,
                _ => {}
            }
        }
    }

    fn unary(&mut self) -> Result<Expr, Unreadable> {
        self.at.enter()?;
        let value = self.operand()?;
        self.at.leave(1);
        Ok(value)
    }

    fn operand(&mut self) -> Result<Expr, Unreadable> {
        let line = self.at.line();
        match self.at.take() {
            "-" => Ok(Expr::two(Op::Sub, Expr::Const(0), self.unary()?)),
            "+" => self.unary(),
            "!" => Ok(Expr::Not(Box::new(self.unary()?))),
            "~" => Ok(Expr::Flip(Box::new(self.unary()?))),
            "&" => {
                self.at.eat("*");
                self.unary()
            }
            "*" => {
                let from = self.unary()?;
                Ok(self.load(from, Strength::Plain))
            }
            "(" if is_type(self.at.peek()) => {
                self.skip_type();
                while self.at.eat("*") {}
                self.at.expect(")")?;
                self.unary()
            }
            "(" => {
                let inner = self.expression()?;
                self.at.expect(")")?;
                Ok(inner)
            }
            text => {
                if let Some(n) = number(text) {
                    return Ok(Expr::Const(n));
                }
                if !is_name(text) {
                    return no(line, format!("{} where a value is wanted", quoted(text)));
                }
                match self.at.peek() {
                    "(" => {
                        self.at.take();
                        let result = self.call(text, line)?;
                        self.at.expect(")")?;
                        Ok(result)
                    }
                    "[" => no(line, format!("an array: {text}[...]")),
                    "->" | "." => no(line, format!("a structure: {text}{}", self.at.peek())),
                    _ => self.named(text, line),
                }
            }
        }
    }

    fn named(&mut self, name: &str, line: usize) -> Result<Expr, Unreadable> {
        if let Some(reg) = self.thread.registers.iter().position(|r| r == name) {
            return Ok(Expr::Reg(reg));
        }
        if self.words.contains(name) {
            return Ok(Expr::Const(address(self.beginning.word(name))));
        }
        match name {
            "NULL" | "false" => Ok(Expr::Const(0)),
            "true" => Ok(Expr::Const(1)),
            _ if self.beginning.registers.keys().any(|(_, r)| r == name) => {
                Ok(Expr::Reg(self.thread.register(name)))
            }
            _ => no(line, format!("the name '{name}' is neither a parameter nor a variable")),
        }
    }

    fn load(&mut self, at: Expr, order: Strength) -> Expr {
        let to = self.fresh();
        self.add(Step::Load { to, at, order });
        Expr::Reg(to)
    }

    /// `*x`: the address of what is meant.
    fn lvalue(&mut self) -> Result<Expr, Unreadable> {
        let line = self.at.line();
        if self.at.eat("*") {
            return self.unary();
        }
        no(line, format!("'*' is wanted where {} stands", quoted(self.at.peek())))
    }

    fn next(&mut self) -> Result<Expr, Unreadable> {
        self.at.expect(",")?;
        self.expression()
    }

    /// What was read, and whether it wrote.
    fn change(&mut self, at: Expr, change: Change<Expr>) -> (Expr, Expr) {
        let (old, wrote) = (self.fresh(), self.fresh());
        self.add(Step::Change { old, wrote, at, change });
        (Expr::Reg(old), Expr::Reg(wrote))
    }

    fn call(&mut self, name: &str, line: usize) -> Result<Expr, Unreadable> {
        let found = if self.kernel { self.kernel_call(name)? } else { self.c11_call(name)? };
        match found {
            Some(result) => Ok(result),
            None => no(line, refused(name)),
        }
    }

    fn order(&mut self) -> Result<Strength, Unreadable> {
        let line = self.at.line();
        let text = self.at.take();
        match text.strip_prefix("memory_order_").unwrap_or_default() {
            "relaxed" => Ok(Strength::Relaxed),
            // As every compiler does.
            "acquire" | "consume" => Ok(Strength::Acquire),
            "release" => Ok(Strength::Release),
            "acq_rel" => Ok(Strength::AcqRel),
            "seq_cst" => Ok(Strength::SeqCst),
            _ => no(line, format!("{} is no memory order", quoted(text))),
        }
    }

    /// The order of a call that names it or, without `_explicit`, is SeqCst.
    fn given(&mut self, explicit: bool) -> Result<Strength, Unreadable> {
        if !explicit {
            return Ok(Strength::SeqCst);
        }
        self.at.expect(",")?;
        self.order()
    }

    fn c11_call(&mut self, name: &str) -> Result<Option<Expr>, Unreadable> {
        let explicit = name.ends_with("_explicit");
        let name = name.trim_end_matches("_explicit");
        let op = match name {
            "atomic_thread_fence" => {
                let order = self.order()?;
                self.add(Step::Fence(order));
                return Ok(Some(Expr::Const(0)));
            }
            "atomic_load" => {
                let from = self.expression()?;
                let order = self.given(explicit)?;
                return Ok(Some(self.load(from, order)));
            }
            "atomic_store" | "atomic_init" => {
                let at = self.expression()?;
                let value = self.next()?;
                let order = if name == "atomic_init" { Strength::Plain } else { self.given(explicit)? };
                self.add(Step::Store { at, value, order });
                return Ok(Some(Expr::Const(0)));
            }
            "atomic_compare_exchange_strong" => return self.compare_exchange(explicit, false).map(Some),
            "atomic_compare_exchange_weak" => return self.compare_exchange(explicit, true).map(Some),
            "atomic_exchange" => None,
            "atomic_fetch_add" => Some(Op::Add),
            "atomic_fetch_sub" => Some(Op::Sub),
            "atomic_fetch_and" => Some(Op::And),
            "atomic_fetch_or" => Some(Op::Or),
            "atomic_fetch_xor" => Some(Op::Xor),
            _ => return Ok(None),
        };
        let at = self.expression()?;
        let operand = self.next()?;
        let order = self.given(explicit)?;
        let change = Change { when: When::Always, op, operand, order, failure: order, weak: false };
        Ok(Some(self.change(at, change).0))
    }

    fn compare_exchange(&mut self, explicit: bool, weak: bool) -> Result<Expr, Unreadable> {
        let at = self.expression()?;
        self.at.expect(",")?;
        let local = (self.at.peek() == "&").then(|| self.at.ahead(1));
        let local = local.and_then(|name| self.thread.registers.iter().position(|r| r == name));
        let expected = self.expression()?;
        let place = local.map_or(Expected::Word(expected.clone()), Expected::Register);
        let wanted = match &place {
            Expected::Register(reg) => Expr::Reg(*reg),
            Expected::Word(at) => self.load(at.clone(), Strength::Plain),
        };
        let operand = self.next()?;
        let order = self.given(explicit)?;
        let failure = match self.given(explicit)? {
            Strength::Release => Strength::Relaxed,
            Strength::AcqRel => Strength::Acquire,
            other => other,
        };
        let when = When::Equal(wanted);
        let (old, wrote) = self.change(at, Change { when, op: None, operand, order, failure, weak });
        // A failure leaves what was read where the expected value stood.
        let unless = self.thread.steps.len();
        self.add(Step::Unless { value: Expr::Not(Box::new(wrote.clone())), to: 0 });
        self.add(match place {
            Expected::Register(to) => Step::Let { to, value: old },
            Expected::Word(at) => Step::Store { at, value: old, order: Strength::Plain },
        });
        self.lead(unless);
        Ok(wrote)
    }

    fn kernel_call(&mut self, name: &str) -> Result<Option<Expr>, Unreadable> {
        let none = Ok(Some(Expr::Const(0)));
        match name {
            "READ_ONCE" => {
                let from = self.lvalue()?;
                return Ok(Some(self.load(from, Strength::Relaxed)));
            }
            "rcu_dereference" | "lockless_dereference" => {
                let from = self.lvalue()?;
                return Ok(Some(self.load(from, Strength::Acquire)));
            }
            "smp_load_acquire" | "atomic_read_acquire" => {
                let from = self.expression()?;
                return Ok(Some(self.load(from, Strength::Acquire)));
            }
            "atomic_read" | "spin_is_locked" => {
                let from = self.expression()?;
                return Ok(Some(self.load(from, Strength::Relaxed)));
            }
            "WRITE_ONCE" | "rcu_assign_pointer" | "smp_store_mb" => {
                let at = if self.at.peek() == "*" { self.lvalue()? } else { self.expression()? };
                let value = self.next()?;
                let order = if name == "rcu_assign_pointer" { Strength::Release } else { Strength::Relaxed };
                self.add(Step::Store { at, value, order });
                if name == "smp_store_mb" {
                    self.add(Step::Fence(Strength::SeqCst));
                }
                return none;
            }
            "smp_store_release" | "atomic_set" | "atomic_set_release" => {
                let at = self.expression()?;
                let value = self.next()?;
                let order = if name == "atomic_set" { Strength::Relaxed } else { Strength::Release };
                self.add(Step::Store { at, value, order });
                return none;
            }
            "smp_mb"
            | "smp_mb__before_atomic"
            | "smp_mb__after_atomic"
            | "smp_mb__before_spinlock"
            | "smp_mb__after_spinlock"
            | "smp_mb__after_unlock_lock" => {
                self.add(Step::Fence(Strength::SeqCst));
                return none;
            }
            "smp_rmb" => {
                self.add(Step::Fence(Strength::Acquire));
                return none;
            }
            "smp_wmb" => {
                self.add(Step::Fence(Strength::Release));
                return none;
            }
            "barrier" | "rcu_read_lock" | "rcu_read_unlock" => return none,
            "spin_lock" | "mutex_lock" => {
                let at = self.expression()?;
                let when = When::Await(Expr::Const(0));
                let (order, failure) = (Strength::Acquire, Strength::Relaxed);
                self.change(
                    at,
                    Change { when, op: None, operand: Expr::Const(1), order, failure, weak: false },
                );
                return none;
            }
            "spin_unlock" | "mutex_unlock" => {
                let at = self.expression()?;
                self.add(Step::Store { at, value: Expr::Const(0), order: Strength::Release });
                return none;
            }
            "spin_trylock" => {
                let at = self.expression()?;
                let when = When::Equal(Expr::Const(0));
                let (order, failure) = (Strength::Acquire, Strength::Relaxed);
                let change = Change { when, op: None, operand: Expr::Const(1), order, failure, weak: false };
                return Ok(Some(self.change(at, change).1));
            }
            _ => {}
        }
        self.kernel_change(name)
    }

    /// The kernel's read-modify-writes. One that returns a value and has no suffix is fully ordered: a fence before it and behind it.
    fn kernel_change(&mut self, name: &str) -> Result<Option<Expr>, Unreadable> {
        let (stem, order) = [
            ("_relaxed", Strength::Relaxed),
            ("_acquire", Strength::Acquire),
            ("_release", Strength::Release),
        ]
        .iter()
        .find_map(|(suffix, order)| name.strip_suffix(suffix).map(|stem| (stem, Some(*order))))
        .unwrap_or((name, None));
        let stem = stem.strip_prefix("atomic_").unwrap_or(stem);
        let op = |word: &str| match word {
            "add" | "inc" => Some(Op::Add),
            "sub" | "dec" => Some(Op::Sub),
            "and" => Some(Op::And),
            "or" => Some(Op::Or),
            "xor" => Some(Op::Xor),
            _ => None,
        };
        let plain = stem
            .strip_prefix("fetch_")
            .or_else(|| stem.strip_suffix("_return"))
            .or_else(|| stem.strip_suffix("_and_test"))
            .unwrap_or(stem);
        let (mut when, mut operand, mut does) = (When::Always, Expr::Const(1), op(plain));
        let at;
        if stem == "add_unless" || stem == "inc_not_zero" {
            at = self.expression()?;
            let (by, unless) = if stem == "add_unless" {
                (self.next()?, self.next()?)
            } else {
                (Expr::Const(1), Expr::Const(0))
            };
            (operand, does, when) = (by, Some(Op::Add), When::Differs(unless));
        } else if stem == "xchg" {
            at = self.expression()?;
            operand = self.next()?;
        } else if stem == "cmpxchg" {
            at = self.expression()?;
            when = When::Equal(self.next()?);
            operand = self.next()?;
        } else if does.is_some() && name.starts_with("atomic_") {
            if !matches!(plain, "inc" | "dec") {
                operand = self.expression()?;
                self.at.expect(",")?;
            }
            at = self.expression()?;
        } else {
            return Ok(None);
        }
        let returns = plain != stem || does.is_none() || matches!(when, When::Differs(_));
        let full = returns && order.is_none();
        let order = order.unwrap_or(if returns { Strength::SeqCst } else { Strength::Relaxed });
        let failure = if full { Strength::SeqCst } else { Strength::Relaxed };
        if full {
            self.add(Step::Fence(Strength::SeqCst));
        }
        let unconditional = Change { when, op: does, operand: operand.clone(), order, failure, weak: false };
        let (old, wrote) = self.change(at, unconditional);
        if full {
            self.add(Step::Fence(Strength::SeqCst));
        }
        let new = does.map(|op| Expr::two(op, old.clone(), operand));
        Ok(Some(match new {
            Some(new) if stem.ends_with("_return") => new,
            Some(new) if stem.ends_with("_and_test") => Expr::Not(Box::new(new)),
            _ if stem == "add_unless" || stem == "inc_not_zero" => wrote,
            _ => old,
        }))
    }
}

fn refused(name: &str) -> String {
    match name {
        "synchronize_rcu" | "synchronize_rcu_expedited" | "call_rcu" | "rcu_barrier" => {
            format!("{name}(): RCU's grace periods are not read")
        }
        _ if name.contains("srcu") => format!("{name}(): RCU's grace periods are not read"),
        _ => format!("the call {name}() is not known"),
    }
}

fn is_type(word: &str) -> bool {
    const TYPES: [&str; 18] = [
        "int",
        "long",
        "short",
        "char",
        "unsigned",
        "signed",
        "volatile",
        "const",
        "void",
        "bool",
        "_Bool",
        "struct",
        "atomic_int",
        "atomic_long",
        "u8",
        "u32",
        "u64",
        "__unused",
    ];
    TYPES.contains(&word) || (is_name(word) && word.ends_with("_t") && word.len() > 2)
}

/// An operator and its rank.
fn operator(sign: &str) -> Option<(Op, u8)> {
    Some(match sign {
        "||" => (Op::Either, 1),
        "&&" => (Op::Both, 2),
        "|" => (Op::Or, 3),
        "^" => (Op::Xor, 4),
        "&" => (Op::And, 5),
        "==" => (Op::Eq, 6),
        "!=" => (Op::Ne, 6),
        "<" => (Op::Lt, 7),
        "<=" => (Op::Le, 7),
        ">" => (Op::Gt, 7),
        ">=" => (Op::Ge, 7),
        "<<" => (Op::Shl, 8),
        ">>" => (Op::Shr, 8),
        "+" => (Op::Add, 9),
        "-" => (Op::Sub, 9),
        "*" => (Op::Mul, 10),
        "/" => (Op::Div, 10),
        "%" => (Op::Rem, 10),
        _ => return None,
    })
}
