//! The litmus tests of `tests/litmus/`, each with the verdict that it states; what cannot be read; and this machine against the models.
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use underhood::{
    litmus::{
        Allowed, STEPS, check, on_cpu,
        program::{Dialect, Outcomes, Test},
        read,
        stated::{By, List, Observation, Says, in_comments, in_output},
    },
    machine::allowed_cpus,
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/litmus")
}

fn text(name: &str) -> String {
    let path = folder().join(format!("{name}.litmus"));
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn checked(text: &str) -> (Test, Allowed) {
    let test = read(text).unwrap_or_else(|e| panic!("{e} in\n{text}"));
    let allowed = check(&test, STEPS, &|| false);
    assert!(allowed.complete, "{} is small enough to try everything", test.name);
    (test, allowed)
}

fn all() -> Vec<(String, String)> {
    let mut names: Vec<String> = fs::read_dir(folder())
        .expect("tests/litmus is there")
        .map(|entry| entry.expect("it can be read").path())
        .filter(|path| path.extension().is_some_and(|e| e == "litmus"))
        .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    names.sort();
    names.into_iter().map(|name| (text(&name), name)).map(|(text, name)| (name, text)).collect()
}

#[test]
fn every_own_test_ends_as_it_states() {
    let mut compared = 0;
    for (name, text) in all() {
        let (test, allowed) = checked(&text);
        assert_eq!(test.name, name, "a test is called like its file");
        let stated = in_comments(&text, test.dialect);
        assert!(!stated.is_empty(), "{name} states a verdict");
        for verdict in stated {
            let set = match verdict.by {
                By::Rc11 => &allowed.rc11,
                By::Tso => &allowed.tso,
                By::Kernel => {
                    let forbids = verdict.forbids(&test.condition);
                    assert!(
                        !forbids || allowed.asked(&allowed.tso, &test) == Some(false),
                        "{name}: x86 is no weaker"
                    );
                    continue;
                }
            };
            let ours = Observation::of(set, &test.condition);
            assert!(verdict.agrees(set, &test.condition), "{name}: {verdict:?}, and the checker says {ours}");
            compared += 1;
        }
    }
    assert!(compared >= 80, "{compared} verdicts were compared");
}

#[test]
fn a_model_allows_what_every_stronger_one_does() {
    for (name, text) in all() {
        let (_, Allowed { sc, tso, rc11, cxx20, .. }) = checked(&text);
        assert!(!sc.is_empty() && sc.is_subset(&tso), "{name}: TSO allows what taking turns does");
        assert!(sc.is_subset(&rc11) && rc11.is_subset(&cxx20), "{name}: so do RC11 and C++20");
        assert!(tso.is_subset(&cxx20), "{name}: compiled to x86, a test shows only what the language allows");
    }
}

/// One word of a test weakened or left out, and the verdict turns.
#[test]
fn each_ordering_that_a_test_is_about_is_needed() {
    let turned = [
        (
            "sb_seq_cst",
            "atomic_store_explicit(x, 1, memory_order_seq_cst)",
            "atomic_store_explicit(x, 1, memory_order_release)",
        ),
        (
            "sb_seq_cst",
            "atomic_load_explicit(y, memory_order_seq_cst)",
            "atomic_load_explicit(y, memory_order_acquire)",
        ),
        ("sb_fences", "atomic_thread_fence(memory_order_seq_cst);", ""),
        ("mp_acq_rel", "memory_order_release", "memory_order_relaxed"),
        ("mp_acq_rel", "memory_order_acquire", "memory_order_relaxed"),
        ("mp_fences", "atomic_thread_fence(memory_order_release);", ""),
        ("mp_fences", "atomic_thread_fence(memory_order_acquire);", ""),
        (
            "iriw_seq_cst",
            "atomic_load_explicit(x, memory_order_seq_cst)",
            "atomic_load_explicit(x, memory_order_relaxed)",
        ),
        ("iriw_fences", "atomic_thread_fence(memory_order_seq_cst);", ""),
        (
            "2+2w_seq_cst",
            "atomic_store_explicit(y, 2, memory_order_seq_cst)",
            "atomic_store_explicit(y, 2, memory_order_release)",
        ),
        ("2+2w_fences", "atomic_thread_fence(memory_order_seq_cst);", ""),
        ("r_fences", "atomic_thread_fence(memory_order_seq_cst);", ""),
        ("s_acq_rel", "memory_order_release", "memory_order_relaxed"),
        ("s_acq_rel", "memory_order_acquire", "memory_order_relaxed"),
        ("wrc_acq_rel", "memory_order_release", "memory_order_relaxed"),
        ("rmw_release_sequence", "memory_order_acquire", "memory_order_relaxed"),
        (
            "rmw_twice",
            "int r0 = atomic_fetch_add_explicit(x, 1, memory_order_relaxed);",
            "int r0 = atomic_load_explicit(x, memory_order_relaxed); atomic_store_explicit(x, r0 + 1, memory_order_relaxed);",
        ),
        ("kernel_sb_mb", "smp_mb();", ""),
        ("kernel_lock", "spin_lock(l);", ""),
        ("x86_sb_mfence", " mfence      |", "             |"),
        ("x86_sb_xchg", "XCHG [x],EBX", "MOV [x],EBX "),
        ("x86_64_xadd", "lock xaddq %rax,(x) | lock xaddq %rax,(x)", "addq %rax,(x) | addq %rax,(x)"),
    ];
    for (name, from, to) in turned {
        let before = text(name);
        assert!(before.contains(from), "{name} has '{from}'");
        let after = before.replacen(from, to, 1);
        let says = |text: &str| {
            let (test, allowed) = checked(text);
            let set = if test.dialect == Dialect::C11 { &allowed.rc11 } else { &allowed.tso };
            Observation::of(set, &test.condition)
        };
        assert_ne!(says(&before), says(&after), "{name}: '{from}' made '{to}' changes the verdict");
    }
}

#[test]
fn cxx20_allows_what_only_rc11_rules_out() {
    for name in ["lb_relaxed", "store_release_sequence"] {
        let (test, allowed) = checked(&text(name));
        assert_eq!(allowed.asked(&allowed.rc11, &test), Some(false), "{name}");
        assert_eq!(allowed.asked(&allowed.cxx20, &test), Some(true), "{name}");
    }
}

#[test]
fn no_model_makes_values_out_of_thin_air() {
    let (test, allowed) = checked(&text("lb_if"));
    assert_eq!(allowed.asked(&allowed.cxx20, &test), Some(false), "1 is written only by whoever has read 1");
}

#[test]
fn a_race_is_named_where_there_is_one() {
    for (name, racy) in [("mp_plain_race", true), ("mp_plain_if", false), ("mp_relaxed", false)] {
        assert_eq!(checked(&text(name)).1.racy, racy, "{name}");
    }
}

#[test]
fn a_search_that_is_cut_short_says_so() {
    let test = read(&text("iriw_fences")).expect("it is read");
    let allowed = check(&test, 3, &|| false);
    assert!(!allowed.complete);
    assert_eq!(allowed.asked(&allowed.rc11, &test), None, "no verdict from part of the candidates");
    assert!(!check(&test, STEPS, &|| true).complete, "it looks whether it shall stop");
}

#[test]
fn what_cannot_be_read_is_named_with_its_line() {
    let c = |body: &str| format!("C t\n{{}}\nP0(atomic_int *x, int *y) {{\n{body}\n}}\nexists (x=1)");
    let kernel = |body: &str| format!("C t\n{{}}\nP0(int *x) {{\nREAD_ONCE(*x);\n{body}\n}}\nexists (x=1)");
    let x86 = |row: &str| format!("X86 t\n{{}}\n P0 | P1 ;\n{row}\nexists (x=1)");
    let deep = "(".repeat(5000);
    let long = "1 + ".repeat(5000);
    for (text, line, what) in [
        (String::new(), 1, "the first line names the language"),
        ("AArch64 t\n{}".into(), 1, "the language 'AArch64' is not read"),
        ("C t\nexists".into(), 1, "no '{'"),
        ("C t\n{ x = 1;".into(), 2, "without its '}'"),
        ("C t\n{ int x[2]; }".into(), 2, "an array: x[...]"),
        ("C t\n{}\nP1(int *x) {}\nexists (x=1)".into(), 3, "thread 0 is wanted"),
        ("C t\n{}\nP0(int *x) { *x = 1; }".into(), 3, "no question"),
        ("C t\n{}\nP0(int *x) { *x = 1; }\nexists (1:r0=1)".into(), 4, "there is no thread 1"),
        ("C t\n{}\nP0(int *x) { *x = 1; }\nexists (x=1) x".into(), 4, "'x' behind the question"),
        ("C t\n{}\nP0(int *x) { *x = 1; }\nexists (x 1)".into(), 4, "'=' is wanted"),
        ("C t\n{}\nP0(int *x) { *x = 1; }\nexists (x=q)".into(), 4, "'q' is no value"),
        (c("while (1) {}"), 4, "'while' is not read"),
        (c("int a[2];"), 4, "an array: a[...]"),
        (c("*y = 1\n*y = 2;"), 5, "';' is wanted"),
        (c("\nfrobnicate(x);"), 5, "the call frobnicate() is not known"),
        (
            c("atomic_store_explicit(x, 1, memory_order_strong);"),
            4,
            "'memory_order_strong' is no memory order",
        ),
        (c("int r = q;"), 4, "the name 'q' is neither a parameter nor a variable"),
        (c("x = 1;"), 4, "'*x' writes the word"),
        (c("int r = y->a;"), 4, "a structure: y->"),
        (c("int r = 1 ? 2 : 3;"), 4, "'?' is not read"),
        (c(&format!("int r = {deep}1;")), 4, "nested too deep"),
        (c(&format!("int r = {long}1;")), 4, "too long"),
        (kernel("synchronize_rcu();"), 5, "RCU's grace periods are not read"),
        (kernel("srcu_read_lock(x);"), 5, "RCU's grace periods are not read"),
        (x86(" FROB [x],$1 | ;"), 4, "the instruction 'FROB [x],$1' is not read"),
        (x86(" MOV [x],[y] | ;"), 4, "the instruction 'MOV [x],[y]' is not read"),
        (x86(" MOV [x+4],$1 | ;"), 4, "the address '[x+4]' is not read"),
        (x86(" MOV [x],$1 | "), 4, "a row without its ';'"),
        (x86(" | | MFENCE ;"), 4, "right of the last thread"),
    ] {
        let error = read(&text).expect_err(&text);
        assert!(error.line == line && error.what.contains(what), "line {line}, {what}: {error}\n{text}");
    }
}

#[test]
fn stated_verdicts_are_found_where_they_stand() {
    let claim = |stated: Option<underhood::litmus::stated::Stated>| stated.map(|s| s.says);
    let found = in_comments("(* Result: Never *)\n(* TSO: Sometimes *)", Dialect::C11);
    assert_eq!(found.iter().map(|s| s.by).collect::<Vec<_>>(), [By::Rc11, By::Tso]);
    assert!(
        in_comments("(* Result: Maybe *)", Dialect::Kernel).is_empty(),
        "a verdict that decides nothing is none"
    );
    let output = "Test SB Allowed\nStates 4\nObservation SB Sometimes 1 3\n";
    assert_eq!(claim(in_output(output, Dialect::X86)), Some(Says::Claim(Observation::Sometimes)));
    let list = List::read("# a comment\nlitmus/A/a.litmus,0\nlitmus/B/a.litmus,1\n").expect("rows");
    let of = |path: &str| claim(list.of(Path::new(path), Dialect::X86));
    assert_eq!(
        of("/somewhere/B/a.litmus"),
        Some(Says::Condition(true)),
        "the row that shares most of the path"
    );
    assert_eq!(of("A/a.litmus"), Some(Says::Condition(false)));
    assert_eq!(of("A/b.litmus"), None);
    assert_eq!(List::read("a.litmus,0\na.litmus;1").expect_err("no row").0, 2);
}

/// Whatever this machine shows, the models allow.
#[test]
fn this_machine_shows_nothing_that_is_forbidden() {
    let cpus = allowed_cpus();
    let never = || false;
    for (name, text) in all() {
        let (test, allowed) = checked(&text);
        match on_cpu::run(&test, &cpus, Duration::from_millis(10), &never) {
            Err(few) => assert!(few.threads > cpus.len(), "{name}"),
            Ok(seen) => {
                assert!(seen.instances > 0, "{name}");
                assert_eq!(seen.outcomes.iter().map(|(_, n)| n).sum::<u64>(), seen.instances, "{name}");
                let outside = |set: &Outcomes| seen.outcomes.iter().find(|(o, _)| !set.contains(o));
                assert_eq!(outside(&allowed.cxx20), None, "{name}: the language");
                if cfg!(target_arch = "x86_64") {
                    assert_eq!(outside(&allowed.tso), None, "{name}: x86");
                }
            }
        }
    }
}

#[test]
fn a_test_with_more_threads_than_cpus_is_not_run() {
    let test = read(&text("iriw_acq_rel")).expect("it is read");
    let few = on_cpu::run(&test, &[0, 1], Duration::from_millis(1), &|| false).expect_err("four threads");
    assert_eq!((few.threads, few.cpus), (4, 2));
}

/// A runner that starts one thread after the other would pass the test above, and show one outcome only. What needs a store buffer comes in a
/// release build: here the steps are too slow.
#[test]
#[allow(clippy::print_stdout, reason = "a test that could not be tried says so")]
fn two_threads_that_store_and_then_load_run_at_once() {
    let cpus = allowed_cpus();
    if cpus.len() < 2 {
        println!("not tried: one CPU shows no two threads at once");
        return;
    }
    let (_, text) =
        all().into_iter().find(|(name, _)| name.contains("sb_relaxed")).expect("one of our tests");
    let (test, allowed) = checked(&text);
    let weak = |o: &Vec<i64>| allowed.tso.contains(o) && !allowed.sc.contains(o);
    let once = |_| {
        let seen =
            on_cpu::run(&test, &cpus, Duration::from_millis(50), &|| false).expect("two CPUs are enough");
        let buffered = seen.outcomes.iter().any(|(o, _)| weak(o));
        seen.outcomes.len() > 1 && (buffered || cfg!(debug_assertions) || cfg!(not(target_arch = "x86_64")))
    };
    assert!((0..200).any(once), "not once in ten seconds");
}
