//! The gate before every measurement: no contender is timed before it has shown that it does what its name says.
use crate::lab::sample::Sample;

/// What a contender must show, or a sentence that names it and what it did instead.
pub type Check = fn() -> Result<(), String>;

/// Measures if every check passes; else every case at every parameter is unmeasured, for the first reason found.
pub fn checked(
    checks: &[Check],
    cases: &[&str],
    params: &[&str],
    measure: impl FnOnce() -> Vec<Sample>,
) -> Vec<Sample> {
    match checks.iter().try_for_each(|check| check()) {
        Ok(()) => measure(),
        Err(why) => {
            params.iter().flat_map(|p| cases.iter().map(|c| Sample::unmeasured(c, p, why.clone()))).collect()
        }
    }
}

/// A case, what weighs it, and its check.
pub type Weighed = (&'static str, fn(&str) -> Sample, Check);

/// Weighs these cases, each before its check: what a check leaves behind in the allocator or in a scheme of reclamation would be weighed as well.
/// For a step whose cases have a process each.
pub fn weighed(all: &[Weighed], cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let one = |param: &str, (case, weigh, check): &Weighed| {
        let row = Sample { case: (*case).into(), ..weigh(param) };
        match check() {
            Ok(()) => row,
            Err(why) => Sample::unmeasured(case, param, why),
        }
    };
    let of = |p: &&str| -> Vec<Sample> {
        all.iter().filter(|w| cases.contains(&w.0)).map(|w| one(p, w)).collect()
    };
    params.iter().flat_map(of).collect()
}
