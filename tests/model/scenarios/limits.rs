//! What the scenarios of the rate limiters share: the same question from several threads at once.

use crate::sync::thread;
use std::sync::Arc;

/// Threads number 0 (main) to `threads` - 1 each ask once, at once; how many got a yes.
pub(super) fn passes<L: Send + Sync + 'static>(
    limiter: &Arc<L>,
    threads: u64,
    ask: fn(&L, u64) -> bool,
) -> usize {
    let others: Vec<_> = (1..threads)
        .map(|i| {
            let limiter = Arc::clone(limiter);
            thread::spawn(move || ask(&limiter, i))
        })
        .collect();
    let mine = ask(limiter, 0);
    usize::from(mine) + others.into_iter().map(|other| usize::from(other.join().unwrap())).sum::<usize>()
}
