//! Three ways to a buffer of 1 MiB.
use super::churn::Op;
use crate::heap::{Mutator, Root};

/// Payload of a buffer.
pub const BYTES: u32 = 1 << 20;
/// Payload of a piece: below .NET's 85,000.
const PIECE_BYTES: u32 = 80_000;
/// Buffers in the pool.
const POOLED: usize = 4;

/// Where a buffer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A new object each time.
    New,
    /// One of four that are kept for ever, with what the last user left in it (the idea of .NET's ArrayPool).
    Pool,
    /// A new table of new objects of 80,000 bytes.
    Pieces,
}

/// Takes a buffer, writes a byte to each 4 KiB of it, and is done with it. The same payload in each way.
pub fn use_one(way: Way) -> Op {
    let mut pool: Vec<Root> = Vec::new();
    let mut turn = 0;
    Box::new(move |m| {
        match way {
            Way::New => {
                let buffer = m.alloc(0, BYTES)?;
                write(m, &buffer);
            }
            Way::Pool => {
                if pool.len() < POOLED {
                    pool.push(m.alloc(0, BYTES)?);
                }
                turn = (turn + 1) % pool.len();
                m.poll(); // as an allocation would
                write(m, &pool[turn]);
            }
            Way::Pieces => {
                let pieces = BYTES.div_ceil(PIECE_BYTES);
                let buffer = m.alloc(pieces, 0)?;
                for i in 0..pieces {
                    let piece = m.alloc(0, PIECE_BYTES.min(BYTES - i * PIECE_BYTES))?;
                    write(m, &piece);
                    m.store(m.at(&buffer), i, Some(m.at(&piece)));
                }
            }
        }
        Ok(())
    })
}

fn write(m: &mut Mutator, object: &Root) {
    m.payload_mut(object).iter_mut().step_by(4096).for_each(|b| *b = b.wrapping_add(1));
}
