//! `underhood report`: what the store holds, as one page.
use std::path::PathBuf;

use super::{
    Outcome,
    args::Common,
    out::{End, Out},
    ready,
};
use crate::{
    lab::Lab,
    record::{file, pool},
    show::{self, report::Kept},
    words::escape,
};

/// Writes the page, of all labs or of `only` some; `-` is stdout, and the usual place is beside the records.
pub(super) fn report(
    labs: &[&'static Lab],
    only: &[&'static Lab],
    output: Option<PathBuf>,
    common: &Common,
    out: &mut Out,
) -> Result<Outcome, End> {
    let store = ready::store(common)?;
    let to_stdout = output.as_ref().is_some_and(|o| o.as_os_str() == "-");
    if to_stdout && common.json {
        return Err(End::Usage("--json says where the page is, and `-o -` prints it: choose one".into()));
    }
    output.iter().try_for_each(|file| ready::not_its_own(&store, file))?;
    let mut loaded = ready::all_records(&store, out)?;
    // The page says it too: whoever is given it did not see the warning.
    let missing: Vec<String> = loaded.skipped().into_iter().chain(loaded.unread.clone()).collect();
    let missing = (!missing.is_empty()).then(|| missing.join("; "));
    let labs = if only.is_empty() { labs } else { only };
    // Of the whole store, also for a page about one lab: every command gives a number the same bracket.
    let typical = pool::typical(&loaded.records);
    if !only.is_empty() {
        loaded.records.retain(|r| only.iter().any(|l| l.stem == r.lab));
    }
    let known = loaded.records.iter().filter(|r| labs.iter().any(|l| l.stem == r.lab)).count();
    if known == 0 {
        let dir = escape::path(store.dir());
        return Err(End::Failed(match &missing {
            Some(what) => format!("nothing in {dir} can be shown: {what}"),
            None => format!("no records in {dir} yet; make some: cargo run --release"),
        }));
    }
    loaded.records = pool::with_typical(labs, loaded.records, &typical);
    let mut pictures = Vec::new();
    for lab in labs {
        match store.pictures(lab.stem) {
            Ok(of_lab) => pictures.push((lab.stem, of_lab)),
            Err(e) => out.warn(&format!("without its traces: {e}")),
        }
    }
    let predictions = ready::predictions(&store, out);
    let kept = Kept {
        records: &loaded.records,
        pictures: &pictures,
        predictions: &predictions,
        remark: missing.as_deref(),
    };
    let page = show::report::report(labs, &kept);
    if to_stdout {
        return out.raw(page.as_bytes());
    }
    let (file, written) = match output {
        Some(file) => {
            let written = file::deliver(&file, page.as_bytes());
            (file, written)
        }
        // The name is ours, so a link that somebody put there is no wish to be followed.
        None => {
            let file = store.dir().join("report.html");
            let written = file::replace(&file, page.as_bytes());
            (file, written)
        }
    };
    let name = escape::path(&file);
    written.map_err(|e| End::Failed(format!("cannot write {name}: {e}")))?;
    out.so_far = Outcome::Quotable;
    out.say(format!("{name}: {} bytes from {known} records", page.len()))?;
    out.json(
        &serde_json::json!({ "report": file.to_string_lossy(), "bytes": page.len(), "records": known }),
    )?;
    Ok(Outcome::Quotable)
}
