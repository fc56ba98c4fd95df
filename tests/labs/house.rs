//! The rules of the house, as tests: what was forgotten when a lab or a structure was added is named here.
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::all::labs;
use underhood::{
    lab::{
        Pick, Predict, Step,
        plan::{Mode, Plan},
    },
    machine::allowed_cpus,
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Rust files below a folder.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_lab_has_the_same_name_everywhere() {
    let files: BTreeSet<String> = sources(&root().join("labs"))
        .iter()
        .map(|p| p.file_stem().unwrap().to_string_lossy().into_owned())
        .filter(|s| s != "all")
        .collect();
    let listed: BTreeSet<String> = labs().iter().map(|l| l.stem.to_string()).collect();
    assert_eq!(files, listed, "every file in labs/ is in labs/all.rs under its own name, and no other");
    let (manifest, readme, notes) = (read("Cargo.toml"), read("README.md"), read("NOTES.md"));
    for lab in labs() {
        let (stem, question) = (lab.stem, lab.question);
        let file = read(&format!("labs/{stem}.rs"));
        assert!(file.starts_with(&format!("//! {question}\n")), "labs/{stem}.rs begins with its question");
        let command = format!("cargo run --release --bin {stem}");
        assert!(
            file.lines().take(4).any(|l| l.contains(&command)),
            "labs/{stem}.rs says how to run it near the top"
        );
        assert!(!file.contains("unsafe"), "labs/{stem}.rs needs no unsafe");
        assert!(
            manifest.contains(&format!("name = \"{stem}\", path = \"labs/{stem}.rs\"")),
            "Cargo.toml lists the binary {stem}"
        );
        let row = format!("\n| `{stem}` |");
        assert_eq!(
            readme.matches(&row).count(),
            1,
            "README's table has {stem}, once: `underhood notes` writes it"
        );
        assert!(readme.contains(question), "README's table has the question of {stem}");
        assert!(notes.contains(&format!("## {stem}")), "NOTES has a section {stem}");
    }
}

#[test]
fn a_lab_refers_only_to_what_it_has() {
    let has = |step: &Step, pick: &Pick| step.cases.contains(&pick.case) && step.params.contains(&pick.param);
    for lab in labs() {
        let mut names = BTreeSet::new();
        for step in lab.steps {
            let at = format!("{}/{}", lab.stem, step.name);
            assert!(names.insert(step.name), "{at}: the name is taken");
            assert!(
                !step.cases.is_empty() && !step.params.is_empty(),
                "{at}: a step without a case or parameter measures nothing"
            );
            assert!(
                !step.ask.is_empty() && !step.because.is_empty(),
                "{at}: a step asks before it measures and explains after"
            );
            // A string that goes on in the next line without a backslash carries the indentation with it.
            let texts = [step.ask, step.because].into_iter().chain(step.claims.iter().map(|c| c.text));
            for text in texts.chain(lab.says.iter().flat_map(|s| [s.text, s.not_true_when])) {
                assert!(!text.contains("  ") && !text.contains('\n'), "{at}: broken across lines: {text}");
            }
            assert!(!step.claims.is_empty(), "{at}: a step that expects nothing cannot be wrong");
            for claim in step.claims {
                for pick in std::iter::once(claim.of).chain(claim.against) {
                    assert!(
                        has(step, &pick),
                        "{at}: the claim '{}' refers to a row that is not there: {pick:?}",
                        claim.text
                    );
                }
            }
            let predicted = match step.predict {
                Predict::Number { case, param } => step.cases.contains(&case) && step.params.contains(&param),
                Predict::Best { param } => step.params.contains(&param),
            };
            assert!(predicted, "{at}: the prediction refers to a row that is not there");
            for value in std::iter::once(&step.headline).chain(step.columns) {
                // Counts are exempt from every doubt about the machine; what depends on time must not hide among them. On a fake
                // clock a rate is as exact as a count.
                let fake_clock = [
                    ("flow_rate_limit", "truth"),
                    ("flow_rate_limit", "fair"),
                    ("flow_noisy_neighbor", "others"),
                    ("async_injection", "reproduce"),
                    ("async_injection", "policies"),
                ]
                .contains(&(lab.stem, step.name));
                let timed = ["_ns", "_per_s"].iter().any(|unit| value.ends_with(unit));
                assert!(step.kind.is_timed() || !timed || fake_clock, "{at}: {value} is no count");
                let unit = value.rsplit('_').next().unwrap();
                assert!(
                    value.ends_with("_per_s") || ["ns", "bytes", "share", "ratio", "count"].contains(&unit),
                    "{at}: the value {value} does not end in a unit"
                );
            }
        }
        assert!(
            !lab.says.is_empty()
                && !lab.not_said.is_empty()
                && !lab.next.is_empty()
                && !lab.sources.is_empty(),
            "{}",
            lab.stem
        );
        for say in lab.says {
            let step = lab
                .steps
                .iter()
                .find(|s| s.name == say.step)
                .unwrap_or_else(|| panic!("{}: no step {}", lab.stem, say.step));
            for pick in std::iter::once(say.of).chain(say.against) {
                assert!(
                    has(step, &pick),
                    "{}: the sentence '{}' refers to a row that is not there",
                    lab.stem,
                    say.text
                );
            }
            assert!(
                say.text.contains("{value}") || say.text.contains("{ratio}"),
                "{}: a sentence without a number",
                lab.stem
            );
            assert!(!say.not_true_when.is_empty(), "{}: every sentence is false somewhere", lab.stem);
        }
    }
}

#[test]
fn bench_ids_are_short_ascii_and_unique() {
    let plan = Plan::new(Mode::Smoke, allowed_cpus());
    let mut seen = BTreeSet::new();
    for lab in labs() {
        for bench in (lab.benches)(&plan) {
            let id = format!("labs/{}/{}", lab.stem, bench.id);
            // Criterion cuts names at 64 characters, and cut names collide.
            assert!(id.is_ascii() && id.len() <= 64 && !id.contains(' '), "{id}");
            assert!(seen.insert(id.clone()), "{id} twice");
        }
    }
}

#[test]
fn files_fit_in_a_head() {
    for (dir, most) in [("src", 500), ("labs", 420), ("benches", 420), ("tests", 500)] {
        for path in sources(&root().join(dir)) {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            assert!(
                lines <= most,
                "{}: {lines} lines; at most {most}: is it still one idea?",
                path.display()
            );
        }
    }
}

#[test]
fn only_the_command_line_prints() {
    for path in sources(&root().join("src")) {
        if path.to_string_lossy().contains("/cli/") || path.ends_with("build.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for word in ["println!(", "eprintln!(", "print!(", "eprint!("] {
            let said = text.lines().any(|l| l.contains(word) && !l.trim_start().starts_with("//"));
            assert!(!said, "{} prints; only src/cli does", path.display());
        }
    }
}
