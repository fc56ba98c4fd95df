//! What most commands need before they begin: the store and the machine.
use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use super::{
    STOP,
    args::Common,
    out::{End, Out},
};
use crate::{
    lab::{Lab, plan::Plan},
    machine::Machine,
    record::{self, Record, Store},
};

/// The store that was asked for, or the usual one.
pub(super) fn store(common: &Common) -> Result<Store, End> {
    let dir = common.store.clone().or_else(Store::default_dir);
    dir.map(Store::open)
        .ok_or_else(|| End::Failed("no folder for records is known here; name one with --store DIR".into()))
}

/// Records as they are shown and judged: where sessions of a step may speak together, they do.
pub(super) fn pooled(labs: &[&'static Lab], records: Vec<Record>) -> Vec<Record> {
    record::pool::with_pools(labs, records)
}

/// Says before minutes of measuring that nothing of it could be kept; the result is worth having all the same.
pub(super) fn try_keeping(store: &Store, lab: &Lab, out: &mut Out) {
    if let Err(e) = store.try_keeping(lab.stem) {
        out.warn(&format!("{e}; what is measured now is shown, and not kept"));
    }
}

/// Reads the machine and examines what it is fit for; a smoke run skips the examination.
pub(super) fn machine(plan: &Plan, out: &mut Out) -> Result<Machine, End> {
    let mut machine = Machine::read();
    if !plan.is_smoke() {
        examine(&mut machine, out)?;
    }
    Ok(machine)
}

/// Examines the machine, for about three seconds.
pub(super) fn examine(machine: &mut Machine, out: &mut Out) -> Result<(), End> {
    machine
        .examine(Duration::from_secs(3), &mut |what| out.progress(&format!("examining the machine: {what}")));
    out.progress_end();
    if STOP.load(Relaxed) { Err(End::Interrupted) } else { Ok(()) }
}
