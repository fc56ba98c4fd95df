//! The gate before every measurement: no contender is timed before it has shown that it does what its name says.
use crate::sample::Sample;

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
