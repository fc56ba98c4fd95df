//! What every lock made by `lock::guard::Shared` must do; the files of the structures say at which sizes.

use super::{caught, join, throw};
use crate::lock::guard::{Share, Shared};
use crate::sync::{hint, thread};
use std::sync::Arc;

/// A lock of the kind `A` around two halves that are always equal.
pub type Halves<A> = Shared<A, (usize, usize)>;

pub fn new<A: Share>() -> Arc<Halves<A>> {
    Arc::new(Halves::new((0, 0)))
}

pub fn write<A: Share>(halves: &Halves<A>, turns: usize) {
    for _ in 0..turns {
        let mut halves = halves.write();
        let (first, second) = *halves;
        halves.0 = first + 1;
        halves.1 = second + 1; // two steps, so that somebody else in here would see or make unequal halves
    }
}

pub fn read<A: Share>(halves: &Halves<A>, turns: usize) {
    let mut newest = 0;
    for _ in 0..turns {
        newest = look(&halves.read(), newest);
    }
}

fn look(halves: &(usize, usize), newest: usize) -> usize {
    assert_eq!(halves.0, halves.1, "seen in the middle of a write");
    assert!(halves.0 >= newest, "an older value came back");
    halves.0
}

pub fn together<A: Share + Send + Sync + 'static>(
    halves: &Arc<Halves<A>>,
    f: impl FnOnce(&Halves<A>) + Send + 'static,
) -> thread::JoinHandle<()> {
    let halves = Arc::clone(halves);
    thread::spawn(move || f(&halves))
}

/// So many readers and writers, main being the last of the writers: all get in, no write is lost, nothing is seen half done.
pub fn crowd<A: Share + Send + Sync + 'static>(readers: usize, writers: usize, turns: usize) {
    let halves = new::<A>();
    let mut others: Vec<_> = (0..readers).map(|_| together(&halves, move |h| read(h, turns))).collect();
    others.extend((1..writers).map(|_| together(&halves, move |h| write(h, turns))));
    write(&halves, turns);
    others.into_iter().for_each(join);
    assert_eq!(*halves.read(), (writers * turns, writers * turns), "a write is lost");
}

/// A second reader comes and goes while the first is inside.
pub fn overlap<A: Share + Send + Sync + 'static>(turns: usize) {
    for _ in 0..turns {
        let halves = new::<A>();
        let inside = halves.read();
        join(together(&halves, |h| read(h, 1))); // would never return if readers excluded each other
        drop(inside);
    }
}

/// Behind a writer who is inside, a reader and another thread (a second reader, or a writer) both get in.
pub fn behind_a_writer<A: Share + Send + Sync + 'static>(other_writes: bool, turns: usize) {
    for _ in 0..turns {
        let halves = new::<A>();
        let mut inside = halves.write();
        let act = move |h: &Halves<A>| if other_writes { write(h, 1) } else { read(h, 1) };
        let others = [together(&halves, |h| read(h, 1)), together(&halves, act)];
        *inside = (1, 1);
        drop(inside);
        others.into_iter().for_each(join);
        assert_eq!(halves.read().0, 1 + usize::from(other_writes), "a write is lost");
    }
}

/// A waiting writer bars new readers, so that it gets in once the present ones leave.
pub fn barred<A: Share + Send + Sync + 'static>(turns: usize) {
    for _ in 0..turns {
        let halves = new::<A>();
        let inside = halves.read();
        let writer = together(&halves, |h| write(h, 1));
        while halves.try_read().is_some() {
            hint::spin_loop(); // for ever, if a waiting writer did not bar new readers
        }
        assert_eq!(*inside, (0, 0), "the writer is waiting, not writing");
        drop(inside);
        join(writer);
        assert_eq!(*halves.try_read().expect("nobody waits any more"), (1, 1));
    }
}

/// Succeeds only alone, and orders memory like write.
pub fn try_write<A: Share + Send + Sync + 'static>(other_reads: bool, turns: usize) {
    let halves = new::<A>();
    let act = move |h: &Halves<A>| if other_reads { read(h, turns) } else { write(h, turns) };
    let other = together(&halves, act);
    let mut written = if other_reads { 0 } else { turns };
    for _ in 0..turns {
        if let Some(mut inside) = halves.try_write() {
            assert!(halves.try_read().is_none(), "a reader beside a writer");
            assert!(halves.try_write().is_none(), "two writers at once");
            inside.0 += 1;
            inside.1 += 1;
            written += 1;
        }
    }
    join(other);
    let inside = halves.try_write().expect("the lock is free");
    assert_eq!(*inside, (written, written), "a write is lost");
}

/// Succeeds only beside readers, and orders memory like read.
pub fn try_read<A: Share + Send + Sync + 'static>(turns: usize) {
    let halves = new::<A>();
    let other = together(&halves, move |h| write(h, turns));
    let mut newest = 0;
    for _ in 0..turns {
        if let Some(inside) = halves.try_read() {
            assert!(halves.try_write().is_none(), "a writer beside a reader");
            newest = look(&inside, newest);
        }
    }
    join(other);
    assert_eq!(*halves.try_read().expect("the lock is free"), (turns, turns), "a write is lost");
}

/// Guards that a panic drops leave the lock, and the value is as the panic left it; get_mut and into_inner see the last writer's.
pub fn panic<A: Share + Send + Sync + 'static>(turns: usize) {
    let halves = new::<A>();
    caught(|| {
        let mut halves = halves.write();
        *halves = (1, 1);
        throw();
    });
    caught(|| {
        let _held = halves.read();
        throw();
    });
    join(together(&halves, move |h| write(h, turns)));
    let mut halves = Arc::into_inner(halves).expect("the other thread is gone");
    halves.get_mut().0 += 1;
    assert_eq!(halves.into_inner(), (turns + 2, turns + 1));
}
