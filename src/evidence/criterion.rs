//! What criterion 0.8 leaves in `target/criterion`: for each benchmark a folder `new` with the samples, their estimates and the
//! benchmark's name. Source of the format: criterion 0.8.2, src/lib.rs (`SavedSample`), src/estimate.rs, src/report.rs (`BenchmarkId`).
use std::{fs, path::Path, time::UNIX_EPOCH};

use serde::{Deserialize, de::DeserializeOwned};

use super::{
    Benchmark, Unreadable,
    flaws::{Case, Change, Taken},
    text,
};

/// The file with the samples of one benchmark.
pub(super) const SAMPLE: &str = "sample.json";

#[derive(Deserialize)]
struct Sample {
    /// How many iterations each sample had.
    iters: Vec<f64>,
    /// How long all of them took, in ns.
    times: Vec<f64>,
}

#[derive(Deserialize)]
struct Id {
    group_id: String,
    function_id: Option<String>,
    value_str: Option<String>,
}

#[derive(Deserialize)]
struct Estimates {
    mean: Estimate,
    slope: Option<Estimate>,
}

#[derive(Deserialize)]
struct Changes {
    mean: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
    confidence_interval: Ends,
}

#[derive(Deserialize)]
struct Ends {
    lower_bound: f64,
    upper_bound: f64,
}

/// A case, and the name of the group whose cases it is compared with.
pub(super) type OfGroup = (String, Case);

/// The case whose samples are in this file; the files beside it name it and say what criterion printed.
///
/// # Errors
/// If one of the files is damaged, or a time is negative.
pub(super) fn case(sample_file: &Path) -> Result<OfGroup, Unreadable> {
    let at = |path: &Path, why: String| Unreadable { path: path.into(), why };
    let sample: Sample = json(sample_file)?;
    let (iters, times) = (sample.iters.len(), sample.times.len());
    if iters != times {
        return Err(at(sample_file, format!("it has {iters} numbers of iterations and {times} times")));
    }
    let mut samples = Vec::new();
    for (i, (ops, took_ns)) in sample.iters.into_iter().zip(sample.times).enumerate() {
        // JSON has no NaN, and a number that is too large is read as infinite.
        if !(ops.is_finite() && ops >= 1.0) {
            return Err(at(sample_file, format!("sample {} has {ops} iterations", i + 1)));
        }
        if !(took_ns.is_finite() && took_ns >= 0.0) {
            return Err(at(sample_file, format!("sample {} took {took_ns} ns, which is no time", i + 1)));
        }
        samples.push(Taken { turn: i, took_ns, ops, ..Taken::default() });
    }
    if samples.is_empty() {
        return Err(at(sample_file, "it has no samples".into()));
    }
    let folder = sample_file.parent().unwrap_or(Path::new("."));
    let id: Option<Id> = json_if_there(&folder.join("benchmark.json"))?;
    let estimates: Option<Estimates> = json_if_there(&folder.join("estimates.json"))?;
    let beside = folder.parent().unwrap_or(Path::new("."));
    let changes: Option<Changes> = json_if_there(&beside.join("change/estimates.json"))?;
    let written = fs::metadata(sample_file).and_then(|m| m.modified()).ok();
    let written_ns = written.and_then(|t| t.duration_since(UNIX_EPOCH).ok()).map(|t| t.as_nanos() as f64);
    let (group, name) = match id {
        Some(Id { group_id, function_id: Some(function), value_str }) => {
            let of = |name: String| value_str.map_or(name.clone(), |value| format!("{name}/{value}"));
            // Only cases with the same input are compared.
            (of(group_id), function)
        }
        Some(Id { group_id, function_id: None, value_str: Some(value) }) => {
            (format!("{group_id}/{value}"), value)
        }
        Some(Id { group_id, .. }) => (group_id.clone(), group_id),
        None => {
            let name = beside.file_name().map_or("?".into(), |n| n.to_string_lossy().into_owned());
            (beside.display().to_string(), name)
        }
    };
    let case = Case {
        name,
        file: sample_file.into(),
        samples,
        printed_ns: estimates.map(|e| e.slope.unwrap_or(e.mean).point_estimate),
        change: changes.map(|c| Change {
            share: c.mean.point_estimate,
            lo: c.mean.confidence_interval.lower_bound,
            hi: c.mean.confidence_interval.upper_bound,
        }),
        written_ns,
        ..Case::default()
    };
    Ok((group, case))
}

/// The cases by their groups, each in the order in which criterion wrote them.
pub(super) fn groups(mut cases: Vec<OfGroup>) -> Vec<Benchmark> {
    let when = |case: &Case| case.written_ns.unwrap_or(0.0);
    cases.sort_by(|(a, first), (b, second)| a.cmp(b).then(when(first).total_cmp(&when(second))));
    let mut groups: Vec<Benchmark> = Vec::new();
    for (name, case) in cases {
        match groups.last_mut().filter(|g| g.name == name) {
            Some(group) => group.cases.push(case),
            None => groups.push(Benchmark { name, cases: vec![case] }),
        }
    }
    groups
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<T, Unreadable> {
    serde_json::from_str(&text(path)?).map_err(|e| Unreadable { path: path.into(), why: e.to_string() })
}

fn json_if_there<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Unreadable> {
    if fs::symlink_metadata(path).is_err() { Ok(None) } else { json(path).map(Some) }
}
