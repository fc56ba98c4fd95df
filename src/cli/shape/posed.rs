//! A shape as a lab: its steps are built from data, with the contenders, the ways to measure and the engine of every other lab.
#[cfg(feature = "labs")]
use super::subject::{SKEWS, each_percent, every};
use super::{
    given::{Shape, Way, compact, percent},
    subject::{Member, whole},
};
#[cfg(feature = "labs")]
use crate::contenders::{limiter::Come, map_mix};
use crate::{
    contenders::workload::{Times, Workload},
    lab::{Kind, Lab, Origin, Param, Point, Step, Unit, ratio},
    machine::allowed_cpus,
    measure::{cost, throughput, turns},
};

/// The step that answers, and the one with other hold times, read shares and thread counts.
pub const ORDER: &str = "order";
/// See [`ORDER`].
pub const AXES: &str = "axes";

/// What is done at one point.
#[derive(Clone, Debug)]
pub struct Setting {
    threads: usize,
    reads: f64,
    hold: Times,
}

/// One more point of an axis.
#[derive(Clone, Debug)]
pub struct AxisPoint {
    /// `hold`, `reads` or `threads`.
    pub axis: &'static str,
    /// Where on it: ns, a share, a count.
    pub at: f64,
    /// Its parameter, and what is done there.
    pub point: Point<Setting>,
}

