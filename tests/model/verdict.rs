//! Who survived, and whether that is in order. Pure: data in, sentences out.

use super::survivors::{Class, Survivor};

/// One mutant and what became of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The source line of the site, trimmed.
    pub code: String,
    /// As printed: `Success Acquire -> Relaxed`.
    pub change: String,
    pub fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Killed,
    Survived,
    Undecided,
}

/// The entry of the survivor list for this mutant.
pub fn excuse<'a>(structure: &str, outcome: &Outcome, list: &'a [Survivor]) -> Option<&'a Survivor> {
    list.iter().find(|s| matches(structure, outcome, s))
}

fn matches(structure: &str, outcome: &Outcome, s: &Survivor) -> bool {
    s.structure == structure && outcome.code.contains(s.code) && outcome.change == s.change
}

/// Everything that is not as it should be, a sentence each.
pub fn complaints(structure: &str, outcomes: &[Outcome], list: &[Survivor]) -> Vec<String> {
    let mut complaints = Vec::new();
    for o in outcomes {
        let what = format!("{structure}: `{}`, {}", o.code, o.change);
        match (o.fate, excuse(structure, o, list)) {
            (Fate::Survived, None) => complaints.push(format!(
                "{what}: survived. Write the scenario that is missing, or give the reason in tests/model/survivors.rs"
            )),
            (Fate::Killed, Some(_)) => complaints.push(format!("{what}: killed, but listed as a survivor: strike it out")),
            (Fate::Undecided, _) => complaints.push(format!("{what}: over the time limit: make the scenarios smaller")),
            (Fate::Survived, Some(_)) | (Fate::Killed, None) => {}
        }
    }
    for s in list.iter().filter(|s| s.structure == structure) {
        let count = outcomes.iter().filter(|o| matches(structure, o, s)).count();
        if count != 1 {
            let what = format!("{structure}: listed survivor `{}`, {}", s.code, s.change);
            complaints.push(format!("{what}: {count} mutants fit, there must be one"));
        }
        if s.reason.len() < 20 {
            complaints
                .push(format!("{structure}: listed survivor `{}` has no reason that explains it", s.code));
        }
    }
    complaints
}

/// How a class is printed.
pub fn class(class: Class) -> &'static str {
    match class {
        Class::Equivalent => "equivalent",
        Class::ToolLimit => "limit of the tool",
    }
}
