//! `underhood verify`: runs the command of a record again and says whether the new number agrees.
use clap::Parser;

use super::{
    Outcome,
    args::{Common, Single},
    out::{End, Out},
    ready,
    run::{Measured, Partial, Workplace},
    shape,
};
use crate::{
    judge::name,
    lab::{Lab, Launch},
    machine::Machine,
    record::{Record, pool},
    words::{escape, number},
};

pub(super) fn verify(
    id: &str,
    labs: &[&'static Lab],
    common: &Common,
    out: &mut Out,
) -> Result<Outcome, End> {
    let store = ready::store(common)?;
    let mut old = ready::all_records(&store, out)?.find(id);
    // Whether another file could be read does not change what is compared here.
    out.unread = false;
    if old.is_empty() {
        old = ready::in_the_notes(id, labs);
        if !old.is_empty() {
            out.warn("this record is one of the notes', measured on another machine");
        }
    }
    let [old] = old.as_slice() else {
        let what = if old.is_empty() { "no record of this store" } else { "more than one record" };
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
    let shape = shape::of_record(old);
    let (flags, plan) = match &shape {
        Some(shape) => shape::again(old, shape),
        None => {
            let words = old.command.split_once(" -- ").map_or("", |(_, flags)| flags);
            let single = Single::try_parse_from(std::iter::once(lab.stem).chain(words.split_whitespace()));
            single.ok().map(|s| (s.run.clone(), s.run.plan()))
        }
    }
    .ok_or_else(|| {
        End::Failed(format!("this version does not understand the record's command: {}", old.command))
    })?;
    if let Some(shape) = &shape {
        shape::hand_on(shape)?;
    }
    let mut machine = ready::machine(&plan, out)?;
    machine.facts.extend(shape.map(|shape| (shape::FACT.to_string(), shape.text())));
    let place = Workplace { run: &flags, plan: &plan, machine: &machine, store: &store };
    if let Some(why) = place.refusal(step) {
        out.prose("refused: ", &format!("this machine cannot show it now: {why}"))?;
        out.json(&serde_json::json!({ "old": old.id, "refused": why }))?;
        return Ok(Outcome::Unfit);
    }
    // What the sessions so far promise, before there is a new one.
    let mut known = ready::records(&store, lab, out)?;
    if !known.iter().any(|r| r.id == old.id) {
        known.push(old.clone());
    }
    let of_store = pool::known_of(&ready::typical(&store), step.kind, &known);
    let pooled = pool::pooled(lab, step, &known, of_store);
    let Measured { records, whole, kept } = place.measure(lab, step, Partial::Keep, out)?;
    kept?;
    if !whole {
        return Err(End::Interrupted);
    }
    let Some(new) = records.iter().find(|r| r.case == old.case && r.param == old.param) else {
        return Err(End::Failed(format!(
            "the new run has no row {}",
            name::cell(step, &old.case, &old.param)
        )));
    };
    let same = |r: &&Record| {
        r.case == new.case && r.param == new.param && r.quotable && pool::key(r) == pool::key(new)
    };
    let (agrees, sentence) = match pooled.iter().find(same) {
        Some(pool) => promised(pool, new),
        None => compare(old, new),
    };
    out.so_far = match (agrees, new.quotable) {
        (Some(true), true) => Outcome::Quotable,
        (Some(false), true) => Outcome::Failed,
        _ => Outcome::NotQuotable,
    };
    out.say(format!("{} / {}: {}", lab.stem, step.name, name::cell(step, &old.case, &old.param)))?;
    out.prose("", &sentence)?;
    for line in differences(&old.machine, &new.machine) {
        out.say(format!("  {line}"))?;
    }
    for doubt in &new.doubts {
        out.say(format!("  the new number is not quotable: {doubt}"))?;
    }
    out.json(&serde_json::json!({ "old": old.id, "new": new.id, "agrees": agrees, "text": sentence }))?;
    Ok(out.so_far)
}

/// A new session agrees with the sessions before it if its value falls where they promised.
fn promised(before: &Record, new: &Record) -> (Option<bool>, String) {
    let name = before.headline.as_str();
    let sessions = before.pooled.as_ref().map(|p| p.words()).unwrap_or_default();
    match (before.interval_of(name), new.interval_of(name)) {
        (Some(said), Some(is)) if !pool::same_state(before, new) => {
            let (said, is) = (number::interval(name, &said), number::value(name, is.mid));
            (
                None,
                format!(
                    "can't tell: this session met another state of the machine than the {sessions}, which predicted {said}. It gives {is}."
                ),
            )
        }
        (Some(said), Some(is)) => {
            let agrees = (said.lo..=said.hi).contains(&is.mid);
            let verdict = if agrees { "agrees" } else { "differs" };
            let (said, is) = (number::interval(name, &said), number::value(name, is.mid));
            (Some(agrees), format!("{verdict}: {sessions} predicted {said}, this one gives {is}."))
        }
        _ => (None, "the new run gave no number".into()),
    }
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
                "can't tell, the new interval is too wide: it was {}, now it is {}.",
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
            (is != was)
                .then(|| format!("{} was {}, is {}", escape::line(key), escape::line(was), escape::line(is)))
        })
        .collect()
}