/// Lives as long as the program, as the texts of every lab do.
pub(super) fn kept(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

/// The lab of a shape, in the name of this crate or of the one outside that asks. `None` if it names a contender that this build does not have.
pub fn lab(shape: &Shape, origin: Origin) -> Option<Lab> {
    let all = shape.subject.members();
    let members: Option<Vec<Member>> =
        shape.with.iter().map(|id| all.iter().copied().find(|m| m.is().id == *id)).collect();
    let members = members.filter(|m| !m.is_empty())?;
    let question = kept(format!("{}: {}", shape.sentence(), shape.subject.which()));
    // What decides the numbers: this file, the contenders, and the file of a crate outside, whose locks may be among them.
    let text = kept(format!("{}\n{}\n{}", include_str!("posed.rs"), include_str!("subject.rs"), origin.text));
    let mut lab = Lab::new(kept(shape.stem()), question, Origin { text, ..origin });
    lab.again = Some(shape.words().unwrap_or_else(|| format!("try {}", shape.stem())));
    lab = lab.step(order(shape, &members, question));
    if shape.axes {
        lab = lab.step(axes(shape, &members));
    }
    let (first, headline) = (lab.steps[0].params()[0], lab.steps[0].headline);
    let does = if headline.ends_with("_per_s") { "does {value}" } else { "takes {value}" };
    let shown = shape.sentence();
    let not_true = "the machine, the versions or the workload differ: a shape is one workload";
    let base = members[0].is();
    for other in &members[1..] {
        let text = format!("With {shown}: {} {does}, {} {{against}}: {{ratio}}.", other.is().name, base.name);
        lab = lab.say(ORDER, kept(text), ratio((other.is().id, first), (base.id, first)), not_true);
    }
    if members.len() == 1 {
        lab =
            lab.say(ORDER, kept(format!("With {shown}: {} {does}.", base.name)), (base.id, first), not_true);
    }
    Some(lab.not_said(&[
        "Which is better in general: this is about one workload on one machine.",
        "Anything about more CPUs than this machine has.",
    ]))
}

/// The kind that the machine must be fit for: threads that share CPUs on purpose are watched by their waits.
fn kind(shape: &Shape) -> Kind {
    match shape.way {
        Way::Alone => Kind::Single,
        Way::Loop if shape.threads > allowed_cpus().len() => Kind::Tail,
        Way::Loop | Way::Windows => Kind::Contended,
    }
}

fn contenders(step: Step, members: &[Member]) -> Step {
    let all: Vec<_> = members.iter().map(|m| m.is()).collect();
    step.contenders(&all)
}

fn order(shape: &Shape, members: &[Member], question: &'static str) -> Step {
    let headline = if shape.way == Way::Alone { "op_ns" } else { "ops_per_s" };
    let points = points(shape);
    let first = points[0].id();
    let step = contenders(Step::new(ORDER, kind(shape), headline), members).ask_best(question, first);
    let (mine, shape) = (members.to_vec(), shape.clone());
    match shape.way {
        Way::Loop => looped(step, points, &shape, &mine),
        Way::Windows => step
            .columns(&["lane_op_ns", "min_max_share"])
            .over(points, move |plan, p| windows(plan, p, &shape, &mine)),
        Way::Alone => step.over(points, move |plan, p| {
            cost::solo(plan, p.id(), mine.iter().filter_map(|m| alone(*m, p)).collect::<Vec<_>>())
        }),
    }
}

fn looped(step: Step, points: Vec<Point<Setting>>, shape: &Shape, members: &[Member]) -> Step {
    let (locks, think, members) = (shape.locks, shape.think.clone(), members.to_vec());
    step.columns(&["wait_p50_ns", "wait_p99_ns", "wait_max_ns", "min_max_share", "cpu_per_op_ns"]).over(
        points,
        move |plan, p| {
            let Setting { threads, reads, hold } = p.value.clone();
            // One turn of all threads at one lock.
            let longest_ns = threads as f64 * hold.mean_ns() + think.mean_ns();
            let load = Workload { locks, reads_share: reads, hold, think: think.clone() };
            let crew = |m: &Member| match m {
                Member::Lock(lock) => Some(load.crew(lock)),
                #[cfg(feature = "labs")]
                _ => None,
            };
            turns::turns(
                plan,
                p.id(),
                threads,
                longest_ns,
                &members.iter().filter_map(crew).collect::<Vec<_>>(),
            )
        },
    )
}

/// The points of the step that answers: one for each hold time or share of reads that was given.
pub fn points(shape: &Shape) -> Vec<Point<Setting>> {
    let setting = |reads: f64, hold: &Times| Setting { threads: shape.threads, reads, hold: hold.clone() };
    let only = |value| vec![Point { param: Param { id: "", amount: None }, value }];
    let one = setting(shape.reads[0], &shape.hold[0]);
    #[cfg(feature = "labs")]
    if let Some(points) = others(shape, &setting) {
        return points;
    }
    match (&shape.hold[..], &shape.reads[..]) {
        ([_], [_]) => only(one),
        (holds, [reads]) => holds.iter().map(|h| hold_point(h, setting(*reads, h))).collect(),
        (holds, all) => all.iter().map(|r| reads_point(*r, setting(*r, &holds[0]))).collect(),
    }
}

/// The points of subjects that have points of their own, named as their labs name them.
#[cfg(feature = "labs")]
fn others(shape: &Shape, setting: &dyn Fn(f64, &Times) -> Setting) -> Option<Vec<Point<Setting>>> {
    use super::subject::Subject;
    let named = |id: &str| Point {
        param: Param { id: kept(id.into()), amount: None },
        value: setting(shape.reads[0], &shape.hold[0]),
    };
    let by_reads = |name: &dyn Fn(f64) -> String| {
        let point = |r: &f64| Point { value: setting(*r, &shape.hold[0]), ..named(&name(*r)) };
        Some(shape.reads.iter().map(point).collect())
    };
    match (shape.subject, shape.way) {
        (Subject::Map, Way::Windows) => by_reads(&|r| {
            let each = each_percent(r).unwrap_or(0);
            format!("{}_{each}_{each}", 100 - 2 * each)
        }),
        (Subject::Counter, Way::Windows) => by_reads(&|r| match every(r).unwrap_or(0) {
            0 => "adds_only".into(),
            n => format!("reads_every_{n}"),
        }),
        (Subject::Snapshot, Way::Windows) => by_reads(&|r| match every(1.0 - r).unwrap_or(0) {
            0 => "never".into(),
            n => format!("1_in_{n}"),
        }),
        (Subject::Limiter, _) => Some(vec![named("passing"), named("refused")]),
        (Subject::Semaphore, _) => Some(vec![named("post"), named("take_give"), named("refused")]),
        (Subject::Counter, Way::Alone) => Some(vec![named("add"), named("read")]),
        (Subject::Snapshot, Way::Alone) => Some(vec![named("read"), named("publish")]),
        _ => None,
    }
}

fn hold_point(hold: &Times, value: Setting) -> Point<Setting> {
    let ns = hold.mean_ns();
    let id = if ns > 0.0 { compact(ns) } else { "0".into() };
    Point { param: Param { id: kept(format!("hold_{id}")), amount: Some((ns, Unit::Ns)) }, value }
}

fn reads_point(share: f64, value: Setting) -> Point<Setting> {
    let id = percent(share);
    let id = kept(format!("reads_{}", id.trim_end_matches('%')));
    Point { param: Param { id, amount: Some((share, Unit::Share)) }, value }
}

fn windows(
    plan: &crate::lab::plan::Plan,
    p: &Point<Setting>,
    shape: &Shape,
    members: &[Member],
) -> Vec<crate::lab::sample::Sample> {
    #[cfg(feature = "labs")]
    if shape.subject == super::subject::Subject::Map {
        let skew = SKEWS
            .iter()
            .find(|(name, _)| shape.skew.as_deref() == Some(name))
            .map_or(SKEWS[1].1, |(_, s)| *s);
        let mix = map_mix::Mix { each_percent: each_percent(p.value.reads).unwrap_or(0), skew };
        let maps: Vec<_> =
            members.iter().filter_map(|m| if let Member::Map(map) = m { Some(*map) } else { None }).collect();
        return map_mix::race(plan, p.id(), mix, &maps);
    }
    let crowd = |m: &Member| match m {
        Member::Lock(lock) => {
            let percent = whole(p.value.reads * 100.0).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
            Some(lock.crowd(percent))
        }
        #[cfg(feature = "labs")]
        Member::Counter(counter) => Some(counter.crowd(every(p.value.reads).unwrap_or(0))),
        #[cfg(feature = "labs")]
        Member::Published(snapshot) => Some(snapshot.crowd(every(1.0 - p.value.reads).unwrap_or(0))),
        #[cfg(feature = "labs")]
        Member::Bag(bag) => Some(bag.crowd()),
        #[cfg(feature = "labs")]
        Member::Limiter(limiter) => {
            Some(limiter.crowd(if p.id() == "refused" { Come::Refused } else { Come::Passing }))
        }
        #[cfg(feature = "labs")]
        Member::Map(_) | Member::Semaphore(_) => None,
    };
    let _ = shape;
    throughput::crowd(
        plan,
        p.id(),
        p.value.hold.mean_ns(),
        members.iter().filter_map(crowd).collect::<Vec<_>>(),
    )
}

fn alone(member: Member, p: &Point<Setting>) -> Option<cost::Solo> {
    match member {
        Member::Lock(lock) => Some(if p.value.reads > 0.5 { lock.reads() } else { lock.writes() }),
        #[cfg(feature = "labs")]
        Member::Map(map) => Some(map.alone()),
        #[cfg(feature = "labs")]
        Member::Counter(counter) => Some(if p.id() == "read" { counter.reads() } else { counter.adds() }),
        #[cfg(feature = "labs")]
        Member::Bag(bag) => Some(bag.alone()),
        #[cfg(feature = "labs")]
        Member::Published(value) => Some(if p.id() == "publish" { value.publishes() } else { value.reads() }),
        #[cfg(feature = "labs")]
        Member::Semaphore(semaphore) => Some(match p.id() {
            "post" => semaphore.posts(),
            "take_give" => semaphore.pairs(),
            _ => semaphore.refusals(),
        }),
        #[cfg(feature = "labs")]
        Member::Limiter(_) => None,
    }
}

/// A turn of all threads takes no longer than this at a point of the axes.
const LONGEST_NS: f64 = 2e7;

/// Where the order may change: other hold times, read shares and thread counts, each with the rest as it was asked.
pub fn axis_points(shape: &Shape) -> Vec<AxisPoint> {
    let (hold, reads, threads) = (&shape.hold[0], shape.reads[0], shape.threads);
    let own = Setting { threads, reads, hold: hold.clone() };
    let mut all = Vec::new();
    let holds: Vec<f64> = match hold.mean_ns() {
        ns if ns > 0.0 => [0.1, 0.3, 3.0, 10.0].iter().map(|f| ns * f).collect(),
        _ => vec![100.0, 1_000.0, 10_000.0],
    };
    // Half a minute is not spent on points that are seconds long.
    let fits = |ns: &f64| threads as f64 * ns + shape.think.mean_ns() <= LONGEST_NS;
    for ns in holds.into_iter().map(f64::round).filter(fits) {
        let value = Setting {
            hold: if hold.mean_ns() > 0.0 { hold.with_mean(ns) } else { Times::Fixed(ns) },
            ..own.clone()
        };
        all.push(AxisPoint { axis: "hold", at: ns, point: hold_point(&Times::Fixed(ns), value) });
    }
    // Where nobody reads there is nothing to share.
    for share in [0.5, 0.9, 0.99].into_iter().filter(|r| reads > 0.0 && (r - reads).abs() > 0.005) {
        all.push(AxisPoint {
            axis: "reads",
            at: share,
            point: reads_point(share, Setting { reads: share, ..own.clone() }),
        });
    }
    let cpus = allowed_cpus().len();
    let mut counts = vec![1, cpus, 4 * cpus];
    counts.dedup();
    for count in counts.into_iter().filter(|n| *n != threads) {
        let param = Param { id: kept(format!("threads_{count}")), amount: Some((count as f64, Unit::Count)) };
        let value = Setting { threads: count, ..own.clone() };
        all.push(AxisPoint { axis: "threads", at: count as f64, point: Point { param, value } });
    }
    all
}

fn axes(shape: &Shape, members: &[Member]) -> Step {
    let points: Vec<Point<Setting>> = axis_points(shape).into_iter().map(|p| p.point).collect();
    // Its points have thread counts of their own, also beyond the CPUs.
    let step = contenders(Step::new(AXES, Kind::Tail, "ops_per_s"), members)
        .ask_best("The same with one thing changed at a time: where does the order change?", points[0].id());
    looped(step, points, shape, members)
}
