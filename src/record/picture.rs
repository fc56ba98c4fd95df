//! Pictures of traces: who did what, drawn in columns. They are kept beside the records, one file a lab, and are no measurements.
use std::io;

use serde::{Deserialize, Serialize};

use super::{
    file,
    store::{Store, StoreError, failed},
};

/// One traced case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// The lab's step.
    pub step: String,
    /// Its case and parameter, as `case param`.
    pub name: String,
    /// From the first event to the last, in ns: what the columns of all lanes divide among them.
    pub length_ns: u64,
    /// Threads first, then tasks.
    pub lanes: Vec<Lane>,
}

/// A thread or a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lane {
    /// For people.
    pub name: String,
    /// True for a task, false for a thread.
    pub task: bool,
    /// A character a column, for what lasted longest there: as [`crate::show::lanes::LEGEND`] says.
    pub marks: String,
}

impl Store {
    /// Keeps the pictures of a lab's steps in place of older ones of the same steps. Readers see the old file or the new one.
    ///
    /// # Errors
    /// If the file cannot be written, or the lab's name is not a name.
    pub fn keep_pictures(&self, lab: &str, pictures: &[Picture]) -> Result<(), StoreError> {
        let path = self.beside(lab, "pictures.json")?;
        // A file that cannot be read is replaced: it can be drawn again.
        let mut kept = self.pictures(lab).unwrap_or_default();
        kept.retain(|old| pictures.iter().all(|p| p.step != old.step));
        kept.extend_from_slice(pictures);
        let text = serde_json::to_string(&kept).expect("strings and numbers always serialise");
        self.rewrite(&path, &text)
    }

    /// The pictures of a lab; none if there is no file.
    ///
    /// # Errors
    /// If the file cannot be read or is damaged, or the lab's name is not a name.
    pub fn pictures(&self, lab: &str) -> Result<Vec<Picture>, StoreError> {
        let path = self.beside(lab, "pictures.json")?;
        match file::read(&path).map_err(|e| failed(&path, "read", e))? {
            Some(bytes) => {
                serde_json::from_slice(&bytes).map_err(|e| failed(&path, "read", io::Error::from(e)))
            }
            None => Ok(Vec::new()),
        }
    }
}
