//! A phase diagram: of a step whose parameters are a grid of two things, who wins in which cell.
//!
//! Each cell has its number; the colour only repeats who wins.
use maud::{Markup, html};

use crate::{
    judge::{Compared, guess::more_is_better, name},
    lab::{Step, sample::AA},
    record::Record,
    show::{
        heat::{grid, held},
        table::against_baseline,
    },
    words::number,
};

/// Who wins a cell.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Winner {
    Case,
    Baseline,
    Nobody,
}

/// A diagram for each case against the baseline; none if the parameters are no grid.
pub(super) fn charts(step: &Step, records: &[Record], rows: &[&Record]) -> Vec<Markup> {
    let Some((down, across)) = grid(&step.params()) else { return Vec::new() };
    let Some(baseline) = rows.first().map(|r| r.baseline.as_str()) else { return Vec::new() };
    let cases = step.cases().into_iter().filter(|c| *c != baseline && *c != AA);
    cases.map(|case| chart(step, records, rows, case, baseline, &down, &across)).collect()
}

fn chart(
    step: &Step,
    records: &[Record],
    rows: &[&Record],
    case: &str,
    baseline: &str,
    down: &[&str],
    across: &[&str],
) -> Markup {
    let cell = |row: &str, column: &str| {
        let param = format!("{row}_{column}");
        let record = rows.iter().copied().find(|r| r.case == case && r.param == param);
        match record.filter(|r| r.quotable).and_then(|r| against_baseline(step, records, r)) {
            Some(Compared::Differs { ratio, .. }) => {
                let more = ratio.mid > 1.0;
                let wins =
                    if more == more_is_better(step.headline) { Winner::Case } else { Winner::Baseline };
                (wins, number::interval("ratio", &ratio))
            }
            Some(Compared::NoDifference { .. }) => (Winner::Nobody, "no difference shown".into()),
            _ => (Winner::Nobody, "not shown here".into()),
        }
    };
    let cells: Vec<Vec<(Winner, String)>> =
        down.iter().map(|row| across.iter().map(|column| cell(row, column)).collect()).collect();
    let count = |winner| cells.iter().flatten().filter(|(w, _)| *w == winner).count();
    let of = down.len() * across.len();
    let (case, baseline) = (name::variant(step, case), name::variant(step, baseline));
    let class = |winner| match winner {
        Winner::Case => "hc",
        Winner::Baseline => "hb",
        Winner::Nobody => "hn",
    };
    html! {
        figure {
            figcaption {
                (name::value(step, step.headline)) ": " (case) " wins in " (count(Winner::Case)) " of " (of) " cells, " (baseline) " in "
                (count(Winner::Baseline))
            }
            div.wide role="region" tabindex="0" aria-label={ (case) " against " (baseline) } {
                table.heat {
                    thead { tr { td {} @for column in across { th scope="col" { (name::setting(step, column)) } } } }
                    tbody { @for (row, cells) in down.iter().zip(&cells) {
                        tr { th scope="row" { (held(step, row)) } @for (winner, text) in cells { td.(class(*winner)) { (text) } } }
                    } }
                }
            }
            p.key {
                (name::value(step, step.headline)) " of " (case) " as a multiple of " (baseline) "'s; filled: " (case) " wins; framed: " (baseline)
                " wins; blank: neither is shown to win."
            }
        }
    }
}
