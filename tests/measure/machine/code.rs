//! The key of a lab: what changes it, and what leaves it as it is.
use underhood::machine::code::{Module, essence, is_measured, key, of_module, paths};

const LAB: &str = r#"//! What does it cost?
use underhood::{contenders::lock::MUTEX, lab::Step, measure::cost};

/// One thread.
fn alone() -> Step {
    Step::new("alone", 3, "op_ns").because("It is cheap.").over(|plan| cost::solo(plan, 7, MUTEX, '"'))
}
"#;

/// What the lab reaches is `contenders::lock`, `measure::cost`, through that `measure::order`, and through that `stats`.
const MODULES: [(&str, &str); 7] = [
    ("contenders::lock", "mod roster; pub use roster::MUTEX;"),
    ("contenders::lock::roster", "pub static MUTEX: u8 = 1;"),
    ("contenders::map", "pub static MAP: u8 = 2;"),
    ("measure::cost", "use super::order::Order; pub fn solo() { Order::new(); }"),
    ("measure::order", "use crate::stats; pub struct Order; fn f() { stats::scaling::fit(); }"),
    ("stats", "pub mod scaling; pub fn mid() {}"),
    ("stats::scaling", "pub fn fit() {}"),
];

const BUILD: &str = "rustc 1.95.0 parking_lot 0.13.0, tokio 1.54.0 -C target-cpu=native";

/// The table as the build script makes it.
fn table(modules: &[(&'static str, &str)]) -> Vec<Module> {
    let one = |(module, source): &(&'static str, &str)| -> Module {
        let (hash, paths) = of_module(module, source);
        let paths: Vec<&'static str> = paths.into_iter().map(|p| &*p.leak()).collect();
        (module, hash, paths.leak())
    };
    modules.iter().map(one).collect()
}

/// The key with this in place of that: in the lab, in the source of a module, in the build.
fn with(place: &str, from: &str, to: &str) -> String {
    let change = |of: &str, text: &str| {
        if of != place {
            return text.to_string();
        }
        assert!(text.contains(from), "{place} has no {from}");
        text.replace(from, to)
    };
    let sources = MODULES.map(|(module, source)| (module, change(module, source)));
    let modules: Vec<_> = sources.iter().map(|(module, source)| (*module, source.as_str())).collect();
    key(&change("lab", LAB), &table(&modules), &change("build", BUILD))
}

fn now() -> String {
    key(LAB, &table(&MODULES), BUILD)
}

#[test]
fn a_key_is_twelve_hex_digits_and_the_same_twice() {
    assert!(now().len() == 12 && now().bytes().all(|b| b.is_ascii_hexdigit()), "{}", now());
    assert_eq!(now(), now());
    let mut turned = table(&MODULES);
    turned.reverse();
    assert_eq!(key(LAB, &turned, BUILD), now(), "the order of the table is nobody's business");
}

#[test]
fn words_and_layout_leave_the_key() {
    for (place, from, to) in [
        ("lab", "/// One thread.", "/// One thread, alone. /* \" */"),
        ("lab", "//! What does it cost?\n", "/* /* What? */ */\n"),
        ("lab", "It is cheap.", "It is cheap: the line is in the cache already. // \\\" really"),
        (
            "lab",
            "cost::solo(plan, 7, MUTEX, '\"')",
            "cost::solo(\n        plan,\n        7,\n        MUTEX,\n        '\"',\n    )",
        ),
        ("measure::cost", "pub fn solo", "// Why.\npub   fn\n    solo"),
        ("measure::cost", "Order::new();", "Order::new( ) ; /* at last */"),
        // Nobody reaches it.
        ("contenders::map", "2", "3"),
    ] {
        assert_eq!(with(place, from, to), now(), "{place}: {from}");
    }
}

#[test]
fn what_decides_a_number_changes_the_key() {
    for (place, from, to) in [
        ("lab", "plan, 7", "plan, 8"),
        ("lab", "cost::solo", "cost::duo"),
        ("lab", "'\"'", "'x'"),
        // Reached at once, by a private child, through one more, and through an imported module.
        ("measure::cost", "solo() {", "solo() { spin();"),
        ("contenders::lock::roster", "1", "4"),
        ("measure::order", "struct Order", "struct Order(u8)"),
        ("stats::scaling", "fit() {}", "fit() { loop {} }"),
        // A text in a module may be a path to a file, or a format.
        ("measure::cost", "Order::new()", "Order::new(\"x\")"),
        ("build", "tokio 1.54.0", "tokio 1.54.1"),
        ("build", "target-cpu=native", "target-cpu=x86-64"),
        ("build", "1.95.0", "1.96.0"),
    ] {
        assert_ne!(with(place, from, to), now(), "{place}: {from}");
    }
}

#[test]
fn two_words_do_not_become_one() {
    assert_ne!(essence("let a = b;", true), essence("leta = b;", true));
    assert_eq!(essence("let  a=b ;", true), essence("let a = b;", true));
    assert_eq!(essence(r##"f(r#"a " // b"#, 'x')"##, false), r#"f("",'x')"#);
    assert_eq!(essence(r#"f("a \" // b", '\'', b'"', 'l: loop {})"#, false), r#"f("",'\'',b'"','l:loop{})"#);
}

#[test]
fn paths_are_followed_wherever_they_are_written() {
    let of = |source: &str, module: &str| paths(&essence(source, true), module);
    assert_eq!(
        of("use crate::{a::{self, b}, c::*}; use super::d; use self::e::F; use std::fmt;", "m::n"),
        ["a", "a::b", "c", "m::d", "m::n::e::F"]
    );
    assert_eq!(of("fn f() { crate::a::g(super::super::h::X) }", "m::n"), ["a::g", "h::X"]);
    assert_eq!(of("use crate::a; fn f() { a::b::g(); x::a::c(); }", "m"), ["a", "a::b::g"]);
    assert_eq!(of("mod p; pub mod q; pub(crate) mod r; fn f() { q::g() }", "m"), ["m::p", "m::q::g"]);
    assert_eq!(of("underhood::measure::cost::solo()", ""), ["measure::cost::solo"]);
    assert!(of("// crate::a\nlet my_crate::b = \"\";", "m").is_empty());
}

#[test]
fn rooms_that_judge_and_show_are_not_measured() {
    for module in ["cli::run", "show::report::axis", "judge", "record::store", "lab", "lab::step"] {
        assert!(!is_measured(module), "{module}");
    }
    for module in
        ["lab::plan", "lab::sample", "measure::cost", "structures::lock::mcs", "words::number", "stats"]
    {
        assert!(is_measured(module), "{module}");
    }
}
