//! What does a permit cost, and who is served first?
//!
//! Run it: `cargo run --release --bin lock_semaphore -- --step`
use underhood::{
    contenders::semaphore::{BARGING, FIFO, Semaphore, TOKIO},
    lab::{
        Kind, Lab, ONCE, Point, Step, at, at_least, at_most, pick, plan::Plan, ratio, sample::Sample,
        shown_by, source,
    },
    measure::{
        cost::{self, Solo},
        order::Order,
    },
    record::AA,
};

const ALL: &[&Semaphore] = &[&BARGING, &FIFO, &TOKIO];

pub(crate) fn lab() -> Lab {
    underhood::lab!("lock_semaphore", "What does a permit cost, and who is served first?")
        .step(alone())
        .step(handover())
        .step(buffer())
        .step(head_of_line())
        .step(starved())
        .say(
            "head_of_line",
            "A semaphore has eight permits, four of them free, and one request waits for all eight. In order of arrival, \
             {value} of 100 small requests were then served. A barging semaphore, which lets others overtake, served \
             {against}.",
            ratio("fifo", "barging"),
            "all requests are for one permit: then no request blocks the others for longer than one hold",
        )
        .say(
            "handover",
            "After a post (the release of a permit), a sleeping thread gets the permit in {value}. A thread that still \
             spins gets it in {against}.",
            ratio(("barging", "asleep"), ("barging", "ping_pong")),
            "both threads share a CPU: then every hand-over is a context switch",
        )
        .say(
            "alone",
            "Releasing a permit that nobody waits for takes {value} with our barging semaphore and {against} with tokio's.",
            ratio(("barging", "post"), ("tokio", "post")),
            "a thread waits: then the release is a system call",
        )
        .not_said(&[
            "That the two claims of the buffer step were predictions: they were written after a first look at a run. Only \
             later runs test them.",
            "That tokio's semaphore is slow: it is for tasks, and here threads park on it.",
            "That fairness is good or bad: with it, permits stay unused, and without it, large or unlucky requests wait \
             longer.",
            "Anything about LIFO wake-ups: none of these semaphores serves the newest thread first.",
        ])
        .next(&[
            "What is the difference between a mutex and a binary semaphore? (a semaphore has no owner: so no priority \
             inheritance, and no check of who unlocks)",
            "How would you let small requests pass a large one without starving it? (ageing: its priority grows while it \
             waits; or a limit on how often it is passed)",
            "What protects a backend: a semaphore or a rate limit? (lab flow_rate_limit)",
        ])
        .sources(&[
            "E. W. Dijkstra, EWD 123, 1965: P and V",
            "D. P. Reed, R. K. Kanodia, \"Synchronization with Eventcounts and Sequencers\", CACM 1979",
            "tokio::sync::Semaphore, documentation: fair, \"even if the number of permits requested is small\"",
            "M. Blasgen et al., \"The Convoy Phenomenon\", ACM SIGOPS OSR 1979",
        ])
}

fn alone() -> Step {
    type Way = fn(&Semaphore) -> Solo;
    let ways: [Point<Way>; 3] =
        [at("post", Semaphore::posts), at("take_give", Semaphore::pairs), at("refused", Semaphore::refusals)];
    Step::new("alone", Kind::Single, "op_ns")
        .ask_best(
            "There is one thread, and nobody waits. On which semaphore is it cheapest to release a permit (\"post\")?",
            "post",
        )
        .contenders(ALL)
        .slice(0.4)
        .over(ways, |plan, way| cost::solo(plan, way.id(), ALL.iter().map(|s| (way.value)(s))))
        .bench("post/{case}", ALL.iter().copied(), |_, s| cost::timed(&s.posts()))
        .bench("take_give/{case}", ALL.iter().copied(), |_, s| cost::timed(&s.pairs()))
        .claim(
            at_least(1.5, ratio(("tokio", "post"), ("barging", "post"))),
            "a release on tokio's semaphore costs at least 1.5 times as much as on ours: it takes a mutex to look for waiting \
             tasks",
        )
        .claim(
            at_most(1.6, ratio(("fifo", "take_give"), ("barging", "take_give"))),
            "if nobody waits, order of arrival costs little: our Fifo semaphore takes at most 1.6 times as long as our Barging \
             one",
        )
        .claim(
            at_most(0.5, ratio(("barging", "refused"), ("barging", "take_give"))),
            "a refused request only reads: it takes at most half as long as an acquire and a release",
        )
        .because(
            "The permits are a number in one word. An acquire is one compare-exchange, and a release is one addition. Only \
             a thread that finds somebody waiting does more. See `release` in src/structures/lock/semaphore.rs.",
            source("src/structures/lock/semaphore.rs"),
        )
        .because(
            "A semaphore is like a mutex that counts, but it has no owner: any thread may release a permit.",
            source("E. W. Dijkstra, EWD 123, 1965"),
        )
}

