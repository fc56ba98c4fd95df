//! `underhood audit`: the flaws of a benchmark that is not ours, found in what it left behind.
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{
    Outcome,
    out::{End, Out},
};
use crate::{
    evidence::{self, flaws},
    words::escape,
};

/// Where criterion writes, from the folder of a package.
const CRITERION: &str = "target/criterion";

/// What `audit` reads.
#[derive(Clone, Debug, Args)]
pub(super) struct Audit {
    /// Files of the recorder, and folders with such files (*.audit.jsonl) or with criterion's results [default: target/criterion]
    #[arg(value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
}

pub(super) const EXITS: &str = "Exit codes: 0 no flaw found, 1 something can't be read, 2 usage, 3 flaws found.
No flaw found is no proof: the audit knows some flaws, and names under \"Not judged\" what the evidence can't show.
The recorder is underhood::evidence::Recorder; its documentation shows it in a benchmark of two threads.";

/// Prints for each benchmark what was looked at, what is wrong with it and what to do, and what could not be judged.
pub(super) fn audit(flags: &Audit, out: &mut Out) -> Result<Outcome, End> {
    let paths = if flags.paths.is_empty() { vec![PathBuf::from(CRITERION)] } else { flags.paths.clone() };
    let (benchmarks, unread) = evidence::read(&paths);
    let audited: Vec<_> = benchmarks.iter().flat_map(flaws::audit_all).collect();
    for of in &audited {
        out.json(&json!({
            "benchmark": of.name, "file": of.file.to_string_lossy(), "looked_at": of.looked_at, "not_judged": of.open,
            "flaws": of.flaws.iter().map(|f| json!({ "flaw": f.mistake.id(), "seen": f.seen, "do": f.mistake.cure() }))
                .collect::<Vec<_>>(),
        }))?;
        out.heading(escape::line(&of.name))?;
        out.prose("  Looked at: ", &format!("{}.", of.looked_at))?;
        for flaw in &of.flaws {
            out.prose("  Flaw: ", &format!("{}.", flaw.seen))?;
            out.prose("    What to do: ", flaw.mistake.cure())?;
        }
        if of.flaws.is_empty() {
            out.say("  No flaw found.")?;
        }
        if !of.open.is_empty() {
            out.prose("  Not judged: ", &format!("{}.", of.open.join("; ")))?;
        }
    }
    for e in &unread {
        out.json(&json!({ "file": e.path.to_string_lossy(), "unreadable": e.why }))?;
        out.warn(&e.to_string());
    }
    if flags.paths.is_empty() && audited.is_empty() {
        out.warn("run a benchmark with criterion first, or name a file or folder");
    }
    let (found, of) = (audited.iter().map(|a| a.flaws.len()).sum::<usize>(), audited.len());
    if found > 0 {
        let with = audited.iter().filter(|a| !a.flaws.is_empty()).count();
        let flaws = if found == 1 { "1 flaw".into() } else { format!("{found} flaws") };
        out.say(format!("\n{flaws} in {with} of {of} audited."))?;
    }
    Ok(match (unread.is_empty(), found) {
        (false, _) => Outcome::Failed,
        (true, 0) => Outcome::Quotable,
        (true, _) => Outcome::NotQuotable,
    })
}
