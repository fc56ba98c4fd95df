//! `underhood report`: what the store holds, as one page.
use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
};

use super::{
    Outcome,
    args::Common,
    out::{End, Out},
    ready,
};
use crate::{
    lab::Lab,
    show::{self, report::Kept},
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
    let mut loaded = store.load_all()?;
    let skipped = loaded.skipped();
    let labs = if only.is_empty() { labs } else { only };
    if !only.is_empty() {
        loaded.records.retain(|r| only.iter().any(|l| l.stem == r.lab));
    }
    let known = loaded.records.iter().filter(|r| labs.iter().any(|l| l.stem == r.lab)).count();
    if known == 0 {
        let dir = store.dir().display();
        return Err(End::Failed(match &skipped {
            Some(what) => format!("nothing in {dir} can be shown: {what}"),
            None => format!("no records in {dir} yet; make some: cargo run --release"),
        }));
    }
    loaded.records = ready::pooled(labs, loaded.records);
    if let Some(what) = &skipped {
        out.warn(what);
    }
    let mut pictures = Vec::new();
    for lab in labs {
        match store.pictures(lab.stem) {
            Ok(of_lab) => pictures.push((lab.stem, of_lab)),
            Err(e) => out.warn(&format!("without its traces: {e}")),
        }
    }
    let (predictions, unread) = store.predictions()?;
    if unread > 0 {
        out.warn(&format!("{unread} predictions could not be read"));
    }
    let kept = Kept {
        records: &loaded.records,
        pictures: &pictures,
        predictions: &predictions,
        remark: skipped.as_deref(),
    };
    let page = show::report::report(labs, &kept);
    let file = output.unwrap_or_else(|| store.dir().join("report.html"));
    if file.as_os_str() == "-" {
        io::stdout().write_all(page.as_bytes())?;
        return Ok(Outcome::Quotable);
    }
    fs::write(&file, &page).map_err(|e| End::Failed(format!("cannot write {}: {e}", file.display())))?;
    out.say(format!("{}: {} bytes from {known} records", file.display(), page.len()))?;
    out.json(&serde_json::json!({ "report": file, "bytes": page.len(), "records": known }))?;
    Ok(Outcome::Quotable)
}
