//! Our own small allocator beside those that people use: as a contender, and what a block of each takes beyond what was asked for.
use crate::{
    contenders::alloc::{ALIGN, Allocator, Block, GLIBC, MIMALLOC},
    lab::{Contender, sample::Sample},
    machine::memory,
    structures::alloc::small::Small,
};

/// Ours: see [`Small`].
pub static OURS: Allocator =
    Allocator::new(Contender::new("our_malloc").called("our small allocator"), &Small);

/// It and the two that every build has, glibc's first.
pub static RIVALS: [&Allocator; 3] = [&GLIBC, &MIMALLOC, &OURS];

/// Gets that many blocks, all alive at once and written at both ends, and divides what the process grew by. For a process of its own: what
/// was freed before would be used first.
///
/// Values: `each_bytes`, resident memory for each block; `overhead_bytes`, that without what was asked for.
///
/// # Errors
/// Why nothing was measured, in a sentence.
pub fn overhead(from: &'static Allocator, bytes: usize, count: usize) -> Result<Sample, String> {
    // With huge pages a single touch would count as 2 MiB.
    let small_pages = memory::without_huge_pages();
    memory::room_for(2 * count * (bytes + size_of::<Block>()))?;
    from.check(bytes, ALIGN).map_err(|e| e.to_string())?;
    let mut blocks: Vec<Option<Block>> = Vec::new();
    // Written now, so that the list's own pages are there before.
    blocks.resize_with(count, || None);
    let resident = || memory::resident_bytes().ok_or("this system does not tell how much memory is resident");
    let before = resident()?;
    for place in &mut blocks {
        let mut block = Block::new(from, bytes, ALIGN).map_err(|e| e.to_string())?;
        block.touch_every(bytes);
        *place = Some(block);
    }
    let each = resident()?.saturating_sub(before) as f64 / count as f64;
    let damaged = blocks.iter().flatten().filter(|block| !block.holds_touch()).count();
    if damaged > 0 {
        return Err(format!("{damaged} of {count} blocks do not hold what was written into them"));
    }
    let mut sample = Sample::default().with("each_bytes", each).with("overhead_bytes", each - bytes as f64);
    if !small_pages {
        sample.doubts.push("huge pages could not be switched off: one of them counts as 2 MiB".into());
    }
    Ok(sample)
}
