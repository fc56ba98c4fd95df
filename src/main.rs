//! The `underhood` program: the tour, every lab, and what is known about their results.
#[path = "../labs/all.rs"]
mod all;

fn main() -> std::process::ExitCode {
    underhood::cli::main(all::labs().to_vec())
}
