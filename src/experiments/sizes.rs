//! What decides the size of a future: a catalogue of rules, each a small async fn and the size it was known to have.
//!
//! The language promises none of these sizes. So a known size is keyed by the version of rustc that gave it, and a size that differs is a
//! rule that *changed*, which is worth knowing, and not a failure.
//!
//! # Source
//! rust#62958 (arguments are stored twice), #59087, #108906; rustc's own tests in `tests/ui/async-await/future-sizes`.
use std::{future::Future, pin::Pin};

use crate::{lab::Contender, machine, structures::task::machine::turn};

/// One rule.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Short, `snake_case`.
    pub name: &'static str,
    /// `size_of_val` of the future, by this compiler.
    pub bytes: fn() -> usize,
    /// Minor versions of rustc 1.x, oldest first, from which on the size was known to be this, on 64-bit targets.
    pub known: &'static [(u32, usize)],
}

impl Rule {
    /// The size that it has by the newest entry that is not newer than rustc `1.<minor>`; by the oldest entry of all, if all are newer.
    ///
    /// # Panics
    /// If the rule has no entry.
    pub fn known_bytes(&self, minor: u32) -> usize {
        let entries = self.known;
        entries.iter().rev().find(|(from, _)| *from <= minor).or(entries.first()).expect("a rule is known").1
    }
}

/// The `minor` of the rustc `1.<minor>` that compiled this; `None` if it does not say so.
pub fn rustc_minor() -> Option<u32> {
    minor_of(machine::built::facts().get("rustc")?)
}

/// The `minor` in `rustc 1.<minor>.0 (...)`.
pub fn minor_of(rustc: &str) -> Option<u32> {
    rustc.strip_prefix("rustc 1.")?.split('.').next()?.parse().ok()
}

/// With a destructor: else `drop` would do nothing, and the rules about dropping would be no rules.
struct Buffer([u8; 1024]);

impl Drop for Buffer {
    fn drop(&mut self) {
        std::hint::black_box(&self.0);
    }
}

fn buffer() -> Buffer {
    Buffer(std::hint::black_box([1; 1024]))
}

fn size<F>(future: F) -> usize {
    size_of_val(&future)
}

async fn one_await() {
    turn().await;
}

/// Holds `N` bytes across its await.
pub async fn hold<const N: usize>() -> u8 {
    let held = std::hint::black_box([1; N]);
    turn().await;
    held[N - 1]
}

async fn in_block() {
    {
        let held = buffer();
        std::hint::black_box(&held);
    }
    turn().await;
}

async fn dropped_untouched() {
    let held = buffer();
    drop(held);
    turn().await;
}

async fn dropped_borrowed() {
    let held = buffer();
    std::hint::black_box(&held);
    drop(held);
    turn().await;
}

async fn argument(given: Buffer) -> u8 {
    turn().await;
    given.0[0]
}

async fn argument_before(given: Buffer) -> u8 {
    let first = given.0[0];
    turn().await;
    first
}

async fn argument_borrowed(given: &Buffer) -> u8 {
    turn().await;
    given.0[0]
}

async fn forwarded(given: Buffer) -> u8 {
    argument(given).await
}

async fn forwarded_twice(given: Buffer) -> u8 {
    forwarded(given).await
}

fn forwarded_plainly(given: Buffer) -> impl Future<Output = u8> {
    argument(given)
}

async fn nested() -> u8 {
    hold::<1024>().await
}

async fn nested_twice() -> u8 {
    nested().await
}

async fn one_after_another() -> u8 {
    hold::<1024>().await + hold::<1024>().await + hold::<1024>().await
}

async fn two_together() -> u8 {
    let (a, b) = (buffer(), buffer());
    turn().await;
    a.0[0] + b.0[0]
}

async fn two_in_blocks() -> u8 {
    let first = {
        let held = buffer();
        turn().await;
        held.0[0]
    };
    let held = buffer();
    turn().await;
    first + held.0[0]
}

async fn cold_branch(cold: bool) -> u8 {
    if cold { hold::<4096>().await } else { 0 }
}

