//! The answer to a shape, as lines: who comes first and by how much, who waits how long, where the order turns, and what to say aloud.
//! Pure: records in, lines out.
use super::{
    given::{Shape, Way},
    posed::{self, AXES, ORDER},
};
use crate::{
    judge::{
        Compared, compare,
        guess::more_is_better,
        name,
        ranking::{self, Along, BreakEven, Place, Ranking},
    },
    lab::{Lab, Step},
    record::{Record, find, runs_of},
    stats::Interval,
    words::{escape, number},
};

/// What is printed, from the answer on.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Answer {
    /// The answer in one sentence.
    pub first: String,
    /// The ids of those that share the first place in it.
    pub firsts: Vec<String>,
    /// The contenders in their order, with intervals.
    pub ranking: Vec<String>,
    /// The smallest difference that could be shown, and what keeps the numbers from being quoted.
    pub limits: Vec<String>,
    /// Waits, fairness and CPU time.
    pub waits: Vec<String>,
    /// Where the order turns.
    pub break_even: Vec<String>,
    /// How sure it is for other thread counts.
    pub sure: Vec<String>,
    /// One sentence to say.
    pub aloud: String,
}

/// The answer by the newest runs of a shape's lab.
pub fn answer(shape: &Shape, lab: &Lab, records: &[Record], cpus: usize) -> Answer {
    let step = &lab.steps[0];
    let Some(run) = runs_of(records, lab.stem, ORDER).first().copied() else {
        return Answer { first: "Not measured yet.".into(), ..Answer::default() };
    };
    let mut answer = Answer::default();
    let params = step.params();
    for param in &params {
        let ranking = ranking::rank(step, records, run, param);
        let told = first(step, &ranking);
        let at = if params.len() > 1 { format!("{}: ", name::setting(step, param)) } else { String::new() };
        if answer.first.is_empty() {
            answer.first = format!("{at}{told}");
            answer.firsts = ranking.firsts().map(|p| p.record.case.clone()).collect();
            answer.limits.extend(limits(&ranking));
            answer.aloud = aloud(shape, step, &ranking);
        } else {
            answer.ranking.push(format!("{at}{told}"));
        }
        answer.ranking.extend(ranking.places.iter().map(|p| place(step, p)));
        let absent = ranking.absent.iter();
        answer.ranking.extend(
            absent.map(|(case, why)| format!("  -  {}: {}", name::variant(step, case), escape::line(why))),
        );
        if shape.way == Way::Loop {
            answer.waits.extend(ranking.places.iter().map(|p| waits(step, p)));
        }
    }
    if let (Some(axes), true) = (lab.steps.iter().find(|s| s.name == AXES), params.len() == 1) {
        let ranking = ranking::rank(step, records, run, params[0]);
        turns(shape, step, axes, lab, records, &ranking, &mut answer);
    }
    answer.sure.push(other_counts(shape, cpus));
    answer
}

/// A rate is done, a time is taken.
fn verb(step: &Step) -> &'static str {
    if more_is_better(step.headline) { "does" } else { "takes" }
}

fn list(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [all @ .., last] => format!("{} and {last}", all.join(", ")),
    }
}

/// The answer in a sentence.
fn first(step: &Step, ranking: &Ranking<'_>) -> String {
    let does = if more_is_better(step.headline) { "does the most" } else { "takes the least time" };
    let firsts: Vec<String> = ranking.firsts().map(|p| name::variant(step, &p.record.case)).collect();
    let Some(best) = ranking.places.first() else {
        let why =
            ranking.absent.first().map_or("there is no number".to_string(), |(_, why)| escape::line(why));
        return format!("No answer: {why}.");
    };
    let value = number::interval(step.headline, &best.value);
    match &firsts[..] {
        [one] if ranking.places.len() == 1 => format!("{one}: {value}."),
        [one] => format!("{one} {does}: {value}."),
        all => format!("No difference shown between {}; {} {} {value}.", list(all), all[0], verb(step)),
    }
}

