//! Relations on at most 64 events, a row of bits for each.

/// The most events of an execution.
pub(super) const MOST: usize = 64;

/// Which events are related to which.
#[derive(Clone, Copy)]
pub(super) struct Relation {
    rows: [u64; MOST],
    len: usize,
}

/// The events in a mask, ascending.
pub(super) fn each(mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let next = (mask != 0).then(|| mask.trailing_zeros() as usize);
        mask &= mask.wrapping_sub(1);
        next
    })
}

impl Relation {
    pub(super) fn empty(len: usize) -> Self {
        Self { rows: [0; MOST], len }
    }

    /// Each of these events with itself.
    pub(super) fn identity(len: usize, of: u64) -> Self {
        let mut own = Self::empty(len);
        each(of).filter(|i| *i < len).for_each(|i| own.add(i, i));
        own
    }

    pub(super) fn add(&mut self, from: usize, to: usize) {
        self.rows[from] |= 1 << to;
    }

    pub(super) fn add_all(&mut self, from: usize, to: u64) {
        self.rows[from] |= to;
    }

    /// What an event is related to.
    pub(super) fn of(&self, from: usize) -> u64 {
        self.rows[from]
    }

    pub(super) fn has(&self, from: usize, to: usize) -> bool {
        self.rows[from] >> to & 1 == 1
    }

    pub(super) fn or(mut self, other: &Self) -> Self {
        for (row, more) in self.rows[..self.len].iter_mut().zip(&other.rows) {
            *row |= more;
        }
        self
    }

    pub(super) fn and(mut self, other: &Self) -> Self {
        for (row, mask) in self.rows[..self.len].iter_mut().zip(&other.rows) {
            *row &= mask;
        }
        self
    }

    pub(super) fn without(mut self, other: &Self) -> Self {
        for (row, mask) in self.rows[..self.len].iter_mut().zip(&other.rows) {
            *row &= !mask;
        }
        self
    }

    /// Only pairs from here to there.
    pub(super) fn within(mut self, from: u64, to: u64) -> Self {
        for (i, row) in self.rows[..self.len].iter_mut().enumerate() {
            *row = if from >> i & 1 == 1 { *row & to } else { 0 };
        }
        self
    }

    /// First this, then the other.
    pub(super) fn then(&self, other: &Self) -> Self {
        let mut out = Self::empty(self.len);
        for i in 0..self.len {
            out.rows[i] = each(self.rows[i]).fold(0, |all, j| all | other.rows[j]);
        }
        out
    }

    /// Or the same event.
    pub(super) fn or_same(self) -> Self {
        self.or(&Self::identity(self.len, u64::MAX))
    }

    /// One or more steps.
    pub(super) fn closure(mut self) -> Self {
        for k in 0..self.len {
            let through = self.rows[k];
            for row in &mut self.rows[..self.len] {
                if *row >> k & 1 == 1 {
                    *row |= through;
                }
            }
        }
        self
    }

    /// Whether an event is related to itself.
    pub(super) fn is_reflexive_somewhere(&self) -> bool {
        (0..self.len).any(|i| self.has(i, i))
    }

    pub(super) fn has_cycle(self) -> bool {
        self.closure().is_reflexive_somewhere()
    }
}
