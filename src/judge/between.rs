//! Two stores side by side: two machines, two builds, before and after. Pure: records in, ratios out.
//!
//! Whoever compares wants to know what one thing changed. So the facts that differ come first, in three groups: the machine, the
//! build, the plan. If more than one group differs, a difference in the numbers can be blamed on neither, and if the plan differs the
//! numbers answer different questions: both are refused unless somebody insists.
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::{
    judge::{cited::speaking, enough_launches, not_quotable, unequal_work},
    lab::{Kind, Lab, Launch, Step, sample::AA},
    record::{Record, aa_band, find},
    stats::{self, Interval},
};

/// What a fact is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Thing {
    /// Hardware and system.
    Machine,
    /// Compiler, flags, revision, versions of the contenders.
    Build,
    /// How it was measured: mode, threads, launches.
    Plan,
}

/// A fact that the two runs do not share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Differs {
    /// What it is about.
    pub thing: Thing,
    /// Its name.
    pub fact: String,
    /// In the first store.
    pub a: String,
    /// In the second.
    pub b: String,
}

/// A case at a parameter in both stores.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    /// In the first store.
    pub a: &'a Record,
    /// In the second.
    pub b: &'a Record,
    /// What the two show.
    pub shown: Shown,
}

/// What two runs show of a case.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shown {
    /// The ratio `b / a`, clear of what either run shows between its baseline and itself.
    Differs(Interval),
    /// The ratio `b / a`, not clear of that.
    NoDifference(Interval),
    /// No ratio, and why.
    Cannot(String),
}

/// A step that both stores have.
#[derive(Clone, Debug)]
pub struct Pair<'a> {
    /// The lab.
    pub lab: &'static Lab,
    /// The step.
    pub step: &'static Step,
    /// The facts that differ, by group and name.
    pub differs: Vec<Differs>,
    /// The cases that both runs have, in the order of the step.
    pub rows: Vec<Row<'a>>,
}

impl Pair<'_> {
    /// Why the two runs are too unlike to compare; `None` if they are not.
    pub fn unlike(&self) -> Option<String> {
        let things: BTreeSet<Thing> = self.differs.iter().map(|d| d.thing).collect();
        if things.contains(&Thing::Plan) {
            return Some("they were measured in different ways".into());
        }
        (things.len() > 1)
            .then(|| "machine and build both differ, so a difference could be blamed on either".into())
    }
}

/// The steps that both stores have, each by the run that the notes would cite. With `anyway` numbers that may not be quoted are
/// compared as well.
pub fn pairs<'a>(labs: &[&'static Lab], a: &'a [Record], b: &'a [Record], anyway: bool) -> Vec<Pair<'a>> {
    let mut out = Vec::new();
    for lab in labs.iter().copied() {
        let chosen: Vec<BTreeSet<String>> =
            [a, b].map(|all| speaking(lab, all).into_iter().map(|r| r.run).collect()).into();
        for step in &lab.steps {
            let of = |all: &'a [Record], runs: &BTreeSet<String>| -> Vec<&'a Record> {
                all.iter()
                    .filter(|r| r.lab == lab.stem && r.step == step.name && runs.contains(&r.run))
                    .collect()
            };
            let (of_a, of_b) = (of(a, &chosen[0]), of(b, &chosen[1]));
            let (Some(first), Some(second)) = (of_a.first(), of_b.first()) else { continue };
            let differs = differing(first, second);
            let cells = step.cells().into_iter();
            let rows = cells.filter_map(|(c, p)| {
                let (x, y) = (find(a, &first.run, c, p)?, find(b, &second.run, c, p)?);
                let shown = shown(step, (x, a), (y, b), anyway);
                Some(Row { a: x, b: y, shown })
            });
            out.push(Pair { lab, step, differs, rows: rows.collect() });
        }
    }
    out
}

/// Facts that only the build decides; every other one is the machine's.
const BUILD: [&str; 10] = [
    "code",
    "dirty",
    "features",
    "package",
    "profile",
    "revision",
    "rustc",
    "rustflags",
    "target",
    "versions",
];

/// The facts that two runs do not share. What is unknown on either side is named as a difference of value, since nobody can say that
/// it is the same; where both say unknown there is nothing to say.
fn differing(a: &Record, b: &Record) -> Vec<Differs> {
    let mut out = Vec::new();
    let mut put = |thing, fact: &str, a: String, b: String| {
        if a != b {
            out.push(Differs { thing, fact: fact.into(), a, b });
        }
    };
    let facts = |r: &Record| -> BTreeMap<String, String> { r.machine.facts.clone() };
    let (of_a, of_b) = (facts(a), facts(b));
    // The code that decides the numbers is the same: then it doesn't matter which revision it was taken from.
    let same_code = of_a.contains_key("code") && of_a.get("code") == of_b.get("code");
    let skip = |key: &str| same_code && matches!(key, "revision" | "dirty");
    for key in of_a.keys().chain(of_b.keys()).collect::<BTreeSet<_>>() {
        if skip(key) {
            continue;
        }
        let thing = if BUILD.contains(&key.as_str()) { Thing::Build } else { Thing::Machine };
        let text =
            |facts: &BTreeMap<String, String>| facts.get(key).cloned().unwrap_or_else(|| "unknown".into());
        put(thing, key, text(&of_a), text(&of_b));
    }
    let mode = |r: &Record| format!("{:?}", r.mode).to_lowercase();
    put(Thing::Plan, "mode", mode(a), mode(b));
    if a.kind == Kind::Contended {
        put(Thing::Plan, "threads", a.threads.to_string(), b.threads.to_string());
    }
    put(Thing::Plan, "headline", a.headline.clone(), b.headline.clone());
    // The same revision with changes holds other code each time.
    if !same_code && [&of_a, &of_b].iter().all(|f| f.get("dirty").is_some_and(|d| d == "true")) {
        let text = |facts: &BTreeMap<String, String>| {
            format!("{} with changes", facts.get("revision").map_or("unknown", String::as_str))
        };
        out.push(Differs { thing: Thing::Build, fact: "changes".into(), a: text(&of_a), b: text(&of_b) });
    }
    out.sort();
    out
}

fn shown(
    step: &Step,
    (a, of_a): (&Record, &[Record]),
    (b, of_b): (&Record, &[Record]),
    anyway: bool,
) -> Shown {
    let value = b.headline.as_str();
    if let Some(why) = [a, b].into_iter().find_map(not_quotable).filter(|_| !anyway) {
        return Shown::Cannot(why);
    }
    if let Err(why) = enough_launches(a, value).and_then(|()| enough_launches(b, value)) {
        return Shown::Cannot(why);
    }
    if let Some(why) = unequal_work([a, b]) {
        return Shown::Cannot(why);
    }
    let Some(ratio) = stats::unpaired(&b.values(value), &a.values(value)) else {
        return Shown::Cannot(format!(
            "no ratio of {}, which is not positive everywhere",
            super::name::value(step, value)
        ));
    };
    let bands = (aa_band(of_a, &a.run, &a.param, value), aa_band(of_b, &b.run, &b.param, value));
    let needs_band = step.launch == Launch::Together && step.kind.is_timed() && a.case != AA;
    let band = match bands {
        (Some(x), Some(y)) => x.max(y),
        (Some(one), None) | (None, Some(one)) if !needs_band => one,
        (None, None) if !needs_band => 0.0,
        _ => return Shown::Cannot("a run has no A/A row for it: no smallest difference is known".into()),
    };
    let inside = ratio.lo <= band.exp() && ratio.hi >= (-band).exp();
    if inside { Shown::NoDifference(ratio) } else { Shown::Differs(ratio) }
}
