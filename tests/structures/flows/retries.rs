//! The simulated services of lab `flow_retry`: nothing is lost, the known cases come out as arithmetic says, and a leak is found.

use underhood::experiments::{
    hedge::{self, HEDGES, Hedge, Hedged, hedged},
    retries::{
        self, DISCIPLINES, Discipline, NO_RETRY, Outcome, POLICIES, Pause, Policy, RETRY_3, Story, retries,
    },
    utilised::{SERVICE_NS, SHAPES, Shape, formula_ns, utilised},
};

const SHORT: Story = Story { calm_s: 1, slow_s: 2, after_s: 4 };
const WELL: Story = Story { calm_s: 1, slow_s: 0, after_s: 9 };

fn near(value: f64, expected: f64, part: f64) -> bool {
    (value / expected - 1.0).abs() < part
}

#[test]
fn every_request_and_every_try_comes_to_an_end() {
    for seed in 0..2 {
        for load in [0.7, 1.2] {
            for policy in POLICIES {
                for discipline in DISCIPLINES {
                    let seen = retries::retries(SHORT, load, policy.value, discipline.value, seed);
                    retries::conserved(&seen).unwrap_or_else(|why| {
                        panic!("seed {seed}, {} {}: {why}", policy.id(), discipline.id())
                    });
                }
            }
        }
    }
}

#[test]
fn a_leak_is_found() {
    let seen = retries(SHORT, 0.7, RETRY_3, Discipline::Fifo, 1);
    let leaks = [
        Outcome { served_count: seen.served_count - 1, ..seen },
        Outcome { answered_count: seen.answered_count + 1, ..seen },
        Outcome { failed_count: seen.failed_count + 1, ..seen },
        Outcome::default(),
    ];
    for leak in leaks {
        assert!(retries::conserved(&leak).is_err(), "{leak:?}");
    }
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let run = |seed| retries(SHORT, 0.7, RETRY_3, Discipline::CoDel, seed);
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

#[test]
fn a_backend_that_is_well_answers_everybody_at_the_first_try() {
    let seen = retries(WELL, 0.5, RETRY_3, Discipline::Fifo, 1);
    // 500 a second for 10 s.
    assert!(near(seen.asked_count as f64, 5_000.0, 0.1), "{seen:?}");
    assert!(seen.after_share > 0.999 && seen.refused_count == 0, "{seen:?}");
    // Half of what the backend can do, and nothing is tried twice.
    assert!(near(seen.after_offered_ratio, 0.5, 0.1), "{seen:?}");
    assert_eq!((seen.tries_count, seen.wasted_count), (seen.asked_count, 0), "{seen:?}");
    assert_eq!(seen.recover_s, Some(0));
}

#[test]
fn a_request_is_tried_no_more_often_than_its_policy_says() {
    // Twice what the backend can do: most tries fail.
    for retries_count in [0, 1, 3] {
        let policy = Policy { retries: retries_count, ..NO_RETRY };
        let seen = retries(SHORT, 2.0, policy, Discipline::Fifo, 1);
        let most = f64::from(retries_count + 1);
        let tries = seen.tries_count as f64 / seen.asked_count as f64;
        assert!(tries <= most && tries > 0.9 * most, "{tries} tries and not {most}");
    }
    let budget = Policy { budget: Some(0.1), ..RETRY_3 };
    let seen = retries(SHORT, 2.0, budget, Discipline::Fifo, 1);
    assert!(seen.tries_count as f64 <= 1.1 * seen.asked_count as f64 + 10.0, "{seen:?}");
}

#[test]
fn clients_that_give_up_retrying_send_one_try_for_each_request_from_then_on() {
    // Twice what the backend can do, so retries would go on for ever.
    let policy = Policy { until_s: Some(0), ..RETRY_3 };
    let [some, all] = [policy, RETRY_3].map(|p| retries(SHORT, 2.0, p, Discipline::Fifo, 1));
    assert!(near(some.after_offered_ratio, 2.0, 0.1), "{some:?}");
    assert!(near(all.after_offered_ratio, 8.0, 0.1), "{all:?}");
}

#[test]
fn a_pause_moves_tries_and_takes_none_away() {
    let tries = |pause| {
        let policy = Policy { pause, ..RETRY_3 };
        let seen = retries(SHORT, 2.0, policy, Discipline::Fifo, 1);
        seen.tries_count as f64 / seen.asked_count as f64
    };
    for pause in [Pause::Exponential, Pause::Jitter] {
        assert!(near(tries(pause), tries(Pause::None), 0.05), "{pause:?}");
    }
}

#[test]
fn no_copy_of_a_hedged_request_is_lost() {
    for seed in 0..4 {
        for kind in HEDGES {
            let seen = hedged(kind.value, 0.7, 2_000, 4_000_000, seed);
            hedge::conserved(&seen).unwrap_or_else(|why| panic!("seed {seed}, {}: {why}", kind.id()));
            let most = if kind.value == Hedge::Never { 1 } else { 2 };
            assert!(seen.sent_count <= most * seen.asked_count, "{}", kind.id());
        }
    }
}

#[test]
fn a_lost_copy_is_found() {
    let seen = hedged(Hedge::AtOnce, 0.3, 2_000, 0, 1);
    assert!(hedge::conserved(&Hedged { served_count: seen.served_count - 1, ..seen.clone() }).is_err());
    assert!(hedge::conserved(&Hedged { answered_count: seen.answered_count - 1, ..seen }).is_err());
}

#[test]
fn two_at_once_are_twice_the_work() {
    let [one, twice] = [Hedge::Never, Hedge::AtOnce].map(|kind| hedged(kind, 0.3, 50_000, 0, 1).used_share);
    assert!(near(one, 0.3, 0.1), "{one}");
    assert!(near(twice, 0.6, 0.1), "{twice}");
}

#[test]
fn the_simulated_service_agrees_with_the_formulas_that_are_known() {
    let shape = |id: &str| SHAPES.iter().find(|s| s.id() == id).expect("a shape").value;
    let mean = |id, busy| utilised(shape(id), busy, 400_000, 1).mean_ns / SERVICE_NS as f64;
    // M/M/1 and M/D/1, Kleinrock 1975: 1 / (1 - busy), and 1 + busy / (2 (1 - busy)).
    assert!(near(mean("random", 0.5), 2.0, 0.05));
    assert!(near(mean("random", 0.8), 5.0, 0.1));
    assert!(near(mean("constant", 0.5), 1.5, 0.05));
    assert!(near(mean("constant", 0.8), 3.0, 0.1));
    // Ten at once on one worker: (1 + 9 / 2) / (1 - busy).
    assert!(near(mean("bursts", 0.5), 11.0, 0.1));
    assert!(near(formula_ns(0.8), 5.0 * SERVICE_NS as f64, 1e-9));
}

#[test]
fn workers_are_as_busy_as_asked_for() {
    for shape in SHAPES {
        let Shape { workers, .. } = shape.value;
        let seen = utilised(shape.value, 0.8, 200_000, 1);
        assert!(near(seen.used_share, 0.8, 0.05), "{}, {workers} workers: {}", shape.id(), seen.used_share);
    }
}
