//! `underhood compare A B`: two stores, the facts that differ, and the ratios.
use std::path::{Path, PathBuf};

use super::{
    Outcome,
    out::{End, Out},
    ready,
};
use crate::{
    judge::{
        between::{self, Differs, Pair, Row, Shown},
        name,
    },
    lab::Lab,
    record::{Record, Store},
    words::{escape, number},
};

/// Refused is what is too unlike; exit code 4 if that is everything, 3 if somebody insisted.
pub(super) fn compare(
    labs: &[&'static Lab],
    [a, b]: [&PathBuf; 2],
    anyway: bool,
    out: &mut Out,
) -> Result<Outcome, End> {
    let (of_a, of_b) = (load(a, out)?, load(b, out)?);
    let pairs = between::pairs(labs, &of_a, &of_b, anyway);
    if pairs.is_empty() {
        return Err(End::Failed("the two stores have no step in common".into()));
    }
    out.say(format!("A: {}\nB: {}", escape::path(a), escape::path(b)))?;
    let mut told: Vec<Vec<Differs>> = Vec::new();
    let (mut compared, mut refused, mut insisted) = (0, 0, 0);
    for pair in &pairs {
        // Most steps differ in the same facts: these are said once.
        if !told.contains(&pair.differs) {
            facts(&pair.differs, out)?;
            told.push(pair.differs.clone());
        }
        out.heading(format!("{} / {}, B against A", pair.lab.stem, pair.step.name))?;
        let unlike = pair.unlike();
        if let Some(why) = &unlike {
            if !anyway {
                refused += 1;
                out.prose("refused: ", &format!("{why} (--anyway compares all the same)"))?;
                json(pair, None, unlike.as_deref(), out)?;
                continue;
            }
            insisted += 1;
            out.prose("compared anyway: ", why)?;
        }
        for row in &pair.rows {
            if !matches!(row.shown, Shown::Cannot(_)) {
                compared += 1;
                insisted += usize::from(!row.a.quotable || !row.b.quotable);
            }
            out.prose("  ", &line(pair, row))?;
            json(pair, Some(row), unlike.as_deref(), out)?;
        }
    }
    out.prose(
        "\n",
        "The interval covers the launches of these two runs, not what else changed between them. Repeat both before you \
         believe a small difference.",
    )?;
    Ok(match (compared, refused, insisted) {
        (0, 1.., _) => Outcome::Unfit,
        (_, 1.., _) | (0, ..) | (_, _, 1..) => Outcome::NotQuotable,
        _ => Outcome::Quotable,
    })
}

fn load(dir: &Path, out: &mut Out) -> Result<Vec<Record>, End> {
    if !dir.is_dir() {
        return Err(End::Usage(format!("{} is not a folder with records", escape::path(dir))));
    }
    let loaded = ready::all_records(&Store::open(dir), out)?;
    if loaded.records.is_empty() {
        return Err(End::Failed(format!("no records in {}", escape::path(dir))));
    }
    Ok(loaded.records)
}

fn facts(differs: &[Differs], out: &mut Out) -> Result<(), End> {
    if differs.is_empty() {
        return out.say("\nMachine, build and plan are the same.");
    }
    out.say("\nWhat differs:")?;
    for d in differs {
        let thing = match d.thing {
            between::Thing::Machine => "machine",
            between::Thing::Build => "build",
            between::Thing::Plan => "plan",
        };
        out.prose(
            "  ",
            &format!(
                "{thing}: {} was {}, is {}",
                escape::line(&d.fact),
                escape::line(&d.a),
                escape::line(&d.b)
            ),
        )?;
    }
    Ok(())
}

fn line(pair: &Pair<'_>, row: &Row<'_>) -> String {
    let value = pair.step.headline;
    let of = |r: &Record| r.interval_of(value).map_or("unmeasured".into(), |i| number::interval(value, &i));
    let shown = match &row.shown {
        Shown::Differs(ratio) => number::interval("ratio", ratio),
        Shown::NoDifference(ratio) => format!("no difference shown, {}", number::interval("ratio", ratio)),
        Shown::Cannot(why) => format!("not compared: {}", escape::line(why)),
    };
    let mark = if row.a.quotable && row.b.quotable { "" } else { " (not quotable)" };
    format!(
        "{}: {} and now {}: {shown}{mark}",
        name::cell(pair.step, &row.a.case, &row.a.param),
        of(row.a),
        of(row.b)
    )
}

fn json(pair: &Pair<'_>, row: Option<&Row<'_>>, unlike: Option<&str>, out: &mut Out) -> Result<(), End> {
    out.json(&serde_json::json!({
        "lab": pair.lab.stem, "step": pair.step.name, "unlike": unlike, "differs": pair.differs,
        "case": row.map(|r| &r.a.case), "param": row.map(|r| &r.a.param), "value": pair.step.headline,
        "a": row.map(|r| &r.a.id), "b": row.map(|r| &r.b.id), "shown": row.map(|r| &r.shown),
    }))
}
