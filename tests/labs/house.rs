//! The rules of the house, as tests: what was forgotten when a lab or a structure was added is named here.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::all::labs;
use underhood::{
    lab::{Evidence, Pick, Predict, Step},
    machine::{
        built::{self, CONTENDERS},
        code,
    },
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
        let row = format!("\n| [`{stem}`](NOTES.md#{stem}) |");
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
    let has = |step: &Step, pick: &Pick| step.cells().contains(&(pick.case, pick.param));
    for lab in labs() {
        let mut names = BTreeSet::new();
        for step in &lab.steps {
            let at = format!("{}/{}", lab.stem, step.name);
            assert!(names.insert(step.name), "{at}: the name is taken");
            assert!(!step.cells().is_empty(), "{at}: a step without a case or parameter measures nothing");
            assert!(
                !step.ask.is_empty() && !step.because.is_empty(),
                "{at}: a step asks before it measures and explains after"
            );
            // A string that goes on in the next line without a backslash carries the indentation with it.
            let texts = std::iter::once(step.ask).chain(step.because.iter().map(|m| m.text));
            let texts = texts.chain(step.claims.iter().map(|c| c.text));
            for text in texts.chain(lab.says.iter().flat_map(|s| [s.text, s.not_true_when])) {
                assert!(!text.contains("  ") && !text.contains('\n'), "{at}: broken across lines: {text}");
            }
            assert!(!step.claims.is_empty(), "{at}: a step that expects nothing cannot be wrong");
            let claims = step.claims.iter().map(|c| (c.text, c.bound));
            let shown = step.because.iter().filter_map(|m| match m.evidence {
                Evidence::Shown(bound) => Some((m.text, bound)),
                Evidence::Source(_) => None,
            });
            for (text, bound) in claims.chain(shown) {
                for pick in bound.picks() {
                    assert!(has(step, &pick), "{at}: '{text}' refers to a row that is not there: {pick:?}");
                }
            }
            let predicted = match step.predict {
                Predict::Number { case, param } => step.cells().contains(&(case, param)),
                Predict::Best { param } => step.params().contains(&param),
            };
            assert!(predicted, "{at}: the prediction refers to a row that is not there");
            for value in std::iter::once(&step.headline).chain(&step.columns) {
                // Counts are exempt from every doubt about the machine; what depends on time must not hide among them. On a fake
                // clock a rate is as exact as a count; seconds on the runtime's own half-second timer are read as they are.
                let exempt = [
                    ("flow_rate_limit", "truth"),
                    ("flow_rate_limit", "fair"),
                    ("flow_noisy_neighbor", "others"),
                    // Virtual time, exact for its seed.
                    ("flow_retry", "storm"),
                    ("flow_retry", "queue"),
                    ("flow_retry", "hedge"),
                    ("flow_retry", "busy"),
                    // How long a pool of seconds' steps takes to recover, beside whether it does.
                    ("dotnet_starvation", "pool"),
                ]
                .contains(&(lab.stem, step.name));
                let timed = ["_ns", "_per_s"].iter().any(|unit| value.ends_with(unit));
                assert!(step.kind.is_timed() || !timed || exempt, "{at}: {value} is no count");
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
        for say in &lab.says {
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
fn every_lab_answers_a_question_that_is_asked() {
    let mut answered = BTreeSet::new();
    let mut asked = BTreeSet::new();
    for question in underhood::show::questions::QUESTIONS.iter().flat_map(|(_, questions)| *questions) {
        assert!(asked.insert(question.asked), "asked twice: {}", question.asked);
        assert!(!question.steps.is_empty(), "nothing answers: {}", question.asked);
        for step in question.steps {
            let (stem, name) = step.split_once('/').unwrap_or_else(|| panic!("{step} is no lab/step"));
            let lab =
                labs().iter().find(|l| l.stem == stem).unwrap_or_else(|| panic!("there is no lab {stem}"));
            assert!(lab.steps.iter().any(|s| s.name == name), "lab {stem} has no step {name}");
            answered.insert(stem);
        }
    }
    let all: BTreeSet<&str> = labs().iter().map(|l| l.stem).collect();
    assert_eq!(&all - &answered, BTreeSet::new(), "labs that no question leads to");
}

#[test]
fn bench_ids_are_short_ascii_and_unique() {
    let mut seen = BTreeSet::new();
    for lab in labs() {
        for bench in lab.benches() {
            let id = format!("labs/{}/{}", lab.stem, bench.id);
            // Criterion cuts names at 64 characters, and cut names collide.
            assert!(id.is_ascii() && id.len() <= 64 && !id.contains(' '), "{id}");
            assert!(seen.insert(id.clone()), "{id} twice");
        }
    }
}

/// The dependencies of the manifest: the name that each has there, and its package.
fn dependencies() -> BTreeMap<String, String> {
    let manifest = read("Cargo.toml");
    let (_, rest) = manifest.split_once("\n[dependencies]\n").expect("the manifest has dependencies");
    let lines = rest.split("\n[").next().unwrap().lines().filter(|l| !l.starts_with('#'));
    lines
        .filter_map(|line| {
            let (name, rest) = line.split_once(" = ")?;
            let package = rest.split_once("package = \"").and_then(|(_, rest)| rest.split('"').next());
            Some((name.to_string(), package.unwrap_or(name).to_string()))
        })
        .collect()
}

/// What the workbench itself is made of. The rest of the dependencies are contenders, whose versions every record names.
const TOOLS: &[&str] = &[
    "anstream",
    "anstyle",
    "clap",
    "clap_complete",
    "clap_mangen",
    "comfy-table",
    "crossbeam-utils",
    "ctrlc",
    "foldhash",
    "futures-util",
    "hdrhistogram",
    "humantime",
    "libc",
    "maud",
    "mmtk",
    "serde",
    "serde_json",
    "sha2",
    "statrs",
    "toml",
];

/// A facade, whose parts are in the lock file under names of their own; those that are built on request; and four whose version their
/// own experiment names, since a new line in src/machine/built.rs would keep every older record from being pooled.
const BESIDE: &[&str] =
    &["async-channel", "bumpalo", "crossbeam", "kanal", "snmalloc-rs", "tikv-jemallocator", "tokio-metrics"];

#[test]
fn every_contender_is_named_with_its_version() {
    let manifest = dependencies();
    let all: BTreeSet<&str> = manifest.values().map(String::as_str).collect();
    let known: BTreeSet<&str> = CONTENDERS.iter().chain(BESIDE).copied().collect();
    for package in &known {
        assert!(
            all.contains(package),
            "{package} is no dependency, but src/machine/built.rs has it as a contender"
        );
    }
    for package in &all {
        assert!(
            known.contains(package) != TOOLS.contains(package),
            "{package}: either a contender, and in the list of src/machine/built.rs, or a tool, and in the list here"
        );
    }
    let versions = &built::facts()["versions"];
    let mut run = BTreeSet::new();
    for (lab, step) in labs().iter().flat_map(|lab| lab.steps.iter().map(move |step| (lab, step))) {
        for contender in step.contenders.iter().filter(|c| !c.package.is_empty()) {
            let at = format!("{}/{}: {}", lab.stem, step.name, contender.id);
            let package = manifest.get(contender.package);
            let package = package.unwrap_or_else(|| panic!("{at}: {} is no dependency", contender.package));
            let named = known.contains(package.as_str()) || versions.contains(&format!("{package} "));
            assert!(named, "{at}: no record names the version of {package}");
            run.insert(package.as_str());
        }
    }
    for package in CONTENDERS {
        assert!(run.contains(package), "{package} is called a contender, and no roster has it");
    }
}

/// A module of src/: its path from the root of the crate, and its code without comments.
fn modules() -> Vec<(String, String)> {
    let src = root().join("src");
    let mut found = Vec::new();
    for path in sources(&src) {
        let name = path.strip_prefix(&src).unwrap().with_extension("").to_string_lossy().replace('\\', "/");
        let name = name.trim_end_matches("/mod").replace('/', "::");
        if !["lib", "main", "build"].contains(&name.as_str()) {
            found.push((name, code::essence(&fs::read_to_string(&path).unwrap(), false)));
        }
    }
    found.sort();
    found
}

/// The rooms from top to bottom, each with those that it may import, as the table in src/lib.rs says.
fn rooms() -> Vec<(String, BTreeSet<String>)> {
    let text = read("src/lib.rs");
    let mut rooms: Vec<(String, BTreeSet<String>)> = Vec::new();
    for line in text.lines().filter(|l| l.starts_with("//! | [`")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let room = cells[1].split('`').nth(1).unwrap_or_default().to_string();
        let mut may = BTreeSet::from([room.clone()]);
        match cells[3] {
            "nothing" | "nothing else of this crate" => {}
            "everything" => may.extend(rooms.iter().map(|(room, _)| room.clone())),
            listed => {
                // `a and above` is a row and all rows above it; a name alone is that room.
                let above = listed.contains(" and above");
                for name in listed.split('`').skip(1).step_by(2) {
                    let place = rooms.iter().position(|(room, _)| room == name);
                    let place =
                        place.unwrap_or_else(|| panic!("{room} may import {name}, which is not above it"));
                    may.extend(
                        rooms[if above { 0 } else { place }..=place].iter().map(|(room, _)| room.clone()),
                    );
                }
            }
        }
        rooms.push((room, may));
    }
    rooms
}

#[test]
fn no_import_points_back_up() {
    let rooms = rooms();
    let names: BTreeSet<&str> = rooms.iter().map(|(room, _)| room.as_str()).collect();
    let modules = modules();
    let there: BTreeSet<&str> = modules.iter().map(|(m, _)| m.split("::").next().unwrap()).collect();
    assert_eq!(there, names, "the rooms of src/ and those in the table of src/lib.rs");
    let of = |room: &str| &rooms.iter().find(|(r, _)| r == room).expect("compared above").1;
    assert_eq!(of("structures").len(), 1, "structures imports nothing else of the crate");
    let mut wrong = Vec::new();
    for (module, code) in &modules {
        let may = of(module.split("::").next().unwrap());
        for path in code::paths(code, module) {
            let room = path.split("::").next().unwrap();
            if names.contains(room) && !may.contains(room) {
                wrong.push(format!("{module} imports {path}"));
            }
        }
    }
    assert!(wrong.is_empty(), "see the table in src/lib.rs:\n{}", wrong.join("\n"));
}

/// Names that two modules share without being a structure and its contender. It only gets shorter.
const SHARED: &[&str] = &[
    "between", "export", "heat", "machine", "picture", "progress", "report", "roster", "stack", "step",
    "trace",
];

#[test]
fn no_two_modules_share_a_name() {
    let mut by_name: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (module, _) in modules() {
        by_name.entry(module.rsplit("::").next().unwrap().to_string()).or_default().push(module);
    }
    let is_pair = |all: &[String]| {
        let has = |room: &str| all.iter().any(|m| m.starts_with(room));
        all.len() == 2 && has("structures::") && has("contenders::")
    };
    by_name.retain(|_, all| all.len() > 1 && !is_pair(all));
    for (name, all) in &by_name {
        assert!(SHARED.contains(&name.as_str()), "{} share the name {name}", all.join(" and "));
    }
    for name in SHARED {
        assert!(by_name.contains_key(*name), "{name} is no longer shared: take it from the list");
    }
}

#[test]
fn what_texts_call_a_test_is_there() {
    let mut texts: Vec<String> =
        ["README.md", "NOTES.md", ".ci/run", ".ci/miri", ".github/CONTRIBUTING.md"].map(read).into();
    for room in ["src", "labs"] {
        texts.extend(sources(&root().join(room)).iter().map(|p| fs::read_to_string(p).unwrap()));
    }
    let word = |rest: &str, more: &[char]| -> String {
        rest.chars().take_while(|c| c.is_alphanumeric() || more.contains(c)).collect()
    };
    for text in &texts {
        for (i, start) in text.match_indices("tests/") {
            let path = word(&text[i + start.len()..], &['_', '/', '.']);
            let path = format!("{start}{}", path.trim_end_matches('.'));
            let elsewhere = text[..i].ends_with(['/', '-']) || path.starts_with("tests/ui/");
            assert!(elsewhere || root().join(&path).exists(), "{path} is named and is not there");
        }
        for (i, start) in text.match_indices("--test ") {
            let name = word(&text[i + start.len()..], &['_']);
            // A package of its own names its file after itself, since cargo takes each `main.rs` there for a test of the root.
            let there =
                ["main", &name].iter().any(|file| root().join(format!("tests/{name}/{file}.rs")).exists());
            assert!(there, "there is no test {name}");
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

#[test]
fn the_readme_shows_the_outside_crate_as_it_is() {
    let crate_text = read("tests/outside/src/my_lock.rs");
    let readme = read("README.md");
    let shown = readme.split("<!-- from tests/outside/src/my_lock.rs -->").nth(1).expect("it is shown");
    let shown = shown.split("```rust\n").nth(1).and_then(|s| s.split("```").next()).expect("in a block");
    let (first, rest) = shown.split_once("\n\n").expect("an import, and the rest");
    assert!(crate_text.contains(first), "{first}");
    assert!(
        crate_text.contains(rest.trim_end()),
        "README.md shows other lines than tests/outside/src/my_lock.rs"
    );
}
