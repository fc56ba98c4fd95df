//! A future by hand, and an executor by hand: what `async` and `.await` stand for, in ordinary code.
//!
//! | file | what is there |
//! |---|---|
//! | [`executor`] | one thread that polls tasks, and wakers that any thread may use |
//! | [`machine`] | async fns, and beside each the enum that the compiler might have written |

pub mod executor;
pub mod machine;
