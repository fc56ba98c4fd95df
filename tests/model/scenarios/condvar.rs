//! What a condition variable must do in every execution.

use super::{Scenario, asleep, join, timeout};
use crate::lock::condvar::{Condvar, TimedOut};
use crate::lock::mutex::Mutex;
use crate::sync::{hint, thread};
use std::sync::Arc;
use std::time::Duration;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "one",
        oracle: "whoever waits is woken, and sees what was done before the notification",
        threads: 2,
        bound: None,
        run: |turns| wait(1, |c| c.notify_one(), turns),
    },
    Scenario {
        name: "all",
        oracle: "both who wait are woken by one notification",
        threads: 3,
        bound: Some(2),
        run: |turns| wait(2, |c| c.notify_all(), turns),
    },
    Scenario {
        name: "one_each",
        oracle: "two notifications for one wake both who wait",
        threads: 3,
        bound: Some(2),
        run: one_each,
    },
    Scenario {
        name: "two_notify",
        oracle: "of two notifications at once neither is lost, while their number wraps",
        threads: 3,
        bound: Some(2),
        run: |turns| two_notify(|c| c.notify_one(), turns),
    },
    Scenario {
        name: "two_notify_all",
        oracle: "the same of two notifications for all",
        threads: 3,
        bound: Some(2),
        run: |turns| two_notify(|c| c.notify_all(), turns),
    },
    Scenario {
        name: "late_notify",
        oracle: "a notification that comes late turns no other one back",
        threads: 3,
        bound: Some(2),
        run: |turns| late_notify(|c| c.notify_one(), turns),
    },
    Scenario {
        name: "late_notify_all",
        oracle: "the same of notifications for all",
        threads: 3,
        bound: Some(2),
        run: |turns| late_notify(|c| c.notify_all(), turns),
    },
    Scenario {
        name: "to_and_fro",
        oracle: "a value passes to and fro between two who wait for each other",
        threads: 2,
        bound: Some(2),
        run: to_and_fro,
    },
    Scenario {
        name: "in_time",
        oracle: "a wait without an end is woken and does not time out",
        threads: 2,
        bound: None,
        run: in_time,
    },
    Scenario {
        name: "out_of_time",
        oracle: "one who gives up before it sleeps takes no notification from the one who sleeps on",
        threads: 3,
        bound: Some(1),
        run: |turns| gives_up(timeout::AT_ONCE, turns),
    },
    Scenario {
        name: "woken_too_late",
        oracle: "one who is notified when its time is over takes what is there, or leaves it to the one who sleeps on",
        threads: 3,
        bound: Some(1),
        run: |turns| gives_up(timeout::WHEN_WOKEN, turns),
    },
];

/// Tokens behind a mutex, and a place to wait for them.
struct Tokens(Mutex<usize>, Condvar);

impl Tokens {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(0), Condvar::new()))
    }
    fn take(&self) {
        let mut tokens = self.1.wait_while(self.0.lock(), |tokens| *tokens == 0);
        *tokens -= 1;
    }
    fn take_for(&self, timeout: Duration) -> bool {
        let (mut tokens, TimedOut(late)) =
            self.1.wait_timeout_while(self.0.lock(), timeout, |tokens| *tokens == 0);
        assert_eq!(*tokens == 0, late, "timed out means that there is none");
        *tokens -= usize::from(!late);
        !late
    }
    fn give(&self, count: usize, notify: fn(&Condvar)) {
        *self.0.lock() += count;
        notify(&self.1); // without the mutex, so that the notification may come at any time
    }
    fn together(self: &Arc<Self>, f: impl FnOnce(&Self) + Send + 'static) -> thread::JoinHandle<()> {
        let shared = Arc::clone(self);
        thread::spawn(move || f(&shared))
    }
    fn left(&self) -> usize {
        *self.0.lock()
    }
}

fn wait(waiting: usize, notify: fn(&Condvar), turns: usize) {
    for _ in 0..turns {
        let shared = Tokens::new();
        let others: Vec<_> = (0..waiting).map(|_| shared.together(Tokens::take)).collect();
        asleep(1);
        shared.give(waiting, notify);
        others.into_iter().for_each(join);
        assert_eq!(shared.left(), 0);
    }
}

fn one_each(turns: usize) {
    for _ in 0..turns {
        let shared = Tokens::new();
        let others = [shared.together(Tokens::take), shared.together(Tokens::take)];
        asleep(1);
        shared.give(1, Condvar::notify_one);
        shared.give(1, Condvar::notify_one);
        others.into_iter().for_each(join);
        assert_eq!(shared.left(), 0);
    }
}

fn two_notify(notify: fn(&Condvar), turns: usize) {
    for _ in 0..turns {
        let shared = Arc::new(Tokens(Mutex::new(0), Condvar::starting_at(u32::MAX)));
        let others = [0, 1].map(|_| shared.together(move |s| s.give(1, notify)));
        shared.take();
        shared.take();
        others.into_iter().for_each(join);
        assert_eq!(shared.left(), 0);
    }
}

fn late_notify(notify: fn(&Condvar), turns: usize) {
    for _ in 0..turns {
        let shared = Tokens::new();
        let late = shared.together(move |s| notify(&s.1));
        let other = shared.together(move |s| s.give(1, notify));
        asleep(1);
        // Were a notification two steps, the late one could now set their number back to where the wait below began.
        notify(&shared.1);
        notify(&shared.1);
        shared.take();
        join(late);
        join(other);
        assert_eq!(shared.left(), 0);
    }
}

fn to_and_fro(turns: usize) {
    fn play(s: &Tokens, mine: usize, turns: usize) {
        let mut ball = s.0.lock();
        for _ in 0..turns {
            ball = s.1.wait_while(ball, |ball| *ball % 2 != mine);
            *ball += 1;
            s.1.notify_one(); // with the mutex held
        }
    }
    let shared = Tokens::new();
    let other = shared.together(move |s| play(s, 1, turns));
    play(&shared, 0, turns);
    join(other);
    assert_eq!(shared.left(), 2 * turns);
}

fn in_time(turns: usize) {
    for _ in 0..turns {
        let shared = Tokens::new();
        let other = shared.together(|s| assert!(s.take_for(timeout::NEVER), "it gave up without a reason"));
        shared.give(1, Condvar::notify_one);
        join(other);
        assert_eq!(shared.left(), 0);
    }
}

fn gives_up(timeout: Duration, turns: usize) {
    for _ in 0..turns {
        let shared = Tokens::new();
        let patient = shared.together(Tokens::take);
        let other = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.take_for(timeout))
        };
        asleep(1);
        shared.give(1, Condvar::notify_one);
        while shared.left() > 0 {
            hint::spin_loop(); // for ever, if the notification were spent on one who leaves the token
        }
        shared.give(1, Condvar::notify_one); // for whoever has none
        let took = join(other);
        join(patient);
        assert_eq!(shared.left(), usize::from(!took));
    }
}
