//! What each limiter promises, computed from the whole history: slow, and plain to see.

/// Everything that passed: when, and at what cost. Times are wide enough that no sum overflows.
#[derive(Default)]
pub(super) struct History(Vec<(i128, i128)>);

impl History {
    pub(super) fn passed(&mut self, now_ns: u64, cost: u64) {
        self.0.push((now_ns.into(), cost.into()));
    }

    /// The law of a rate with a burst: whatever passed since any earlier request, this one included, is at most the burst and what
    /// came back since then.
    pub(super) fn conforms(&self, interval_ns: u64, burst: u64, now_ns: u64, cost: u64) -> bool {
        let (interval, full) = (i128::from(interval_ns), i128::from(interval_ns) * i128::from(burst));
        let alone = i128::from(cost) * interval;
        let mut since = alone;
        alone <= full
            && self.0.iter().rev().all(|(then, cost)| {
                since += cost * interval;
                since <= full + (i128::from(now_ns) - then)
            })
    }

    /// The most that may pass now.
    pub(super) fn most(&self, interval_ns: u64, burst: u64, now_ns: u64) -> u64 {
        (0..=burst).rev().find(|cost| self.conforms(interval_ns, burst, now_ns, *cost)).unwrap_or(0)
    }

    /// The largest sum of costs in a half-open window of this length that begins with a request.
    pub(super) fn worst(&self, window_ns: u64) -> i128 {
        let from = |i: usize| {
            let end = self.0[i].0 + i128::from(window_ns);
            self.0[i..].iter().take_while(move |(then, _)| *then < end).map(|(_, cost)| cost).sum()
        };
        (0..self.0.len()).map(from).max().unwrap_or(0)
    }
}

/// A server that takes one unit per interval, in the order of arrival.
#[derive(Default)]
pub(super) struct Server(Vec<(u64, u64)>);

impl Server {
    /// When a request that arrives now leaves: not before it came, nor before all that the earlier ones need is done.
    pub(super) fn leaves_at(&self, interval_ns: u64, now_ns: u64) -> u64 {
        self.0.iter().fold(0, |free, (came, cost)| free.max(*came) + cost * interval_ns).max(now_ns)
    }

    pub(super) fn took(&mut self, now_ns: u64, cost: u64) {
        self.0.push((now_ns, cost));
    }
}

/// Everything that passed a fixed window: the number of its window, and its cost.
#[derive(Default)]
pub(super) struct Windows(Vec<(u64, u64)>);

impl Windows {
    /// The window that counts now: the present one, or the latest that was used.
    pub(super) fn window(&self, window_ns: u64, now_ns: u64) -> u64 {
        self.0.iter().map(|(window, _)| *window).max().unwrap_or(0).max(now_ns / window_ns)
    }

    pub(super) fn used(&self, window: u64) -> u64 {
        self.0.iter().filter(|(w, _)| *w == window).map(|(_, cost)| cost).sum()
    }

    pub(super) fn passed(&mut self, window: u64, cost: u64) {
        self.0.push((window, cost));
    }
}

/// When every request passed a sliding window, on a clock that stands still instead of stepping back.
#[derive(Default)]
pub(super) struct Times(Vec<u64>);

impl Times {
    pub(super) fn now(&self, now_ns: u64) -> u64 {
        self.0.iter().copied().max().unwrap_or(0).max(now_ns)
    }

    /// Those that still count now.
    pub(super) fn count(&self, window_ns: u64, now_ns: u64) -> u64 {
        self.0.iter().filter(|then| **then + window_ns > now_ns).count() as u64
    }

    pub(super) fn passed(&mut self, now_ns: u64) {
        self.0.push(now_ns);
    }
}