fn place(step: &Step, p: &Place<'_>) -> String {
    let value = number::interval(step.headline, &p.value);
    let rest = match &p.against_first {
        None => String::new(),
        Some(Compared::Differs { ratio, .. }) => {
            format!("  {} of the first", number::interval("ratio", ratio))
        }
        Some(Compared::NoDifference { ratio, .. }) => {
            format!("  no difference shown against the first ({})", number::interval("ratio", ratio))
        }
        Some(Compared::Cannot(why)) => format!("  not compared: {}", escape::line(why)),
    };
    format!("  {}  {:<34} {value}{rest}", p.place, name::variant(step, &p.record.case))
}

fn limits(ranking: &Ranking<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    lines.push(match ranking.band {
        Some(band) => {
            format!("The smallest difference that this run could have shown: {}.", number::band(band))
        }
        None => "This run has no A/A row with an interval, so it can show no difference.".into(),
    });
    lines.extend(ranking.doubt.as_ref().map(|why| format!("Not quotable: {}.", escape::line(why))));
    lines
}

/// A line of waits; what was not measured has no place in it.
fn waits(step: &Step, p: &Place<'_>) -> String {
    let shown = |value: &str| {
        let interval: Interval = p.record.interval_of(value)?;
        let bound = if p.record.bound_of(value).is_some() { "at most " } else { "" };
        Some(format!("{bound}{}", number::value(value, interval.mid)))
    };
    let parts = [
        ("half of the waits are at most", "wait_p50_ns"),
        ("99 of 100 at most", "wait_p99_ns"),
        ("the longest sampled", "wait_max_ns"),
        ("slowest thread against fastest", "min_max_share"),
        ("CPU for each operation", "cpu_per_op_ns"),
    ];
    let parts: Vec<String> =
        parts.iter().filter_map(|(what, value)| Some(format!("{what} {}", shown(value)?))).collect();
    format!("{}: {}.", name::variant(step, &p.record.case), parts.join(", "))
}

/// The pair whose order is looked for along the axes: the first, and the next that was shown to differ from it, or else the second.
fn pair<'a>(ranking: &'a Ranking<'_>) -> Option<(&'a str, &'a str)> {
    let first = ranking.places.first()?;
    let next = ranking.places.iter().find(|p| p.place > 1).or(ranking.places.get(1))?;
    Some((&first.record.case, &next.record.case))
}

fn turns(
    shape: &Shape,
    step: &Step,
    axes: &Step,
    lab: &Lab,
    records: &[Record],
    ranking: &Ranking<'_>,
    answer: &mut Answer,
) {
    let Some((a, b)) = pair(ranking) else { return };
    let run = runs_of(records, lab.stem, AXES).first().copied();
    let along = |step: &Step, run: &str, param: &str, at: f64| {
        let (of, against) = (find(records, run, a, param)?, find(records, run, b, param)?);
        match compare(step, records, (of, step.headline), (against, step.headline)) {
            Compared::Differs { ratio, .. } => Some(Along { at, ratio: ratio.mid, shown: true }),
            Compared::NoDifference { ratio, .. } => Some(Along { at, ratio: ratio.mid, shown: false }),
            Compared::Cannot(_) => None,
        }
    };
    let own_run = &ranking.places[0].record.run;
    let (name_a, name_b) = (name::variant(step, a), name::variant(step, b));
    let own = [
        ("hold", shape.hold[0].mean_ns(), "ns"),
        ("reads", shape.reads[0], "share"),
        ("threads", shape.threads as f64, "count"),
    ];
    let all = posed::axis_points(shape);
    for (axis, here, unit) in own {
        let mine = all.iter().filter(|p| p.axis == axis);
        let mut points: Vec<Along> = mine.filter_map(|p| along(axes, run?, p.point.id(), p.at)).collect();
        if points.is_empty() {
            continue;
        }
        points.extend(along(step, own_run, step.params()[0], here));
        points.sort_by(|a, b| a.at.total_cmp(&b.at));
        let shown = |v: f64| number::value(unit, v);
        let range = format!("from {} to {}", shown(points[0].at), shown(points[points.len() - 1].at));
        if axis == "threads" {
            answer.sure.push(counts(&points, &name_a, &name_b));
            continue;
        }
        let line = match ranking::break_even(&points, axis == "reads") {
            BreakEven::Above(at) => {
                format!(
                    "{name_a} is ahead above about {}, {name_b} below it; your case is at {}",
                    shown(at),
                    shown(here)
                )
            }
            BreakEven::Below(at) => {
                format!(
                    "{name_a} is ahead below about {}, {name_b} above it; your case is at {}",
                    shown(at),
                    shown(here)
                )
            }
            BreakEven::Larger(k, n) => {
                format!("{name_a} stays ahead of {name_b} {range} ({k} of {n} points show a difference)")
            }
            BreakEven::Smaller(k, n) => {
                format!("{name_b} stays ahead of {name_a} {range} ({k} of {n} points show a difference)")
            }
            BreakEven::NotShown => format!("no difference shown between {name_a} and {name_b} {range}"),
            BreakEven::Often => format!("{name_a} and {name_b} change places more than once {range}"),
        };
        let what = if axis == "hold" { "Hold time" } else { "Share of reads" };
        answer.break_even.push(format!("{what}: {line}."));
    }
}

