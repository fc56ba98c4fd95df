//! `underhood verify`: runs the command of a record again and says whether the new number agrees.
use clap::Parser;

use super::{
    Outcome,
    args::{Common, Single},
    out::{End, Out},
    ready,
    run::Workplace,
};
use crate::{
    lab::{Lab, Launch},
    machine::Machine,
    record::Record,
    words::number,
};

pub(super) fn verify(
    id: &str,
    labs: &[&'static Lab],
    common: &Common,
    out: &mut Out,
) -> Result<Outcome, End> {
    let store = ready::store(common)?;
    let old = store.find(id)?;
    let [old] = old.as_slice() else {
        let what = if old.is_empty() { "no record" } else { "more than one record" };
        return Err(End::Usage(format!("{what} begins with '{id}'; `underhood quote LAB` prints ids")));
    };
    let step = labs
        .iter()
        .find(|l| l.stem == old.lab)
        .and_then(|l| Some((*l, l.steps.iter().find(|s| s.name == old.step)?)));
    let Some((lab, step)) = step else {
        return Err(End::Failed(format!("this version has no step {}/{}", old.lab, old.step)));
    };
    if let Launch::Recorded(command) = step.launch {
        return Err(End::Failed(format!("the lab does not measure this; `{command}` does")));
    }
    let words = old.command.split_once(" -- ").map_or("", |(_, flags)| flags);
    let flags = Single::try_parse_from(std::iter::once(lab.stem).chain(words.split_whitespace()))
        .map_err(|_| {
            End::Failed(format!("this version does not understand the record's command: {}", old.command))
        })?
        .run;
    let plan = flags.plan();
    let machine = ready::machine(&plan, out)?;
    let place = Workplace { run: &flags, plan: &plan, machine: &machine, store: &store };
    if let Some(why) = place.refusal(step) {
        out.prose("refused: ", &format!("this machine cannot show it now: {why}"))?;
        out.json(&serde_json::json!({ "old": old.id, "refused": why }))?;
        return Ok(Outcome::Unfit);
    }
    let (records, whole) = place.measure(lab, step, out)?;
    store.append(&records)?;
    if !whole {
        return Err(End::Interrupted);
    }
    let Some(new) = records.iter().find(|r| r.case == old.case && r.param == old.param) else {
        return Err(End::Failed(format!("the new run has no row {} {}", old.case, old.param)));
    };
    out.say(format!("{} / {} / {} {}", lab.stem, step.name, old.case, old.param))?;
    let (agrees, sentence) = compare(old, new);
    out.prose("", &sentence)?;
    for line in differences(&old.machine, &new.machine) {
        out.say(format!("  {line}"))?;
    }
    for doubt in &new.doubts {
        out.say(format!("  the new number is not quotable: {doubt}"))?;
    }
    out.json(&serde_json::json!({ "old": old.id, "new": new.id, "agrees": agrees, "text": sentence }))?;
    Ok(match (agrees, new.quotable) {
        (Some(true), true) => Outcome::Quotable,
        (Some(false), true) => Outcome::Failed,
        _ => Outcome::NotQuotable,
    })
}

/// A new interval over more than this factor would agree with almost anything.
const WIDE: f64 = 2.0;

/// Two intervals agree if they overlap. `None` if there is no interval to hold against, or a useless one.
fn compare(old: &Record, new: &Record) -> (Option<bool>, String) {
    let name = old.headline.as_str();
    match (old.interval_of(name), new.interval_of(name)) {
        (Some(a), Some(b)) if b.lo <= 0.0 || b.hi / b.lo > WIDE => (
            None,
            format!(
                "too wide to tell: it was {}, now it is {}.",
                number::interval(name, &a),
                number::interval(name, &b)
            ),
        ),
        (Some(a), Some(b)) => {
            let agrees = a.lo <= b.hi && b.lo <= a.hi;
            let verdict = if agrees { "agrees" } else { "differs" };
            (
                Some(agrees),
                format!(
                    "{verdict}: it was {}, now it is {}.",
                    number::interval(name, &a),
                    number::interval(name, &b)
                ),
            )
        }
        (None, None) => (None, "nothing to compare: neither run gave a number".into()),
        (Some(_), None) => (None, "the new run gave no number".into()),
        (None, Some(_)) => (None, "the old run gave no number".into()),
    }
}

fn differences(old: &Machine, new: &Machine) -> Vec<String> {
    old.facts
        .iter()
        .filter_map(|(key, was)| {
            let is = new.facts.get(key).map_or("unknown", String::as_str);
            (is != was).then(|| format!("{key} was {was}, is {is}"))
        })
        .collect()
}
