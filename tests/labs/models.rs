//! What the labs of memory order say of the models, held to the checker of `underhood litmus`.
use underhood::{
    experiments::wakeup::{Between, CASES},
    lab::{Expect, Lab},
    litmus::{Allowed, STEPS, check, program::Test, read},
    measure::outcomes::{MANNERS, Manner, PROGRAMS, Program},
};

use crate::all::labs;

fn checked(text: &str) -> (Test, Allowed) {
    let test = read(text).unwrap_or_else(|e| panic!("{e} in\n{text}"));
    let allowed = check(&test, STEPS, &|| false);
    assert!(allowed.complete, "{text}");
    (test, allowed)
}

/// The order of stores, that of loads, and what stands between two steps.
fn orders(manner: Manner) -> [&'static str; 3] {
    match manner {
        Manner::Relaxed => ["relaxed", "relaxed", ""],
        Manner::ReleaseAcquire => ["release", "acquire", ""],
        Manner::SeqCst => ["seq_cst", "seq_cst", ""],
        Manner::Fence => ["relaxed", "relaxed", "atomic_thread_fence(memory_order_seq_cst);"],
    }
}

fn threads(bodies: &[String], question: &str) -> String {
    let body = |(i, b): (usize, &String)| format!("P{i}(atomic_int *x, atomic_int *y) {{ {b} }}\n");
    format!("C lab\n{{}}\n{}exists ({question})", bodies.iter().enumerate().map(body).collect::<String>())
}

/// The program as its documentation in `measure::outcomes` states it.
fn text(program: Program, manner: Manner) -> String {
    let [of_store, of_load, between] = orders(manner);
    let store =
        |word: &str, value: u32| format!("atomic_store_explicit({word}, {value}, memory_order_{of_store});");
    let load =
        |to: &str, word: &str| format!("int {to} = atomic_load_explicit({word}, memory_order_{of_load});");
    let two = |first: String, second: String| format!("{first} {between} {second}");
    match program {
        Program::Sb => threads(
            &[two(store("x", 1), load("r0", "y")), two(store("y", 1), load("r1", "x"))],
            r"0:r0=0 /\ 1:r1=0",
        ),
        Program::Mp => threads(
            &[two(store("x", 1), store("y", 1)), two(load("r0", "y"), load("r1", "x"))],
            r"1:r0=1 /\ 1:r1=0",
        ),
        Program::Lb => threads(
            &[two(load("r0", "x"), store("y", 1)), two(load("r1", "y"), store("x", 1))],
            r"0:r0=1 /\ 1:r1=1",
        ),
        Program::CoRr => {
            threads(&[store("x", 1), two(load("r0", "x"), load("r1", "x"))], r"1:r0=1 /\ 1:r1=0")
        }
        Program::TwoWrites => {
            threads(&[two(store("x", 1), store("y", 2)), two(store("y", 1), store("x", 2))], r"x=1 /\ y=1")
        }
        Program::Iriw => threads(
            &[
                store("x", 1),
                store("y", 1),
                two(load("r0", "x"), load("r1", "y")),
                two(load("r2", "y"), load("r3", "x")),
            ],
            r"2:r0=1 /\ 2:r1=0 /\ 3:r2=1 /\ 3:r3=0",
        ),
    }
}

fn lab(stem: &str) -> &'static Lab {
    labs().iter().find(|l| l.stem == stem).expect("it is there")
}

/// What the claims of a lab expect of this row: seen or never.
fn claimed(lab: &Lab, case: &str, param: &str) -> Option<bool> {
    let claims = lab.steps.iter().flat_map(|s| &s.claims);
    let mut of_row = claims.filter(|c| c.bound.of.case == case && c.bound.of.param == param);
    of_row.next().map(|claim| match claim.bound.expect {
        Expect::AtLeast(_) => true,
        Expect::AtMost(0.0) => false,
        other => panic!("{case}, {param}: {other:?} is no claim on seen or never"),
    })
}

#[test]
fn order_litmus_says_what_the_models_say() {
    let (lab, mut claims, mut only_rc11_forbids) = (lab("order_litmus"), 0, Vec::new());
    for program in &PROGRAMS {
        for manner in &MANNERS {
            let (case, param) = (program.is.id, manner.id());
            let (test, allowed) = checked(&text(program.value, manner.value));
            let language = program.value.is_allowed(manner.value);
            assert_eq!(allowed.asked(&allowed.cxx20, &test), Some(language), "{case}, {param}: the language");
            if allowed.asked(&allowed.rc11, &test) != Some(language) {
                only_rc11_forbids.push((case, param));
            }
            if let Some(seen) = claimed(lab, case, param) {
                claims += 1;
                assert_eq!(allowed.asked(&allowed.tso, &test), Some(seen), "{case}, {param}: x86");
            }
        }
    }
    assert!(claims >= 10, "{claims} rows have a claim");
    // RC11's rule on thin air; C++20's text leaves load buffering open, and the lab says so.
    assert_eq!(only_rc11_forbids, [("lb", "relaxed")]);
}

#[test]
fn order_wakeup_says_what_the_models_say() {
    let lab = lab("order_wakeup");
    for case in &CASES {
        let (of_store, of_load) = match case.value {
            Between::SeqCst => ("seq_cst", "seq_cst"),
            _ => ("release", "acquire"),
        };
        let fence = |here: bool| if here { "atomic_thread_fence(memory_order_seq_cst);" } else { "" };
        let side = |own: &str, fenced: bool, other: &str| {
            format!(
                "atomic_store_explicit({own}, 1, memory_order_{of_store}); {} int r0 = atomic_load_explicit({other}, memory_order_{of_load});",
                fence(fenced)
            )
        };
        // x is `awaited`, y is `set`: both looks come too early, and the waiter sleeps for ever.
        let waiter = side("x", matches!(case.value, Between::Fence | Between::HalfFence), "y");
        let setter = side("y", case.value == Between::Fence, "x");
        let (test, allowed) = checked(&threads(&[waiter, setter], r"0:r0=0 /\ 1:r0=0"));
        let id = case.is.id;
        let lost = claimed(lab, id, "").unwrap_or_else(|| panic!("{id} has a claim"));
        assert_eq!(allowed.asked(&allowed.cxx20, &test), Some(lost), "{id}: the language");
        assert_eq!(allowed.asked(&allowed.tso, &test), Some(lost), "{id}: x86");
    }
}
