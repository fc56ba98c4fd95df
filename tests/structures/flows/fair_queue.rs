//! The laws of a fair queue, for any weights, costs and order of arrival.

use super::for_seeds;
use std::collections::VecDeque;
use underhood::structures::flow::fair_queue::{BadQueue, FairQueue, Full};

#[test]
fn queues_that_make_no_sense() {
    let why = |weights: &[u32], quantum, longest| {
        FairQueue::<()>::new(weights, quantum, longest).map(|_| ()).unwrap_err()
    };
    assert_eq!(why(&[], 1, 1), BadQueue::Tenants);
    assert_eq!(why(&[1], 0, 1), BadQueue::NoQuantum);
    assert_eq!(why(&[1], 1, 0), BadQueue::NoPlace);
    assert_eq!(why(&[1, 0], 1, 1), BadQueue::NoWeight);
}

/// Against one plain line for each tenant: nothing lost, made or overtaken within a tenant; full means full; and whenever anything
/// waits, something is served.
#[test]
fn every_request_is_served_once_and_in_its_tenants_order() {
    for_seeds(|dice| {
        let tenants = 1 + dice.below(4);
        let weights: Vec<u32> = (0..tenants).map(|_| 1 + dice.below(5) as u32).collect();
        let (quantum, longest) = (1 + dice.below(20) as u32, 1 + dice.below(4));
        let mut queue = FairQueue::new(&weights, quantum, longest).unwrap();
        let mut plain: Vec<VecDeque<u32>> = vec![VecDeque::new(); tenants];
        for number in 0..200 {
            if dice.below(5) < 3 {
                let (tenant, cost) = (dice.below(tenants), dice.below(50) as u32);
                let pushed = queue.push(tenant as u32, cost, number);
                assert_eq!(pushed, if plain[tenant].len() < longest { Ok(()) } else { Err(Full) });
                if pushed.is_ok() {
                    plain[tenant].push_back(number);
                }
            } else {
                let waiting: usize = plain.iter().map(VecDeque::len).sum();
                let served = queue.pop();
                assert_eq!(served.is_some(), waiting > 0, "{waiting} waited");
                if let Some((tenant, number)) = served {
                    assert_eq!(plain[tenant as usize].pop_front(), Some(number), "overtaken within a tenant");
                }
            }
            let waiting: usize = plain.iter().map(VecDeque::len).sum();
            assert_eq!((queue.len(), queue.is_empty()), (waiting, waiting == 0));
        }
    });
}

/// The order of service as the paper has it, for requests that all wait already: whole turns, one after the other.
fn served_in_turns(
    lines: &[Vec<u32>],
    first_come: &[usize],
    weights: &[u32],
    quantum: u32,
) -> Vec<(usize, u32)> {
    let mut lines: Vec<VecDeque<u32>> = lines.iter().cloned().map(VecDeque::from).collect();
    let (mut credit, mut served) = (vec![0_u64; lines.len()], Vec::new());
    while lines.iter().any(|line| !line.is_empty()) {
        // Who is done stays in this list, and has no turn: the others' order is the same.
        for &tenant in first_come {
            if lines[tenant].is_empty() {
                continue;
            }
            credit[tenant] += u64::from(quantum) * u64::from(weights[tenant]);
            while lines[tenant].front().is_some_and(|cost| u64::from(*cost) <= credit[tenant]) {
                let cost = lines[tenant].pop_front().unwrap();
                credit[tenant] -= u64::from(cost);
                served.push((tenant, cost));
            }
        }
    }
    served
}

/// Batch after batch through one queue: what a tenant had left over when its line was empty must be forgotten by the next.
#[test]
fn a_batch_is_served_in_the_order_of_the_paper() {
    for_seeds(|dice| {
        let weights: Vec<u32> = (0..4).map(|_| 1 + dice.below(3) as u32).collect();
        let quantum = 1 + dice.below(20) as u32;
        let mut queue = FairQueue::new(&weights, quantum, 50).unwrap();
        for _ in 0..3 {
            let (mut lines, mut first_come) = (vec![Vec::new(); 4], Vec::new());
            for _ in 0..dice.below(30) {
                let (tenant, cost) = (dice.below(4), dice.below(40) as u32);
                queue.push(tenant as u32, cost, cost).unwrap();
                if lines[tenant].is_empty() {
                    first_come.push(tenant);
                }
                lines[tenant].push(cost);
            }
            let served: Vec<(usize, u32)> =
                std::iter::from_fn(|| queue.pop()).map(|(tenant, cost)| (tenant as usize, cost)).collect();
            assert_eq!(served, served_in_turns(&lines, &first_come, &weights, quantum));
        }
    });
}

/// The law of Shreedhar and Varghese: of tenants that always have something waiting, none is ever ahead of another by more than one
/// turn, and for each of the two its costliest request; in cost divided by weight.
#[test]
fn tenants_that_always_wait_are_served_by_their_weights() {
    for_seeds(|dice| {
        let weights: Vec<u32> = (0..3).map(|_| 1 + dice.below(5) as u32).collect();
        let (quantum, costliest) = (1 + dice.below(30) as u32, 1 + dice.below(60));
        let mut queue = FairQueue::new(&weights, quantum, 2).unwrap();
        let mut served = [0.0; 3];
        for _ in 0..150 {
            for tenant in 0..3 {
                // Two places, kept full: no line is empty after a service.
                let mut full = false;
                while !full {
                    let cost = 1 + dice.below(costliest) as u32;
                    full = queue.push(tenant, cost, cost).is_err();
                }
            }
            let (tenant, cost) = queue.pop().unwrap();
            served[tenant as usize] += f64::from(cost) / f64::from(weights[tenant as usize]);
            for (a, b) in [(0, 1), (0, 2), (1, 2)] {
                let spread = costliest as f64 * (1.0 / f64::from(weights[a]) + 1.0 / f64::from(weights[b]));
                let most = f64::from(quantum) + spread + 1e-9;
                let ahead = served[a] - served[b];
                assert!(ahead.abs() <= most, "{a} is ahead of {b} by {ahead}, the law allows {most}");
            }
        }
    });
}

#[test]
fn who_asks_too_often_waits_behind_itself_and_gets_what_is_left_over() {
    let mut queue = FairQueue::new(&[1, 1], 1, 3).unwrap();
    for _ in 0..3 {
        queue.push(0, 1, "greedy").unwrap();
    }
    assert_eq!(queue.push(0, 1, "one too many"), Err(Full));
    queue.push(1, 1, "modest").unwrap();
    let order: Vec<&str> = std::iter::from_fn(|| queue.pop()).map(|(_, who)| who).collect();
    assert_eq!(order, ["greedy", "modest", "greedy", "greedy"]);
    assert!(queue.bytes() > 2 * 3 * size_of::<(u32, &str)>());
}