/// The order at each thread count.
fn counts(points: &[Along], a: &str, b: &str) -> String {
    let at = |wanted: &dyn Fn(&&Along) -> bool| -> Vec<String> {
        points.iter().filter(wanted).map(|p| format!("{:.0}", p.at)).collect()
    };
    let groups = [
        (format!("{a} is ahead"), at(&|p| p.shown && p.ratio > 1.0)),
        (format!("{b} is ahead"), at(&|p| p.shown && p.ratio <= 1.0)),
        ("no difference shown".to_string(), at(&|p| !p.shown)),
    ];
    let parts: Vec<String> = groups
        .iter()
        .filter(|(_, counts)| !counts.is_empty())
        .map(|(what, counts)| format!("{what} at {} threads", list(counts)))
        .collect();
    format!("Threads: {}.", parts.join("; "))
}

/// What the number of CPUs lets this say of other thread counts.
pub fn other_counts(shape: &Shape, cpus: usize) -> String {
    let threads = shape.threads;
    if shape.way == Way::Alone {
        return "One thread alone says nothing about threads that contend.".into();
    }
    if threads > cpus {
        return format!(
            "{threads} threads share {cpus} CPUs here. That shows what happens when a thread loses its CPU, also while it holds the lock. It can't show {threads} cores that use one cache line at once."
        );
    }
    if threads < cpus {
        return format!("{threads} of {cpus} CPUs are used: more threads were not asked for.");
    }
    format!(
        "More than {cpus} CPUs can't be shown here: on a larger machine more cores use the same cache line."
    )
}

/// One sentence to say.
fn aloud(shape: &Shape, step: &Step, ranking: &Ranking<'_>) -> String {
    if let Some(why) = &ranking.doubt {
        return format!("nothing yet: {}.", escape::line(why));
    }
    let Some(first) = ranking.places.first() else { return "nothing: there is no number.".into() };
    let (value, with) = (number::value(step.headline, first.value.mid), shape.sentence());
    let best = name::variant(step, &first.record.case);
    let ties: Vec<String> = ranking.firsts().map(|p| name::variant(step, &p.record.case)).collect();
    if ties.len() > 1 {
        let band = ranking
            .band
            .map_or(String::new(), |b| format!("; a difference of {} would have shown", number::band(b)));
        return format!("\"With {with}, no difference shows between {}{band}.\"", list(&ties));
    }
    // The baseline is what people know; where it is the first itself, the next one.
    let baseline = ranking.places.iter().find(|p| p.record.case == step.baseline() && p.place > 1);
    let Some(other) = baseline.or(ranking.places.get(1)) else {
        return format!("\"With {with}, {best} {} {value}.\"", verb(step));
    };
    match &other.against_first {
        Some(Compared::Differs { ratio, .. }) => format!(
            "\"With {with}, {best} {} {value}; {} {} {} of that.\"",
            verb(step),
            name::variant(step, &other.record.case),
            verb(step),
            number::value("ratio", ratio.mid)
        ),
        _ => format!("\"With {with}, {best} {} {value}.\"", verb(step)),
    }
}
