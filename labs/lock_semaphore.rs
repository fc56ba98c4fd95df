//! What does a permit cost, and who is served first?
//!
//! Run it: `cargo run --release --bin lock_semaphore -- --step`
use underhood::{
    contenders::semaphore::{BARGING, FIFO, Semaphore, TOKIO},
    lab::{
        Evidence, Kind, Lab, ONCE, Point, Step, at, at_least, at_most, pick, plan::Plan, ratio,
        sample::Sample, shown_by, source,
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
            "Behind one waiting request for all eight permits, {value} of a hundred small requests were served by a semaphore in order of arrival, although four permits were free; a barging one served {against}.",
            ratio("fifo", "barging"),
            "all requests are for one permit: then nobody blocks the line for longer than a hold",
        )
        .say(
            "handover",
            "A post reaches a sleeping thread after {value}, one that still spins after {against}.",
            ratio(("barging", "asleep"), ("barging", "ping_pong")),
            "both share a CPU: then every hand-over is a context switch",
        )
        .say(
            "alone",
            "To give a permit that nobody waits for takes {value}; tokio's semaphore takes {against}.",
            ratio(("barging", "post"), ("tokio", "post")),
            "somebody waits: then it is a system call",
        )
        .not_said(&[
            "That the two expectations of the buffer step were foretold: they were written after a first look at a run. Only later runs test them.",
            "That tokio's semaphore is slow: it is for tasks, and here threads park on it.",
            "That fairness is good or bad: it costs utilisation, and its absence costs the large and the unlucky.",
            "Anything about LIFO wake-ups: none of these serves the last comer first.",
        ])
        .next(&[
            "What is the difference between a mutex and a binary semaphore? (the owner: no priority inheritance, no check of who unlocks)",
            "How would you let small requests pass a large one without starving it? (ageing; a limit on how often it is passed)",
            "What protects a backend: a semaphore or a rate? (lab flow_rate_limit)",
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
            "One thread, nobody waits: on which semaphore is it cheapest to give a permit (\"post\")?",
            "post",
        )
        .contenders(ALL)
        .slice(0.4)
        .over(ways, |plan, way| cost::solo(plan, way.id(), ALL.iter().map(|s| (way.value)(s))))
        .bench("post/{case}", ALL.iter().copied(), |_, s| cost::timed(&s.posts()))
        .bench("take_give/{case}", ALL.iter().copied(), |_, s| cost::timed(&s.pairs()))
        .claim(
            at_least(1.5, ratio(("tokio", "post"), ("barging", "post"))),
            "tokio's post costs at least 1.5 times ours: it takes a mutex to look for waiting tasks",
        )
        .claim(
            at_most(1.2, ratio(("fifo", "take_give"), ("barging", "take_give"))),
            "order costs nothing where nobody waits: fifo takes at most 1.2 times what barging takes",
        )
        .claim(
            at_most(0.5, ratio(("barging", "refused"), ("barging", "take_give"))),
            "a refusal is a look: at most half of taking and giving",
        )
        .because(
            "A permit is a number in a word: taking is one compare-exchange, giving one addition, and only a thread that finds somebody \
             waiting does more. See `release` in src/structures/lock/semaphore.rs.",
            source("src/structures/lock/semaphore.rs"),
        )
        .because(
            "A semaphore is a mutex that counts, without an owner: whoever has seen an event may give.",
            source("E. W. Dijkstra, EWD 123, 1965"),
        )
}

fn handover() -> Step {
    Step::new("handover", Kind::Tail, "handover_p50_ns")
        .ask_number(
            "A thread sleeps on an empty semaphore. How many ns from the post until it has the permit?",
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
            "on two CPUs a partner that still spins gets it at least 3 times as fast",
        )
        .because(
            "Before it sleeps a waiting thread looks again for a few microseconds. If the partner answers within that, a hand-over is the \
             journey of a cache line.",
            shown_by(at_most(2_000.0, ("barging", "ping_pong")).cores(2)),
        )
        .because(
            "If the answer comes later, it is a system call here, a wake-up there, and whatever an idle CPU takes to come back.",
            shown_by(at_least(2_000.0, ("fifo", "asleep")).cores(2)),
        )
        .because(
            "tokio's semaphore does not spin: its tasks have better things to do, so a thread that blocks on it parks at once.",
            shown_by(at_least(2_000.0, ("tokio", "ping_pong")).cores(2)),
        )
}

fn buffer() -> Step {
    // Producers and consumers.
    let crowds = [at("1x1", (1, 1)), at("4x1", (4, 1)), at("1x4", (1, 4)), at("4x4", (4, 4))];
    Step::new("buffer", Kind::Tail, "ops_per_s")
        .ask_best(
            "Four producers and four consumers share a buffer of 16 places, kept by two semaphores. Which semaphore lets through the most?",
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
            "with one producer and one consumer, barging lets through at least 1.5 times what order of arrival does",
        )
        .claim(
            at_least(1.0, ratio(pick("barging", "4x1", "switches_per_op_count"), pick("fifo", "4x1", "switches_per_op_count"))).cores(2),
            "with four producers for one consumer, barging switches threads more often for each item than order of arrival does",
        )
        .because(
            "In order of arrival a permit that is given while somebody waits is his, though he sleeps. It is idle until he is up, and \
             whoever comes meanwhile queues behind him (a convoy).",
            source("M. Blasgen et al., ACM SIGOPS OSR 1979"),
        )
        .because(
            "Barging lets whoever runs take it.",
            shown_by(
                at_most(0.5, ratio(pick("barging", "1x1", "switches_per_op_count"), pick("fifo", "1x1", "switches_per_op_count"))).cores(2),
            ),
        )
        .because(
            "With several waiting for one, that has its own price. A give wakes a thread, somebody else has the permit by then, and it goes \
             back to sleep: switches for nothing.",
            shown_by(
                at_least(1.0, ratio(pick("barging", "1x4", "switches_per_op_count"), pick("fifo", "1x4", "switches_per_op_count"))).cores(2),
            ),
        )
        .because("Which of the two costs more, this table says and no rule does.", Evidence::None)
}

fn head_of_line() -> Step {
    Step::new("head_of_line", Kind::Count, "small_served_share")
        .withdrawn("in order of arrival only one small request was ever made, not a hundred, and the free permits were reserved already")
        .ask_number(
            "Four of eight permits are free. Somebody waits for eight; then a hundred requests for one permit come. Which share of them is served before the large one, in order of arrival (0 to 1)?",
            "fifo",
            "",
        )
        .contenders(ALL)
        .over_all(ONCE, |plan, points| turns(plan, points, |s, p| s.head_of_line(p.id())))
        .claim(
            at_most(0.0, "fifo"),
            "in order of arrival none of the small requests is served, although four permits are free",
        )
        .claim(at_most(0.0, "tokio"), "nor with tokio, which is documented to be fair")
        .claim(at_least(1.0, "barging"), "a barging semaphore serves them all")
        .because(
            "Head-of-line blocking: the large request has claimed the four free permits and waits for four more, and nobody passes it.",
            source("tokio::sync::Semaphore, documentation"),
        )
        .because(
            "The permits are idle and the queue grows: fairness is bought with utilisation.",
            shown_by(at_least(1.0, "barging")),
        )
        .because(
            "One acquire_many(all) (a configuration reload, a shutdown) stops a service for as long as its slowest request takes.",
            Evidence::None,
        )
        .in_tour()
}

fn starved() -> Step {
    Step::new("starved", Kind::Chance, "large_served_share")
        .ask_number(
            "Eight threads take one of eight permits over and over. Which share of the requests for all eight is served within 50 ms by a barging semaphore (0 to 1)?",
            "barging",
            "",
        )
        .columns(&["overtaken_count"])
        .contenders(ALL)
        .over_all(ONCE, |plan, points| turns(plan, points, |s, p| s.starved(plan, p.id())))
        .claim(at_most(0.0, "barging"), "with barging the large request is never served in time")
        .claim(at_least(1.0, "fifo"), "in order of arrival it always is")
        .claim(
            at_most(8.0, pick("fifo", "", "overtaken_count")),
            "and fewer small ones pass it than there are threads",
        )
        .because(
            "The other side of the same coin: eight permits are never free at one moment while eight threads take each of them back at once.",
            shown_by(at_least(16.0, pick("barging", "", "overtaken_count"))),
        )
        .because(
            "Without a line, a request starves that needs more than usually lies around.",
            shown_by(at_least(1.0, "tokio")),
        )
        .because(
            "A semaphore of weighted permits has to choose: idle permits, or starved large requests.",
            Evidence::None,
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
