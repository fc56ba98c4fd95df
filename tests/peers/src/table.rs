//! What four programs measured of the same kernels, as a Markdown table. Arguments: the store with our records, criterion's folder, what divan
//! printed, what tango printed against the same build, and against the build that is 4 % slower.
use std::{env, error::Error, fs, path::Path};

use peers::{KERNELS, OPS};
use serde_json::Value;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [store, criterion, divan, same, slower] = &args[..] else {
        return Err("five arguments: STORE CRITERION DIVAN SAME SLOWER".into());
    };
    let [divan, same, slower] = [divan, same, slower].map(fs::read_to_string);
    let (divan, same, slower) = (divan?, same?, slower?);
    println!("| kernel | underhood | criterion | divan (median) | tango, the same build | tango, 4 % slower |");
    println!("|---|---|---|---|---|---|");
    for id in KERNELS {
        let (Some(ours), Some(theirs)) = (ours(Path::new(store), id)?, criterion_of(Path::new(criterion), id)?) else {
            return Err(format!("nothing was measured of {id}").into());
        };
        println!(
            "| `{}` | {ours} | {theirs} | {} | {} | {} |",
            id.replace("//", "/"),
            divan_of(&divan, id).ok_or("divan printed no such row")?,
            tango_of(&same, id).ok_or("tango printed no such row")?,
            tango_of(&slower, id).ok_or("tango printed no such row")?,
        );
    }
    Ok(())
}

fn nanoseconds(mid: f64, lo: f64, hi: f64) -> String {
    format!("{mid:.2} [{lo:.2}, {hi:.2}] ns")
}

/// The interval over launches of the newest record.
fn ours(store: &Path, id: &str) -> Result<Option<String>, Box<dyn Error>> {
    let parts: Vec<&str> = id.split('/').collect();
    let [lab, step, param, case] = parts[..] else { return Err(format!("{id} has not four parts").into()) };
    let text = fs::read_to_string(store.join(format!("{lab}.jsonl")))?;
    let mut found = None;
    for line in text.lines() {
        let record: Value = serde_json::from_str(line)?;
        if record["step"] == step && record["param"] == param && record["case"] == case {
            let of = |name: &str| record["interval"][name].as_f64();
            found = of("mid").zip(of("lo")).zip(of("hi")).map(|((mid, lo), hi)| nanoseconds(mid, lo, hi));
        }
    }
    Ok(found)
}

/// Criterion's mean and its confidence interval.
fn criterion_of(folder: &Path, id: &str) -> Result<Option<String>, Box<dyn Error>> {
    let file = folder.join(id.replace('/', ".")).join("new/estimates.json");
    let estimates: Value = serde_json::from_str(&fs::read_to_string(file)?)?;
    let (mean, per_op) = (&estimates["mean"], 1.0 / OPS as f64);
    let of = |v: &Value| v.as_f64().map(|v| v * per_op);
    let bounds = &mean["confidence_interval"];
    let ends = of(&bounds["lower_bound"]).zip(of(&bounds["upper_bound"]));
    Ok(of(&mean["point_estimate"]).zip(ends).map(|(mid, (lo, hi))| nanoseconds(mid, lo, hi)))
}

/// The third column is the median.
fn divan_of(text: &str, id: &str) -> Option<String> {
    let row = text.lines().find(|l| l.split_whitespace().any(|word| word == id))?;
    let median = row.split('│').nth(2)?.trim();
    let (number, unit) = median.split_once(' ')?;
    let scale = match unit {
        "ns" => 1.0,
        "µs" => 1e3,
        "ms" => 1e6,
        _ => return None,
    };
    Some(format!("{:.2} ns", number.parse::<f64>().ok()? * scale / OPS as f64))
}

/// The last word is the difference; a star says that tango takes it for real.
fn tango_of(text: &str, id: &str) -> Option<String> {
    let row = text.lines().find(|l| l.split_whitespace().next() == Some(id))?;
    let last = row.split_whitespace().last()?;
    Some(last.replace('*', " (a difference)"))
}
