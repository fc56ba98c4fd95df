//! `underhood soak`: labs in turn, again and again, so that a number is known over sessions and not over one lucky minute.
use std::{
    sync::atomic::Ordering::Relaxed,
    thread,
    time::{Duration, Instant, SystemTime},
};

use super::{
    Outcome, STOP,
    args::{Common, Run},
    out::{End, Out},
    ready,
    run::Workplace,
};
use crate::{
    lab::{Lab, Launch, Step},
    machine::{Level, Machine, built},
    measure::order::Order,
    record::{Record, Store, pool},
};

/// How long to wait before looking again whether others have left the machine.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Shorter than this between two sessions of a step they would be one.
const APART: Duration = Duration::from_secs(pool::APART_S + 5);

/// Measures until the time is over, every step has so many sessions, or Ctrl-C. What was measured by then is in the store.
pub(super) fn soak(
    labs: &[&'static Lab],
    time: Duration,
    sessions: usize,
    run: &Run,
    common: &Common,
    out: &mut Out,
) -> Result<Outcome, End> {
    let store = ready::store(common)?;
    let (began, until) = (SystemTime::now(), Instant::now() + time);
    let seed = began.duration_since(SystemTime::UNIX_EPOCH).map_or(1, |d| d.as_nanos() as u64);
    let mut order = Order::new(seed);
    let plan = run.plan();
    let here = |step: &Step| !matches!(step.launch, Launch::Recorded(_));
    let of = labs.iter().flat_map(|l| &l.steps).filter(|s| here(s)).count();
    let (mut measured, mut refused) = (0, 0);
    'rounds: loop {
        let round = Instant::now();
        let mut turn = labs.to_vec();
        order.shuffle(&mut turn);
        let mut any = false;
        for lab in turn {
            let known = store.load(lab.stem)?.records;
            let code = built::of_lab(&lab.origin, lab.stem).remove("code");
            let wanted: Vec<&'static Step> = lab
                .steps
                .iter()
                .filter(|s| here(s) && count(lab, s, &known, code.as_deref()) < sessions)
                .collect();
            if wanted.is_empty() {
                continue;
            }
            if over(until) {
                break 'rounds;
            }
            let machine = quiet(until, out)?;
            let place = Workplace { run, plan: &plan, machine: &machine, store: &store };
            for step in wanted {
                if over(until) {
                    break 'rounds;
                }
                any = true;
                if place.refusal(step).is_some() {
                    refused += 1;
                    continue;
                }
                let (records, whole) = match place.measure(lab, step, out) {
                    Ok(done) => done,
                    Err(End::Interrupted) => break 'rounds,
                    Err(e) => return Err(e),
                };
                // A session that was cut short is no session.
                if !whole {
                    break 'rounds;
                }
                store.append(&records)?;
                measured += 1;
                let quotable = records.iter().filter(|r| r.quotable).count();
                let name = format!("{}/{}", lab.stem, step.name);
                out.say(format!(
                    "{name}: {quotable} of {} rows may be quoted; {measured} measured so far",
                    records.len()
                ))?;
                out.json(&serde_json::json!({ "lab": lab.stem, "step": step.name, "rows": records.len(), "quotable": quotable }))?;
            }
        }
        if !any {
            break; // every step has its sessions
        }
        // With few labs a round is over before another session may begin.
        while round.elapsed() < APART && !over(until) {
            thread::sleep(Duration::from_millis(200).min(APART.saturating_sub(round.elapsed())));
        }
    }
    summary(labs, &store, began, (measured, refused, of), out)?;
    if STOP.load(Relaxed) {
        return Err(End::Interrupted);
    }
    Ok(if measured > 0 { Outcome::Quotable } else { Outcome::NotQuotable })
}

fn over(until: Instant) -> bool {
    STOP.load(Relaxed) || Instant::now() >= until
}

/// Sessions of a step with this code.
fn count(lab: &Lab, step: &Step, records: &[Record], code: Option<&str>) -> usize {
    let own: Vec<Record> =
        records.iter().filter(|r| r.machine.facts.get("code").map(String::as_str) == code).cloned().collect();
    let pooled = pool::pooled(lab, step, &own, None);
    let single = usize::from(own.iter().any(|r| r.step == step.name));
    pooled.first().and_then(|r| r.pooled.as_ref()).map_or(single, |p| p.sessions.len())
}

/// The machine, once nobody else is busy on it: who waits costs nothing.
fn quiet(until: Instant, out: &mut Out) -> Result<Machine, End> {
    loop {
        let mut machine = Machine::read();
        ready::examine(&mut machine, out)?;
        let busy =
            machine.grades.values().any(|g| g.level == Level::Unfit && g.reason.contains("other processes"));
        if !busy || over(until) {
            return Ok(machine);
        }
        let share = machine.fitness.get("busy_share").map_or(0.0, |s| s * 100.0);
        out.progress(&format!("waiting: other programs use {share:.0} % of the CPUs"));
        let again = Instant::now() + LOOK_AGAIN;
        while Instant::now() < again && !over(until) {
            thread::sleep(Duration::from_millis(200));
        }
    }
}

/// How many sessions each step has now.
fn summary(
    labs: &[&'static Lab],
    store: &Store,
    began: SystemTime,
    (measured, refused, of): (usize, usize, usize),
    out: &mut Out,
) -> Result<(), End> {
    let took = began.elapsed().unwrap_or_default().as_secs();
    out.say(format!("{measured} sessions of {of} steps in {} min {} s", took / 60, took % 60))?;
    if refused > 0 {
        out.say(format!("{refused} times this machine could not show a step: see `underhood check`"))?;
    }
    let mut by_count = std::collections::BTreeMap::<usize, usize>::new();
    for lab in labs {
        let known = store.load(lab.stem)?.records;
        let code = built::of_lab(&lab.origin, lab.stem).remove("code");
        for step in lab.steps.iter().filter(|s| !matches!(s.launch, Launch::Recorded(_))) {
            *by_count.entry(count(lab, step, &known, code.as_deref())).or_default() += 1;
        }
    }
    for (sessions, steps) in by_count {
        out.say(format!("{steps} steps have {sessions} session{}", if sessions == 1 { "" } else { "s" }))?;
    }
    Ok(())
}
