//! What it costs to hand a cache line from one core to another.
use std::{
    sync::atomic::{
        AtomicU32,
        Ordering::{Acquire, Release},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{machine::pin_current_thread, stats::median};

/// Round trips in a batch of the hand-off; about 25 us where nothing is in the way.
const TRIPS: u32 = 200;
/// Fewer batches than this have no median to speak of.
const MIN_BATCHES: usize = 5;

/// On a line of its own, and on the neighbour that the prefetcher fetches along with it.
#[repr(align(128))]
struct Ball(AtomicU32);

const PONG: u32 = 0;
const PING: u32 = 1;
const STOP: u32 = 2;

/// Waits until the ball is no longer `old` and says what it is; `None` at the deadline. Without a pause instruction, whose
/// length (up to 140 cycles) would be part of the answer.
fn wait_while(ball: &AtomicU32, old: u32, deadline: Instant) -> Option<u32> {
    loop {
        for _ in 0..1024 {
            // Acquire end of both edges below.
            let now = ball.load(Acquire);
            if now != old {
                return Some(now);
            }
        }
        if Instant::now() >= deadline {
            return None;
        }
    }
}

/// What it costs to hand a cache line from a thread on CPU `a` to one on CPU `b`: half of a round trip, median of batches,
/// in ns. `None` if the two did not meet often enough within the budget, for instance because one of them never got a CPU.
///
/// The edges are those of a real hand-off, so that its price is measured. E1 the ping's Release -> the partner's Acquire;
/// E2 the pong's Release -> our Acquire. They carry nothing else here.
pub fn handoff_ns(a: usize, b: usize, budget: Duration) -> Option<f64> {
    let ball = Ball(AtomicU32::new(PONG));
    let ball = &ball.0;
    let deadline = Instant::now() + budget;
    let partner = move || {
        pin_current_thread(b);
        while let Some(PING) = wait_while(ball, PONG, deadline) {
            ball.store(PONG, Release); // E2
        }
    };
    let leader = move || {
        pin_current_thread(a);
        let mut batches = Vec::new();
        'play: loop {
            let start = Instant::now();
            for _ in 0..TRIPS {
                ball.store(PING, Release); // E1
                if wait_while(ball, PING, deadline).is_none() {
                    break 'play;
                }
            }
            let end = Instant::now();
            batches.push((end - start).as_nanos() as f64 / f64::from(2 * TRIPS));
            if end >= deadline {
                break;
            }
        }
        ball.store(STOP, Release);
        // In the first batch the partner had still to start.
        let batches: Vec<f64> = batches.into_iter().skip(1).collect();
        if batches.len() < MIN_BATCHES { None } else { median(&batches) }
    };
    thread::scope(|scope| {
        let partner = thread::Builder::new().spawn_scoped(scope, partner).ok()?;
        let time =
            thread::Builder::new().spawn_scoped(scope, leader).ok().and_then(|leader| leader.join().ok()?);
        partner.join().ok()?;
        time
    })
}
