//! `--trace FILE`: plays the cases of a lab once each, and draws them: as a file for Perfetto, and as lanes of text.
use std::path::Path;

use super::{
    Outcome,
    args::Single,
    out::{End, Out},
    ready,
    run::chosen,
};
use crate::{
    lab::Lab,
    measure::trace::{Trace, Tracer},
    record::file,
    show::{lanes, perfetto},
    words::escape,
};

/// Nothing of it is a measurement: no record is written, and the exit code only says whether there is a file.
pub(super) fn trace(
    lab: &'static Lab,
    tracer: Tracer,
    own: &Single,
    to: &Path,
    out: &mut Out,
) -> Result<Outcome, End> {
    let (plan, store) = (own.run.plan(), ready::store(&own.common)?);
    let (steps, name) = (chosen(lab, &own.run)?, escape::path(to));
    let failed = |e: std::io::Error| End::Failed(format!("cannot write {name}: {e}"));
    // Before the seconds that playing takes.
    ready::not_its_own(&store, to)?;
    file::try_delivering(to).map_err(failed)?;
    ready::threads()?;
    out.heading(format!("{}: {}", lab.stem, lab.question))?;
    out.prose("", "Each case once, traced. Tracing itself takes time and changes the wakers: no number here is a measurement.")?;
    let mut traces = Vec::new();
    for step in steps {
        for (case, trace) in tracer(&plan, step) {
            out.progress(&format!("traced {} / {case}", step.name));
            match trace {
                Ok(trace) => traces.push((step.name, case, trace)),
                Err(why) => out.warn(&format!("{} / {case}: {why}", step.name)),
            }
        }
    }
    out.progress_end();
    // The file first: whoever reads the lanes may have had enough of them.
    let named: Vec<(String, &Trace)> =
        traces.iter().map(|(step, case, trace)| (format!("{step} / {case}"), trace)).collect();
    let json = perfetto::trace_events(named.iter().map(|(name, trace)| (name.as_str(), *trace)));
    file::deliver(to, json.to_string().as_bytes()).map_err(failed)?;
    out.so_far = if traces.is_empty() { Outcome::Failed } else { Outcome::Quotable };
    for (name, trace) in &named {
        out.say(format!("\n{name}"))?;
        out.text(&lanes::text(trace, out.look.width))?;
    }
    out.say(format!("\n{}", lanes::LEGEND))?;
    let events = named.iter().map(|(_, t)| t.events.len()).sum::<usize>();
    let pictures: Vec<_> =
        traces.iter().map(|(step, case, trace)| lanes::picture(step, case, trace)).collect();
    match store.keep_pictures(lab.stem, &pictures) {
        Ok(()) => out.prose("", "The lanes are kept for `underhood report`.")?,
        Err(e) => out.warn(&format!("the report will not show these lanes: {e}")),
    }
    out.json(
        &serde_json::json!({ "lab": lab.stem, "trace": to.to_string_lossy(), "cases": traces.len(), "events": events }),
    )?;
    out.prose(
        "",
        &format!("{events} events of {} cases are in {name}: open it in ui.perfetto.dev", traces.len()),
    )?;
    Ok(out.so_far)
}
