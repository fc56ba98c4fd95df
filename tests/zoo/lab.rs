//! The zoo on two machines, as lab `order_detect` includes it: real threads as they come, and real threads with random pauses.

#[path = "../linear/check.rs"]
pub mod check;
#[path = "../linear/spec.rs"]
pub mod spec;

#[path = "."]
pub mod stress {
    use super::{check, spec};
    use underhood::structures::sync;
    #[path = "machine.rs"]
    pub mod machine;
    #[path = "plain.rs"]
    mod plain;
}

#[path = "."]
pub mod chaotic {
    use super::{check, spec};
    #[path = "machine.rs"]
    pub mod machine;
    #[path = "plain.rs"]
    mod plain;
    #[path = "../chaos/sync.rs"]
    pub mod sync;
}
