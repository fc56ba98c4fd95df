//! `underhood soak`: labs in turn, again and again, so that a number is known over sessions and not over one lucky minute.
use std::{
    sync::atomic::Ordering::Relaxed,
    thread,
    time::{Duration, Instant, SystemTime},
};

use super::{
    Outcome,
    args::{Common, Run},
    interrupt::{Measuring, STOP},
    out::{End, Out},
    ready,
    run::{Measured, Partial, Workplace},
};
use crate::{
    lab::{Lab, Launch, Step},
    machine::{Level, Machine, built},
    measure::order::Order,
    record::{Record, Store, StoreError, pool},
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
    let mut waiting = Waiting::default();
    'rounds: loop {
        let round = Instant::now();
        let mut turn = labs.to_vec();
        order.shuffle(&mut turn);
        let mut any = false;
        for lab in turn {
            let Some(known) = ready::records_if_any(&store, lab, out) else { continue };
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
                // A session that was cut short is no session.
                let Measured { records, whole, kept } = match place.measure(lab, step, Partial::Drop, out) {
                    Ok(done) => done,
                    Err(End::Interrupted) => break 'rounds,
                    Err(e) => return Err(e),
                };
                if !whole {
                    break 'rounds;
                }
                match kept {
                    Ok(()) => waiting.store(&store, out),
                    Err(e) => waiting.add(&records, &e, out),
                }
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
    waiting.store(&store, out);
    summary(labs, &store, began, (measured, refused, of), out)?;
    waiting.lost()?;
    if STOP.load(Relaxed) {
        return Err(End::Interrupted);
    }
    Ok(if measured > 0 { Outcome::Quotable } else { Outcome::NotQuotable })
}

/// Records that could not be stored yet. A disk is full for a while and a folder is away for a while; a soak takes hours and goes on.
#[derive(Debug, Default)]
struct Waiting {
    records: Vec<Record>,
    why: String,
}

impl Waiting {
    fn add(&mut self, records: &[Record], why: &StoreError, out: &mut Out) {
        self.records.extend_from_slice(records);
        self.why = why.to_string();
        out.warn(&format!("{why}; {} records are kept in memory and tried again later", self.records.len()));
    }

    /// Tries again.
    fn store(&mut self, store: &Store, out: &mut Out) {
        if self.records.is_empty() {
            return;
        }
        match Measuring::begin().keep(store, &self.records) {
            Ok(()) => {
                out.warn(&format!("the {} records that waited are stored now", self.records.len()));
                self.records.clear();
            }
            Err(e) => self.why = e.to_string(),
        }
    }

    fn lost(&self) -> Result<(), End> {
        match self.records.len() {
            0 => Ok(()),
            n => Err(End::Failed(format!("{}; {n} records are lost", self.why))),
        }
    }
}

fn over(until: Instant) -> bool {
    STOP.load(Relaxed) || Instant::now() >= until
}

/// Sessions of a step with this code, and on this runtime where it runs on another program.
fn count(lab: &Lab, step: &Step, records: &[Record], code: Option<&str>) -> usize {
    let runtime = lab.runs_on.map(|runtime| runtime());
    let same = |r: &&Record| {
        let fact = |name: &str| r.machine.facts.get(name).map(String::as_str);
        fact("code") == code && fact("runtime") == runtime.as_deref()
    };
    let own: Vec<Record> = records.iter().filter(same).cloned().collect();
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
        let Some(known) = ready::records_if_any(store, lab, out) else { continue };
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