async fn cold_branch_boxed(cold: bool) -> u8 {
    if cold { Box::pin(hold::<4096>()).await } else { 0 }
}

async fn wrapped<F: Future>(inner: F) -> F::Output {
    inner.await
}

async fn joined() -> (u8, u8) {
    tokio::join!(hold::<1024>(), hold::<1024>())
}

async fn selected() -> u8 {
    tokio::select! {
        a = hold::<1024>() => a,
        b = hold::<1024>() => b,
    }
}

fn captured() -> usize {
    let given = buffer();
    size(async move {
        turn().await;
        given.0[0]
    })
}

fn boxed() -> usize {
    size(Box::pin(hold::<1024>()))
}

fn boxed_dyn() -> usize {
    let boxed: Pin<Box<dyn Future<Output = u8>>> = Box::pin(hold::<1024>());
    size(boxed)
}

const fn rule(name: &'static str, bytes: fn() -> usize, known: &'static [(u32, usize)]) -> Rule {
    Rule { name, bytes, known }
}

/// The catalogue.
pub static RULES: [Rule; 27] = [
    rule("hold_1024", || size(hold::<1024>()), &[(95, 1026)]),
    rule("empty", || size(async {}), &[(95, 1)]),
    rule("one_await", || size(one_await()), &[(95, 2)]),
    rule("hold_64", || size(hold::<64>()), &[(95, 66)]),
    rule("hold_16384", || size(hold::<16384>()), &[(95, 16386)]),
    rule("in_block", || size(in_block()), &[(95, 2)]),
    rule("dropped_untouched", || size(dropped_untouched()), &[(95, 2)]),
    rule("dropped_borrowed", || size(dropped_borrowed()), &[(95, 1027)]),
    rule("argument", || size(argument(buffer())), &[(95, 2050)]),
    rule("argument_before", || size(argument_before(buffer())), &[(95, 2051)]),
    rule("argument_borrowed", || size(argument_borrowed(&buffer())), &[(95, 24)]),
    rule("forwarded", || size(forwarded(buffer())), &[(95, 3075)]),
    rule("forwarded_twice", || size(forwarded_twice(buffer())), &[(95, 4100)]),
    rule("forwarded_plainly", || size(forwarded_plainly(buffer())), &[(95, 2050)]),
    rule("captured", captured, &[(95, 1026)]),
    rule("nested", || size(nested()), &[(95, 1027)]),
    rule("nested_twice", || size(nested_twice()), &[(95, 1028)]),
    rule("one_after_another", || size(one_after_another()), &[(95, 1029)]),
    rule("two_together", || size(two_together()), &[(95, 2050)]),
    rule("two_in_blocks", || size(two_in_blocks()), &[(95, 1027)]),
    rule("cold_branch", || size(cold_branch(false)), &[(95, 4100)]),
    rule("cold_branch_boxed", || size(cold_branch_boxed(false)), &[(95, 16)]),
    rule("wrapped", || size(wrapped(hold::<1024>())), &[(95, 2053)]),
    rule("joined", || size(joined()), &[(95, 2088)]),
    rule("selected", || size(selected()), &[(95, 2072)]),
    rule("boxed", boxed, &[(95, 8)]),
    rule("boxed_dyn", boxed_dyn, &[(95, 16)]),
];

/// A row of the table: one rule, or all of them together.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Named after the rule; `all_rules`.
    pub is: Contender,
    /// What it sums up.
    pub rules: &'static [Rule],
}

impl AsRef<Contender> for Row {
    fn as_ref(&self) -> &Contender {
        &self.is
    }
}

/// A row for each rule, and last one for all of them.
pub static ROWS: [Row; RULES.len() + 1] = {
    let mut rows = [Row { is: Contender::new("all_rules"), rules: &RULES }; RULES.len() + 1];
    let mut i = 0;
    while i < RULES.len() {
        rows[i] = Row { is: Contender::new(RULES[i].name), rules: std::slice::from_ref(&RULES[i]) };
        i += 1;
    }
    rows
};
