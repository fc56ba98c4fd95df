//! `underhood export`: the records for other programs.
use std::{fs, path::Path};

use super::{
    Outcome,
    args::{Common, Form},
    out::{End, Out},
    ready, tell,
};
use crate::{lab::Lab, show::export};

/// To stdout, or to a file. What is exported goes out as it is, with no colour and no line breaks of ours.
pub(super) fn export(
    labs: &[&'static Lab],
    form: &Form,
    output: Option<&Path>,
    common: &Common,
    out: &mut Out,
) -> Result<Outcome, End> {
    if usize::from(common.json) + form.count() != 1 {
        return Err(End::Usage("choose one form: --anki, --md, --csv or --json".into()));
    }
    let store = ready::store(common)?;
    let mut loaded = store.load_all()?;
    tell::skipped(&loaded, out);
    loaded.records.retain(|r| labs.iter().any(|l| l.stem == r.lab));
    if loaded.records.is_empty() {
        let dir = store.dir().display();
        return Err(End::Failed(format!(
            "no records of these labs in {dir} yet; make some: cargo run --release"
        )));
    }
    let text = if form.anki {
        let (deck, count) = export::anki(labs, &ready::pooled(labs, loaded.records));
        if count == 0 {
            out.warn("nothing of it may be quoted, so there is no card; `underhood quote LAB` says why");
            return Ok(Outcome::NotQuotable);
        }
        deck
    } else if form.md {
        export::markdown(labs, &ready::pooled(labs, loaded.records))
    } else if form.csv {
        export::csv(&loaded.records)
    } else {
        let line = |r| serde_json::to_string(r).map(|l| l + "\n");
        let lines: Result<String, _> = loaded.records.iter().map(line).collect();
        lines.map_err(|e| End::Failed(format!("cannot write JSON: {e}")))?
    };
    match output.filter(|o| o.as_os_str() != "-") {
        None => return out.raw(text.as_bytes()),
        Some(file) => {
            fs::write(file, text)
                .map_err(|e| End::Failed(format!("cannot write {}: {e}", file.display())))?;
        }
    }
    Ok(Outcome::Quotable)
}
