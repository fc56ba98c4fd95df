//! Pauses that tell of the collection, apart from those that tell of whoever had the CPU.
//!
//! A pause that another thread prolonged is left out, as a disturbed block is elsewhere: by the scheduler's clock
//! ([`Pause::disturbed`]), never by its length. If more than a third of the pauses are disturbed, what is left may be a selection;
//! then nothing is left out, and all of it is doubtful.
use std::time::Duration;

use crate::{heap::Pause, lab::sample::Sample};

/// The pauses to measure by.
#[derive(Debug)]
pub struct Sifted {
    /// In their order.
    pub kept: Vec<Pause>,
    /// How many were left out.
    pub dropped: usize,
    /// How many were disturbed: those that were left out, or too many to leave out.
    pub disturbed: usize,
    displaced_share: Option<f64>,
}

impl Sifted {
    /// Of the pauses of one run.
    pub fn of(pauses: &[Pause]) -> Self {
        let disturbed = pauses.iter().filter(|p| p.disturbed()).count();
        let dropped = if disturbed * 3 > pauses.len() { 0 } else { disturbed };
        let kept = pauses.iter().filter(|p| dropped == 0 || !p.disturbed()).copied().collect();
        Self { kept, dropped, disturbed, displaced_share: displaced_share(pauses) }
    }

    /// A time of each kept pause, in ns.
    pub fn ns(&self, of: fn(&Pause) -> Duration) -> Vec<f64> {
        self.kept.iter().map(|p| of(p).as_secs_f64() * 1e9).collect()
    }

    /// Why the pauses may be longer than the collections were. Without the number, which differs from launch to launch: it is in the
    /// receipts.
    pub fn doubt(&self) -> Option<String> {
        (self.disturbed > self.dropped).then(|| {
            "in more than a third of the pauses the collector's threads waited for a CPU: these are too long"
                .into()
        })
    }

    /// Puts receipts and doubt into a sample.
    pub fn tell(&self, sample: &mut Sample) {
        sample.receipts.kept_count = Some(self.kept.len() as f64);
        sample.receipts.dropped_count = Some(self.dropped as f64);
        sample.receipts.runq_share = self.displaced_share;
        sample.doubts.extend(self.doubt());
    }
}

/// What a collector thread waited for others, as share of all pauses; `None` without pauses or where the system can't tell.
fn displaced_share(pauses: &[Pause]) -> Option<f64> {
    let known: Vec<_> = pauses.iter().filter_map(|p| Some((p.whole(), p.used?.displaced()))).collect();
    let whole: Duration = known.iter().map(|(whole, _)| whole).sum();
    let displaced: Duration = known.iter().map(|(_, displaced)| displaced).sum();
    (!whole.is_zero()).then(|| displaced.as_secs_f64() / whole.as_secs_f64())
}
