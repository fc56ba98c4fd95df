//! Objects that stay alive, and the proof that they did.
use crate::heap::{Mutator, OutOfMemory, Root};

/// A leaf: header and 40 bytes.
const LEAF_BYTES: usize = 48;
const LEAF_PAYLOAD: u32 = 40;
/// A table of this many leaves stays small: 4,008 bytes.
const LEAVES: u32 = 500;

/// Small objects: numbered leaves of 48 bytes in tables of 500, the tables in one object, that in one root.
#[derive(Debug)]
pub struct Small {
    top: Root,
    tables: u32,
}

impl Small {
    /// About that many bytes of leaves (none, if that is less than one table).
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn build(m: &mut Mutator, bytes: usize) -> Result<Self, OutOfMemory> {
        let mut small = Self::with_room(m, bytes)?;
        small.grow(m, bytes)?;
        Ok(small)
    }

    /// None yet, and room for that many bytes of leaves.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn with_room(m: &mut Mutator, bytes: usize) -> Result<Self, OutOfMemory> {
        Ok(Self { top: m.alloc(tables_of(bytes), 0)?, tables: 0 })
    }

    /// Adds leaves until there are about that many bytes of them.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    ///
    /// # Panics
    /// Beyond the room that was asked for.
    pub fn grow(&mut self, m: &mut Mutator, bytes: usize) -> Result<(), OutOfMemory> {
        while self.tables < tables_of(bytes) {
            let table = m.alloc(LEAVES, 0)?;
            for i in 0..LEAVES {
                let leaf = m.alloc(0, LEAF_PAYLOAD)?;
                let number = u64::from(self.tables * LEAVES + i);
                m.payload_mut(&leaf)[..8].copy_from_slice(&number.to_le_bytes());
                m.store(m.at(&table), i, Some(m.at(&leaf)));
            }
            m.store(m.at(&self.top), self.tables, Some(m.at(&table)));
            self.tables += 1;
        }
        Ok(())
    }

    /// Objects that live: leaves and tables.
    pub fn objects_count(&self) -> usize {
        self.tables as usize * (LEAVES as usize + 1)
    }

    /// Reads every leaf: true if all are there and hold their numbers.
    pub fn intact(&self, m: &Mutator) -> bool {
        let top = m.at(&self.top);
        (0..self.tables).all(|t| {
            m.load(top, t).is_some_and(|table| {
                (0..LEAVES).all(|i| {
                    let number = u64::from(t * LEAVES + i).to_le_bytes();
                    m.load(table, i).is_some_and(|leaf| m.payload(leaf)[..8] == number)
                })
            })
        })
    }
}

fn tables_of(bytes: usize) -> u32 {
    u32::try_from(bytes / (LEAF_BYTES * LEAVES as usize)).expect("a heap of less than 100 TB")
}

/// Keeps that many large objects of that payload alive: one object whose slots refer to them.
///
/// # Errors
/// [`OutOfMemory`].
pub fn large(m: &mut Mutator, count: u32, payload_bytes: u32) -> Result<Root, OutOfMemory> {
    let top = m.alloc(count, 0)?;
    for i in 0..count {
        let object = m.alloc(0, payload_bytes)?;
        m.store(m.at(&top), i, Some(m.at(&object)));
    }
    Ok(top)
}
