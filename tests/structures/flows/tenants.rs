//! The simulated service: what goes in comes out, and the server is as busy as arithmetic says.

use underhood::experiments::tenants::{
    Fair, Front, GlobalLimit, Load, Outcome, SharedQueue, TenantLimit, check, serve,
};
use underhood::lab::Contender;

fn run<F: Front>(load: Load) -> Outcome {
    serve::<F>(load, 5.0, 7).expect("five seconds are enough for a p99")
}

fn near(value: f64, expected: f64) -> bool {
    (value / expected - 1.0).abs() < 0.03
}

#[test]
fn the_front_doors_that_are_measured_pass() {
    check::<SharedQueue>().unwrap();
    check::<GlobalLimit>().unwrap();
    check::<TenantLimit>().unwrap();
    check::<Fair>().unwrap();
}

/// Serves the newest first.
struct Stack(Vec<(u32, u64)>);

impl Front for Stack {
    const IS: Contender = Contender::new("stack");
    fn new() -> Self {
        Self(vec![(1, 1)])
    }
    fn offer(&mut self, tenant: u32, now_ns: u64) -> bool {
        self.0.push((tenant, now_ns));
        true
    }
    fn next(&mut self) -> Option<(u32, u64)> {
        self.0.pop()
    }
    fn bytes(&self) -> usize {
        0
    }
}

#[test]
fn a_front_door_that_lets_out_what_never_came_in_gets_no_number() {
    assert!(check::<Stack>().unwrap_err().contains("nobody made"));
}

#[test]
fn a_calm_server_works_five_sixths_of_the_time_and_refuses_nobody() {
    let outcomes = [
        run::<SharedQueue>(Load::Calm),
        run::<GlobalLimit>(Load::Calm),
        run::<TenantLimit>(Load::Calm),
        run::<Fair>(Load::Calm),
    ];
    for outcome in outcomes {
        assert!(near(outcome.used_share, 5.0 / 6.0), "{outcome:?}");
        assert!(outcome.others_shed_share < 0.001, "{outcome:?}");
        assert!(outcome.others_p99_ns >= 50_000.0, "a request takes at least its service: {outcome:?}");
    }
}

#[test]
fn a_fair_queue_gives_the_noisy_tenant_exactly_what_is_left_over() {
    let outcome = run::<Fair>(Load::OneNoisy);
    assert!(outcome.used_share > 0.999, "{outcome:?}");
    assert!(near(outcome.noisy_per_s, 20_000.0 / 6.0), "{outcome:?}");
    assert!(outcome.others_shed_share < 0.001, "{outcome:?}");
}

#[test]
fn a_shared_queue_sheds_what_exceeds_the_server() {
    let outcome = run::<SharedQueue>(Load::AllDouble);
    assert!(outcome.used_share > 0.999, "{outcome:?}");
    // 33,333 are asked for each second and 20,000 are served; the queue is full before the counted time begins.
    let refused = 1.0 - 20_000.0 / 33_333.0;
    assert!(near(outcome.others_shed_share, refused), "{outcome:?}, expected {refused}");
}

#[test]
fn a_run_that_is_too_short_has_no_percentile() {
    assert_eq!(serve::<SharedQueue>(Load::Calm, 0.01, 1), None);
}
