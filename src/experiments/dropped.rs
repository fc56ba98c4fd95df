//! Programs on .NET that make many objects, drop them, and say what is left; several rows in one process (`dotnet/Leak.cs`).
use crate::{
    experiments::dotnet::{self, Knob, Told},
    lab::{Setting, sample::Sample},
};

/// All methods are compiled fully at their first call. Code of the framework that was compiled beforehand is used as it is.
pub const COMPILED: &[Knob] = &[("TieredCompilation", "0")];

/// A program, and how to see that it did all of its work.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// So many objects in each row.
    pub count: u32,
    /// What else it is told.
    pub rest: &'static [&'static str],
    /// The value that counts what was done.
    pub counter: &'static str,
}

/// Runs all rows in one process. The value of a row is the part of its objects that the counter must have counted: all, or none of them.
pub fn run(program: &Program, rows: &[Setting<f64>]) -> Vec<Sample> {
    let names: Vec<&str> = rows.iter().map(Setting::id).collect();
    let (names, count) = (names.join(","), program.count.to_string());
    let args = [&[program.name, names.as_str(), count.as_str()], program.rest].concat();
    checked(program, rows, dotnet::here().and_then(|dotnet| dotnet.rows(&args, COMPILED)))
}

/// A sample for each row: what the program told, or why it gives no number.
pub fn checked(
    program: &Program,
    rows: &[Setting<f64>],
    told: Result<Vec<(String, Told)>, String>,
) -> Vec<Sample> {
    let one = |row: &Setting<f64>| -> Result<Sample, String> {
        let all = told.as_ref().map_err(Clone::clone)?;
        let mine = all.iter().find(|(name, _)| name == row.id());
        let (_, told) = mine.ok_or("the program said nothing about this row")?;
        let sample = told.clone().sample()?;
        let (done, want) = (sample.values.get(program.counter), row.value * f64::from(program.count));
        match done {
            Some(done) if (done - want).abs() < 0.5 => Ok(Sample { case: row.id().into(), ..sample }),
            Some(done) => Err(format!("the program counted {done} instead of {want} objects")),
            None => Err("the program did not count what it did".into()),
        }
    };
    rows.iter().map(|row| one(row).unwrap_or_else(|why| Sample::unmeasured(row.id(), "", why))).collect()
}