fn handover() -> Step {
    Step::new("handover", Kind::Tail, "handover_p50_ns")
        .ask_number(
            "A thread sleeps on an empty semaphore. How many ns pass from the post until the thread has its permit?",
            "barging",
            "asleep",
        )
        .columns(&["handover_p99_ns"])
        .contenders(ALL)
        .slice(0.3)
        .over_all([at("ping_pong", false), at("asleep", true)], |plan, points| {
            turns(plan, points, |s, p| s.handover(plan, p.id(), p.value))
        })
        .claim(
            at_least(2_000.0, ("barging", "asleep")).cores(2),
            "a thread that has gone to sleep gets its permit at least 2 us after the post: that is the wake-up",
        )
        .claim(
            at_least(3.0, ratio(("barging", "asleep"), ("barging", "ping_pong"))).cores(2),
            "on two CPUs, a thread that still spins gets its permit at least 3 times as fast",
        )
        .because(
            "A waiting thread spins for a few microseconds before it sleeps. If the permit comes in that time, the \
             hand-over only moves a cache line.",
            shown_by(at_most(2_000.0, ("barging", "ping_pong")).cores(2)),
        )
        .because(
            "If the permit comes later, the hand-over takes a system call, a wake-up, and the time that an idle CPU needs \
             to start again.",
            shown_by(at_least(2_000.0, ("fifo", "asleep")).cores(2)),
        )
        .because(
            "tokio's semaphore does not spin: it is made for tasks, and a task that waits leaves its thread to others. So a \
             thread that blocks on it parks at once.",
            shown_by(at_least(2_000.0, ("tokio", "ping_pong")).cores(2)),
        )
}

fn buffer() -> Step {
    // Producers and consumers.
    let crowds = [at("1x1", (1, 1)), at("4x1", (4, 1)), at("1x4", (1, 4)), at("4x4", (4, 4))];
    Step::new("buffer", Kind::Tail, "ops_per_s")
        .ask_best(
            "Four producers and four consumers share a buffer of 16 places, and two semaphores count its items and its free \
             places. Which semaphore gives the highest throughput?",
            "4x4",
        )
        .columns(&["switches_per_op_count", "min_max_share"])
        .contenders(ALL)
        .slice(0.3)
        .over_all(crowds, |plan, points| {
            turns(plan, points, |s, p| s.buffer(plan, p.id(), p.value.0, p.value.1))
        })
        .claim(
            at_least(1.5, ratio(("barging", "1x1"), ("fifo", "1x1"))).cores(2),
            "with one producer and one consumer, barging has at least 1.5 times the throughput of order of arrival",
        )
        .claim(
            at_least(1.0, ratio(pick("barging", "4x1", "switches_per_op_count"), pick("fifo", "4x1", "switches_per_op_count"))).cores(2),
            "with four producers and one consumer, barging causes more context switches for each item than order of arrival",
        )
        .because(
            "In order of arrival, a released permit belongs to the first waiting thread, even while that thread sleeps. \
             Until it is awake, nobody can use the permit, and new threads queue behind it (a convoy).",
            source("M. Blasgen et al., ACM SIGOPS OSR 1979"),
        )
        .because(
            "Barging lets any running thread take the permit.",
            shown_by(
                at_most(0.5, ratio(pick("barging", "1x1", "switches_per_op_count"), pick("fifo", "1x1", "switches_per_op_count"))).cores(2),
            ),
        )
        .because(
            "If several threads wait, barging has a price of its own. A release wakes a thread, but by then another thread \
             has taken the permit. The woken thread goes back to sleep: context switches for nothing.",
            shown_by(
                at_least(1.0, ratio(pick("barging", "1x4", "switches_per_op_count"), pick("fifo", "1x4", "switches_per_op_count"))).cores(2),
            ),
        )
}

