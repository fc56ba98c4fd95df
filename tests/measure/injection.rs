//! The simulation of thread injection: first it reproduces what was published, and it could fail to; then the policies, by their definition.
use underhood::experiments::injection::{
    Load, Policy, Pool, simulate,
    tutorial::{TUTORIAL, TUTORIAL_CORES, reproduction},
};

#[test]
fn the_tutorials_figures_are_reproduced_within_the_stated_error() {
    reproduction().expect("both runs");
}

/// With two unknowns fitted, four figures could be a matter of course. They are not.
#[test]
fn other_machines_do_not_reproduce_them() {
    for cores in [4, 8, 12, 13, 15, 16, 20, 24, 32] {
        assert!(TUTORIAL.iter().any(|run| run.reproduced(cores).is_err()), "{cores} cores");
    }
    let swapped = [(Policy::Gate, 0), (Policy::Cooperative, 1), (Policy::HandOff, 0), (Policy::Fixed, 1)];
    for (policy, run) in swapped {
        let mut run = TUTORIAL[run];
        run.policy = policy;
        assert!(run.reproduced(TUTORIAL_CORES).is_err(), "{policy:?} gives other figures than {}", run.name);
    }
}

const LOAD: Load = Load { clients: 40, spread_ms: 0, handler_ms: 500, blocks: true, window_ms: 10_000 };
const POOL: Pool = Pool { cores: 8, threads: 8 };

#[test]
fn what_awaits_needs_no_more_threads_than_cores() {
    for policy in [Policy::Fixed, Policy::Gate, Policy::Cooperative, Policy::HandOff] {
        let got = simulate(policy, POOL, Load { blocks: false, ..LOAD });
        assert_eq!((got.in_window_count, got.answered_count, got.unanswered_count), (40 * 20, 40 * 20, 0));
        assert_eq!((got.latency_mean_ms, got.latency_max_ms), (500.0, 500));
        assert!(got.threads_max_count <= 8, "{policy:?}: {got:?}");
    }
}

#[test]
fn a_fixed_pool_whose_threads_all_block_answers_nobody() {
    let got = simulate(Policy::Fixed, POOL, LOAD);
    assert_eq!((got.answered_count, got.unanswered_count, got.threads_max_count), (0, 40, 8));
    // A thread more than there are clients fires the timers.
    let enough = simulate(Policy::Fixed, Pool { threads: 41, ..POOL }, LOAD);
    assert_eq!((enough.unanswered_count, enough.latency_max_ms, enough.answered_count), (0, 500, 40 * 20));
}

/// By hand: nothing is answered before there is a thread for each of the 40 clients and one more for their timers: the gate adds the 33
/// that are missing one every 500 ms, and the 33rd comes at 16.5 s, after the window.
#[test]
fn the_gate_adds_a_thread_every_half_second() {
    let got = simulate(Policy::Gate, POOL, LOAD);
    assert_eq!((got.in_window_count, got.answered_count, got.threads_max_count), (0, 40, 41));
    assert_eq!((got.latency_mean_ms, got.latency_max_ms), (16_500.0, 16_500));
}

/// By hand: eight more at once; the fortieth thread comes after 8 x 25 + 8 x 50 + 8 x 75 = 1200 ms, and its own timer is due 500 ms later.
#[test]
fn the_cooperative_policy_takes_longer_steps() {
    let got = simulate(Policy::Cooperative, POOL, Load { window_ms: 1, ..LOAD });
    assert_eq!((got.answered_count, got.threads_max_count, got.latency_max_ms), (40, 41, 1700));
    // Once the threads exist, they are there at once.
    let again = simulate(Policy::Cooperative, POOL, LOAD);
    assert!(again.threads_max_count == 41 && again.latency_mean_ms < 650.0, "{again:?}");
}

#[test]
fn a_hand_off_costs_ten_ms_for_each_cores_worth_of_requests() {
    let got = simulate(Policy::HandOff, POOL, Load { window_ms: 1, ..LOAD });
    // Eight at 0, eight at 10 ... the last eight at 40 ms; their timers find threads.
    assert_eq!((got.answered_count, got.latency_max_ms, got.unanswered_count), (40, 540, 0));
}

#[test]
fn it_is_the_same_every_time_and_without_clients_nothing() {
    let twice = [0, 1].map(|_| simulate(Policy::Cooperative, POOL, LOAD));
    assert_eq!(twice[0], twice[1]);
    let none = simulate(Policy::Gate, POOL, Load { clients: 0, ..LOAD });
    assert_eq!((none.answered_count, none.latency_mean_ms), (0, 0.0));
}
