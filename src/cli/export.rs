//! `underhood export`: the records for other programs.
use std::path::Path;

use super::{
    Outcome,
    args::{Common, Form},
    out::{End, Out},
    ready,
};
use crate::{
    lab::Lab,
    record::{Record, file, pool},
    show::export,
    words::escape,
};

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
    let output = output.filter(|o| o.as_os_str() != "-");
    output.iter().try_for_each(|file| ready::not_its_own(&store, file))?;
    let mut loaded = ready::all_records(&store, out)?;
    let typical = pool::typical(&loaded.records);
    loaded.records.retain(|r| labs.iter().any(|l| l.stem == r.lab));
    if loaded.records.is_empty() {
        let dir = escape::path(store.dir());
        return Err(End::Failed(format!(
            "no records of these labs in {dir} yet; make some: cargo run --release"
        )));
    }
    let text = if form.anki {
        let (deck, count) = export::anki(labs, &pool::with_typical(labs, loaded.records, &typical));
        if count == 0 {
            out.warn("nothing of it may be quoted, so there is no card; `underhood quote LAB` says why");
            return Ok(Outcome::NotQuotable);
        }
        deck
    } else if form.md {
        export::markdown(labs, &pool::with_typical(labs, loaded.records, &typical))
    } else if form.csv {
        export::csv(&loaded.records)
    } else {
        // A record with fields that this version does not know goes out with them.
        let line = |r: &Record| match store.text_of(r) {
            Some(text) => Ok(text + "\n"),
            None => serde_json::to_string(r).map(|l| l + "\n"),
        };
        let lines: Result<String, _> = loaded.records.iter().map(line).collect();
        lines.map_err(|e| End::Failed(format!("cannot write JSON: {e}")))?
    };
    let Some(file) = output else { return out.raw(text.as_bytes()) };
    file::deliver(file, text.as_bytes())
        .map_err(|e| End::Failed(format!("cannot write {}: {e}", escape::path(file))))?;
    Ok(Outcome::Quotable)
}