fn head_of_line() -> Step {
    Step::new("head_of_line", Kind::Count, "small_served_share")
        .ask_number(
            "Four of eight permits are free when a request for all eight comes. Then eight threads make a hundred requests \
             in total, each for one permit. In order of arrival, what share of these is served before the large one? (0 to \
             1)",
            "fifo",
            "",
        )
        .contenders(ALL)
        .over_all(ONCE, |plan, points| turns(plan, points, |s, p| s.head_of_line(p.id())))
        .claim(
            at_most(0.0, "fifo"),
            "in order of arrival none of the small requests is served, although nobody uses four of the permits",
        )
        .claim(at_most(0.0, "tokio"), "tokio's semaphore, which its documentation calls fair, serves none either")
        .claim(at_least(1.0, "barging"), "a barging semaphore serves all small requests")
        .because(
            "The large request has reserved the four free permits and waits for four more. No other request may overtake it \
             (head-of-line blocking).",
            source("tokio::sync::Semaphore, documentation"),
        )
        .because(
            "A strict order leaves permits unused while the queue grows. If others may overtake, all small requests are \
             served.",
            shown_by(at_least(1.0, "barging")),
        )
        .because(
            "One acquire_many for all permits (for a configuration reload, a shutdown) stops a service until its slowest \
             running request is done.",
            source("tokio::sync::Semaphore, documentation: fair, \"even if the number of permits requested is small\""),
        )
        .in_tour()
}

fn starved() -> Step {
    Step::new("starved", Kind::Chance, "large_served_share")
        .ask_number(
            "Eight threads each take one of eight permits, again and again. What share of the requests for all eight does a \
             barging semaphore serve within 50 ms (0 to 1)?",
            "barging",
            "",
        )
        .columns(&["overtaken_count"])
        .contenders(ALL)
        .over_all(ONCE, |plan, points| turns(plan, points, |s, p| s.starved(plan, p.id())))
        .claim(at_most(0.0, "barging"), "with barging the large request is never served in time")
        .claim(at_least(1.0, "fifo"), "in order of arrival the large request is always served in time")
        .claim(
            at_most(8.0, pick("fifo", "", "overtaken_count")),
            "in order of arrival, no more small requests overtake it than there are threads",
        )
        .because(
            "The eight permits are never all free at the same moment, because each of the eight threads takes a permit again \
             at once.",
            shown_by(at_least(16.0, pick("barging", "", "overtaken_count"))),
        )
        .because(
            "Without a queue, a request starves if it needs more permits than are usually free.",
            shown_by(at_least(1.0, "tokio")),
        )
}

/// Every contender at every parameter, and the baseline once more (`A/A`), in random order.
fn turns<T>(plan: &Plan, points: &[Point<T>], one: impl Fn(&Semaphore, &Point<T>) -> Sample) -> Vec<Sample> {
    let all = || [(ALL[0], AA)].into_iter().chain(ALL.iter().map(|s| (*s, s.as_ref().id)));
    let mut turn: Vec<_> = points.iter().flat_map(|p| all().map(move |(s, case)| (p, s, case))).collect();
    Order::new(plan.seed ^ (plan.launch as u64) << 32).shuffle(&mut turn);
    turn.into_iter().map(|(p, s, case)| Sample { case: case.into(), ..one(s, p) }).collect()
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}
