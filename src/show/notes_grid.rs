//! The tables of a block of NOTES.md, fitted into the lines that are left for them.
use super::table::{Doubts, against_baseline, no_ratio, rows};
use crate::words::{escape, number};
use crate::{
    judge::{Compared, name, not_quotable},
    lab::{Lab, Step, sample::AA},
    record::{Record, aa_band, find, runs_of},
};

/// A step's table before it is text.
struct Grid {
    head: Vec<String>,
    /// The cells, and whether a claim or a sentence is about this row. A cell without a number is the reason why.
    rows: Vec<(Vec<Result<String, String>>, bool)>,
}

impl Grid {
    /// A row of many cells is a line of text: nobody reads a table of thirty columns.
    fn is_line(&self) -> bool {
        self.rows.len() == 1 && self.head.len() > 7
    }
    /// Head, rule, rows; a line is one; and the empty line after it.
    fn lines(&self) -> usize {
        if self.is_line() { 2 } else { self.rows.len() + 3 }
    }
}

/// The tables of all steps that have records, in at most `room` lines, how many rows were left out for that, and a line with the
/// reasons behind the numbers in brackets, each reason once (it is one of the `room` lines; none without a reason).
///
/// Cases are rows, unless there are fewer parameters than cases. If that does not fit, steps without parameters lie down as
/// well (one row); if that does not fit, the longest tables lose rows, those without a claim or sentence first.
pub(super) fn tables(lab: &Lab, records: &[Record], room: usize) -> (Vec<String>, usize, Option<String>) {
    let all = |lie_down: bool| -> Vec<Grid> {
        lab.steps.iter().filter_map(|step| grid(lab, step, records, lie_down)).collect()
    };
    let bare = |grids: &[Grid]| {
        let mut cells = grids.iter().flat_map(|g| &g.rows).flat_map(|(cells, _)| cells);
        cells.any(Result::is_err)
    };
    let size = |grids: &[Grid]| grids.iter().map(Grid::lines).sum::<usize>() + usize::from(bare(grids));
    let mut grids = all(false);
    if size(&grids) > room {
        grids = all(true);
    }
    let mut left_out = 0;
    while size(&grids) > room {
        match grids.iter_mut().filter(|g| g.rows.len() > 1).max_by_key(|g| g.rows.len()) {
            Some(longest) => {
                let idle = longest.rows.iter().rposition(|(_, cited)| !cited);
                longest.rows.remove(idle.unwrap_or(longest.rows.len() - 1));
                left_out += 1;
            }
            // Every table is down to one row: the last steps go.
            None => left_out += grids.pop().map_or(0, |g| g.rows.len()),
        }
    }
    let (mut out, mut reasons) = (Vec::new(), Doubts::default());
    for grid in grids {
        let (is_line, head) = (grid.is_line(), &grid.head);
        let mut text = |cell: Result<String, String>| {
            cell.unwrap_or_else(|why| format!("not quotable here [{}]", reasons.number(why)))
        };
        let rows = grid.rows.into_iter().map(|(cells, _)| cells.into_iter().map(&mut text).collect());
        let rows: Vec<Vec<String>> = rows.collect();
        if is_line {
            let cells = head[1..].iter().zip(&rows[0][1..]).map(|(name, cell)| format!("{name} {cell}"));
            out.push(format!("{}, {}: {}.", head[0], rows[0][0], cells.collect::<Vec<_>>().join("; ")));
            out.push(String::new());
            continue;
        }
        out.push(format!("| {} |", head.join(" | ")));
        out.push(format!("|{}", "---|".repeat(head.len())));
        out.extend(rows.iter().map(|cells| format!("| {} |", cells.join(" | "))));
        out.push(String::new());
    }
    let reasons: Vec<String> =
        reasons.texts.iter().enumerate().map(|(i, why)| format!("[{}] {why}", i + 1)).collect();
    let reasons = (!reasons.is_empty()).then(|| format!("- Not quotable here: {}.", reasons.join("; ")));
    (out, left_out, reasons)
}

fn grid(lab: &Lab, step: &Step, records: &[Record], lie_down: bool) -> Option<Grid> {
    let run = runs_of(records, lab.stem, step.name).first().copied()?;
    let (mut cases, mut params): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for r in rows(step, records, run) {
        if !cases.contains(&r.case.as_str()) {
            cases.push(&r.case);
        }
        if !params.contains(&r.param.as_str()) {
            params.push(&r.param);
        }
    }
    let by_params = params.len() < cases.len() && (params.len() > 1 || lie_down);
    let (down, across) = if by_params { (&params, &cases) } else { (&cases, &params) };
    let name = |text: &str, is_param: bool| {
        escape::markdown(&match text {
            "" => name::value(step, step.headline),
            text if is_param => name::setting(step, text),
            text => name::variant(step, text),
        })
    };
    // A step without parameters has the headline as its only column (or row) name already.
    let what = if params == [""] { String::new() } else { format!(": {}", name("", true)) };
    let mut head = vec![format!("`{}`{what}", step.name)];
    head.extend(across.iter().map(|text| name(text, !by_params)));
    let is_cited = |text: &str| {
        let picks = step.claims.iter().flat_map(|c| c.bound.picks()).chain(
            lab.says
                .iter()
                .filter(|s| s.step == step.name)
                .flat_map(|s| std::iter::once(s.of).chain(s.against)),
        );
        picks.into_iter().any(|p| if by_params { p.param == text } else { p.case == text })
    };
    let rows = down.iter().map(|d| {
        let mut cells = vec![Ok(name(d, by_params))];
        cells.extend(across.iter().map(|a| {
            let (case, param) = if by_params { (a, d) } else { (d, a) };
            cell(step, records, run, case, param)
        }));
        (cells, is_cited(d))
    });
    Some(Grid { head, rows: rows.collect() })
}

/// `12.3 [12.1, 12.5] ns, 0.37x [0.36, 0.38] (3f2a90c1d455)`: the number, against the baseline, the record. Or why there is none.
fn cell(step: &Step, records: &[Record], run: &str, case: &str, param: &str) -> Result<String, String> {
    let Some(r) = find(records, run, case, param) else { return Ok("-".into()) };
    if let Some(why) = not_quotable(r) {
        return Err(escape::markdown(&why));
    }
    let id = escape::markdown(&r.id);
    if case == AA {
        // Of zeros there is no band: they have no ratio.
        let band = aa_band(records, run, param, step.headline).map(number::band);
        return Ok(band.map_or("-".into(), |band| format!("shows no difference under {band} ({id})")));
    }
    let Some(headline) = r.interval_of(step.headline) else {
        return Ok(format!("no launch reported it ({id})"));
    };
    let ratio = match against_baseline(step, records, r) {
        None => String::new(),
        Some(Compared::Differs { ratio, .. }) => format!(", {}", number::interval("ratio", &ratio)),
        // Two counts that are the same need no words.
        Some(Compared::NoDifference { .. }) if !step.kind.is_timed() => String::new(),
        Some(Compared::NoDifference { .. }) => ", no difference shown".into(),
        // Against nothing at all there is no ratio, and of a count nobody expects one.
        Some(Compared::Cannot(_)) if !step.kind.is_timed() || headline.hi <= 0.0 => String::new(),
        Some(Compared::Cannot(why)) => format!(", {}", escape::markdown(&no_ratio(step, &why))),
    };
    Ok(format!("{}{ratio} ({id})", super::shown(r, step.headline)))
}
