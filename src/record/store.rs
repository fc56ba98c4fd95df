//! The store: one JSON line a record, one file a lab, appended atomically.
/// Where records live.
#[derive(Clone, Debug)]
pub struct Store;
/// What a read found.
#[derive(Clone, Debug)]
pub struct Loaded;
/// What went wrong with the store.
#[derive(Debug)]
pub struct StoreError;
