//! What a pause is made of: forced collections over many sizes of what lives, and a fit.
use super::{
    PATIENCE,
    live::{Small, large},
    sift::Sifted,
};
use crate::{
    heap::{Config, Heap, Mutator, OutOfMemory},
    lab::sample::Sample,
    machine::pin_current_thread,
    stats,
};

/// `pause = base + object * live objects + large * large objects + large_mib * their payload`, in ns.
#[derive(Clone, Debug, PartialEq)]
pub struct Law {
    /// Of a collection of an empty heap.
    pub base_ns: f64,
    /// For each small object that lives.
    pub object_ns: f64,
    /// For each large object that lives.
    pub large_ns: f64,
    /// For each MiB of payload of large objects.
    pub large_mib_ns: f64,
    /// Half of the points lie closer to the law than this share of themselves.
    pub off_share: f64,
    /// What it foretold of a point beyond the sweep, over what was measured there; `None` if no such point was made.
    pub foretold_ratio: Option<f64>,
    /// Points that it was made from.
    pub points: usize,
    /// Why it should not be quoted.
    pub doubts: Vec<String>,
}

/// One point of the sweep: what lives, and the median pause.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Small objects.
    pub objects: f64,
    /// Large objects.
    pub large: f64,
    /// Their payload, in MiB.
    pub large_mib: f64,
    /// What a full collection stopped the world for.
    pub pause_ns: f64,
}

/// What to sweep: every amount of small objects with every set of large ones.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// Bytes of small objects, ascending.
    pub small_bytes: Vec<usize>,
    /// Large objects: how many, and the payload of each.
    pub large: Vec<(u32, u32)>,
    /// Collections at each point, for each of the two laws.
    pub repeats: usize,
    /// One point beyond the sweep, of small and large objects, that the law is to foretell: at least as many small ones as the last.
    pub beyond: (usize, (u32, u32)),
    /// Where the mutator runs.
    pub cpu: usize,
}

/// Makes the heap of this process, sweeps, and fits two laws: one to every other collection, the other one to those between. Their
/// difference is what the measurement itself adds.
///
/// # Errors
/// In a sentence: no heap, heap full, a collection that does not end, live objects lost, too few points for a fit.
pub fn law(config: Config, sweep: Sweep) -> Result<[Law; 2], String> {
    let heap = Heap::start(config).map_err(|e| e.to_string())?;
    let points = heap.run(PATIENCE, move |m| points(m, &sweep)).map_err(|overdue| overdue.to_string())??;
    let doubt = Sifted::of(&heap.pauses()).doubt();
    let law_of = |half: usize| {
        let points: Vec<Point> = points.iter().map(|twins| twins[half]).collect();
        let (beyond, points) = points.split_last().ok_or("the sweep has no points")?;
        let mut law = fit(points).ok_or("the sweep does not determine the law")?;
        law.foretold_ratio = Some(law.expects_ns(beyond) / beyond.pause_ns);
        law.doubts.extend(doubt.clone());
        Ok::<Law, String>(law)
    };
    Ok([law_of(0)?, law_of(1)?])
}

fn points(m: &mut Mutator, sweep: &Sweep) -> Result<Vec<[Point; 2]>, String> {
    pin_current_thread(sweep.cpu);
    let full = |e: OutOfMemory| e.to_string();
    let (beyond, their_large) = sweep.beyond;
    let mut small = Small::with_room(m, beyond.max(sweep.small_bytes.iter().copied().max().unwrap_or(0)))
        .map_err(full)?;
    let mut points = Vec::new();
    for bytes in &sweep.small_bytes {
        small.grow(m, *bytes).map_err(full)?;
        for large in &sweep.large {
            points.push(point(m, &small, *large, sweep.repeats)?);
        }
    }
    small.grow(m, beyond).map_err(full)?;
    points.push(point(m, &small, their_large, sweep.repeats)?);
    if !small.intact(m) {
        return Err("objects that should have lived are lost".into());
    }
    Ok(points)
}

fn point(
    m: &mut Mutator,
    small: &Small,
    (count, payload): (u32, u32),
    repeats: usize,
) -> Result<[Point; 2], String> {
    let kept = large(m, count, payload).map_err(|e| e.to_string())?;
    m.collect(); // what the last set left behind is not to be swept in the measured ones
    let before = m.heap().pauses_count();
    for _ in 0..2 * repeats {
        m.collect();
    }
    let pauses = m.heap().pauses().split_off(before);
    drop(kept);
    let half = |first: usize| {
        let pauses: Vec<_> = pauses.iter().skip(first).step_by(2).copied().collect();
        Ok::<Point, String>(Point {
            objects: small.objects_count() as f64,
            large: f64::from(count),
            large_mib: f64::from(count) * f64::from(payload) / f64::from(1 << 20),
            pause_ns: stats::median(&Sifted::of(&pauses).ns(|p| p.stopped))
                .ok_or("no collection was made")?,
        })
    };
    Ok([half(0)?, half(1)?])
}

/// The law of these points; `None` if they do not determine it.
pub fn fit(points: &[Point]) -> Option<Law> {
    let rows: Vec<[f64; 4]> = points.iter().map(|p| [1.0, p.objects, p.large, p.large_mib]).collect();
    let pauses: Vec<f64> = points.iter().map(|p| p.pause_ns).collect();
    let [base_ns, object_ns, large_ns, large_mib_ns] = stats::fit(&rows, &pauses)?;
    let law = Law {
        base_ns,
        object_ns,
        large_ns,
        large_mib_ns,
        off_share: 0.0,
        foretold_ratio: None,
        points: points.len(),
        doubts: Vec::new(),
    };
    let off: Vec<f64> = points.iter().map(|p| (law.expects_ns(p) - p.pause_ns).abs() / p.pause_ns).collect();
    Some(Law { off_share: stats::median(&off)?, ..law })
}

impl Law {
    /// As a sample: its numbers under their own names, and `points_count`.
    ///
    /// # Errors
    /// In a sentence: there is no point beyond the sweep.
    pub fn sample(&self, case: &str, param: &str) -> Result<Sample, String> {
        let mut sample = Sample::new(case, param)
            .with("object_ns", self.object_ns)
            .with("base_ns", self.base_ns)
            .with("large_ns", self.large_ns)
            .with("large_mib_ns", self.large_mib_ns)
            .with("off_share", self.off_share)
            .with("foretold_ratio", self.foretold_ratio.ok_or("no point beyond the sweep")?)
            .with("points_count", self.points as f64);
        sample.doubts.clone_from(&self.doubts);
        Ok(sample)
    }
    /// The pause that the law expects where so much lives, in ns; what was measured there is not looked at.
    pub fn expects_ns(&self, at: &Point) -> f64 {
        self.base_ns
            + self.object_ns * at.objects
            + self.large_ns * at.large
            + self.large_mib_ns * at.large_mib
    }
}
