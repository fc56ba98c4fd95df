//! What does an await cost in C#, and when does its state machine move to the heap?
//!
//! Run it: `cargo run --release --bin dotnet_async -- --step` (where .NET is installed; elsewhere it says how to get it)
use std::hint::black_box;

use underhood::{
    experiments::dotnet::{self, NEWER, SETTLED},
    lab::{
        Kind, Lab, ONCE, Setting, Step, at_least, at_most, between, pick, ratio, sample::Sample, setting,
        shown_by, source,
    },
};

pub(crate) fn lab() -> Lab {
    underhood::lab!("dotnet_async", "What does an await cost in C#, and when does its state machine move to the heap?")
        .runs_on(dotnet::version)
        .step(one())
        .step(many())
        .say(
            "one",
            "Awaiting an async method takes {value} if the method returns at once, and {against} if it suspends and the thread pool resumes it.",
            ratio("task_ready", "task_suspends"),
            "the method does real work: then the work is the cost, not the await",
        )
        .say(
            "one",
            "A ready Task still costs {value} of memory for each call, and a ready ValueTask costs {against}.",
            ratio(pick("task_ready", "", "allocated_bytes"), pick("value_task_ready", "", "allocated_bytes")),
            "the method suspends (then both allocate, unless the ValueTask's object is pooled), or its result is one that .NET keeps ready, such as true",
        )
        .say(
            "many",
            "In C#, each of 10,000 waiting async methods takes {value}, with its place in the list of waiters. A Rust future that is not \
             spawned takes {against}, without what it waits for.",
            ratio("csharp", "rust_future"),
            "the methods wait for different things, or hold more locals: then each takes more",
        )
        .not_said(&[
            "That Rust's futures are smaller in general: they hold everything that lives across an await, buffers included (lab \
             async_state_machine).",
            "What an await of real I/O costs: there the wait is the cost.",
            "Anything about runtime async (.NET 11, compiled with runtime-async=on), where the C# compiler makes no state machine.",
            "That C# needs more memory than Rust for the same: the C# method is started, is a Task, and its waiter is counted. The Rust \
             future is never polled.",
            "What a service pays after some time: there the JIT compiles again with a profile. Here everything is compiled once \
             (TieredCompilation=0, ReadyToRun=0).",
            NEWER,
            "What Microsoft's C# compiler makes of the same source, if the record names another one (mcs): the compiler writes the state \
             machine.",
        ])
        .next(&[
            "When is a ValueTask wrong? (when it is awaited twice or kept: the object behind it may be in use for another call by then)",
            "Why can an async void method crash the process? (nobody can await it: the exception goes to the context, or \
             without one to a pool thread, and ends the process)",
            "What is in the object on the heap? (the Task, the state, the locals that live across an await, the awaiter, the execution \
             context)",
            "What does Rust do instead? (the future is the state machine, and its owner decides where it lies: lab async_state_machine)",
        ])
        .sources(&[
            "Stephen Toub, How Async/Await Really Works in C#, 2023",
            "Stephen Toub, Understanding the Whys, Whats, and Whens of ValueTask, 2018",
            "dotnet/runtime: AsyncTaskMethodBuilder, AsyncStateMachineBox",
        ])
}

fn one() -> Step {
    const ALL: &[Setting<&str>] = &[
        setting("call", "call"),
        setting("task_ready", "task_ready"),
        setting("task_ready_cached", "task_cached"),
        setting("value_task_ready", "value_task_ready"),
        setting("yield", "yield"),
        setting("task_suspends", "task_yield"),
        setting("value_task_suspends", "value_task_yield"),
    ];
    let bytes = |case| pick(case, "", "allocated_bytes");
    Step::new("one", Kind::Single, "op_ns")
        .ask_number(
            "A C# method awaits another async method that returns at once, without suspending. How long does that take?",
            "task_ready",
            "",
        )
        .columns(&["allocated_bytes"])
        .slice(0.4)
        .contenders(ALL)
        .over(ONCE, |plan, _| {
            let ms = plan.slice.as_millis().max(20).to_string();
            dotnet::turns(plan, Kind::Single, ALL, |how| {
                dotnet::here()?.run(&["await", how, &ms], SETTLED)?.sample()
            })
        })
        .claim(
            at_least(5.0, ratio("task_suspends", "task_ready")),
            "awaiting a method that suspends takes at least 5 times as long as one that returns at once",
        )
        .claim(between(64.0, 80.0, bytes("task_ready")), "a ready Task<int> costs 64 to 80 bytes")
        .claim(at_most(1.0, bytes("value_task_ready")), "a ready ValueTask<int> costs no memory")
        .because(
            "In a release build, the compiler turns an async method into a struct that holds its state. While nothing suspends, \
             the struct stays on the stack, and only the Task for the result is allocated.",
            shown_by(between(64.0, 80.0, bytes("task_ready"))),
        )
        .because(
            "For some results, true and false among them, .NET keeps a finished Task ready. Then no Task is allocated.",
            shown_by(at_most(1.0, bytes("task_ready_cached"))),
        )
        .claim(at_least(64.0, bytes("value_task_suspends")), "a ValueTask<int> that suspends costs at least 64 bytes")
        .because("A ValueTask carries the result itself.", shown_by(at_most(1.0, bytes("value_task_ready"))))
        .because(
            "At the first await that is not ready, the struct moves to the heap, into an object that is also the Task. Here a thread of \
             the pool runs the rest.",
            shown_by(at_least(80.0, bytes("task_suspends"))),
        )
        .because(
            "In a loop that only yields, one method suspends, and its object is used again. Here the called method and its caller both \
             suspend, and both must be resumed. So a turn takes longer.",
            shown_by(at_most(0.6, ratio("yield", "task_suspends"))),
        )
}

fn many() -> Step {
    const ALL: &[Setting<bool>] = &[setting("csharp", true), setting("rust_future", false)];
    Step::new("many", Kind::Count, "allocated_bytes")
        .ask_number(
            "10,000 async methods wait for the same task, each with one int that it needs afterwards. How many bytes does each take in C#?",
            "csharp",
            "",
        )
        .isolated(ALL, ONCE, |_, case, _| {
            if case.value {
                return dotnet::here()?.run(&["await", "at_once", "0"], SETTLED)?.sample();
            }
            Ok(Sample::default().with("allocated_bytes", size_of_val(&waits(black_box(1))) as f64))
        })
        .claim(between(100.0, 200.0, "csharp"), "a waiting method in C# takes between 100 and 200 bytes")
        .because(
            "A waiting method is one object on the heap. It consists of its header, the Task, the state, the local, the awaiter \
             and the execution context. The awaited task keeps a list of its waiters, which is counted too.",
            source("dotnet/runtime: AsyncStateMachineBox"),
        )
        .because(
            "A Rust future is the state machine alone, and is stored in its owner. It was never polled here, and what it waits for is not \
             counted.",
            shown_by(at_most(64.0, "rust_future")),
        )
}

/// The same method in Rust: one local, one wait.
async fn waits(i: i32) -> i32 {
    let (tell, word) = tokio::sync::oneshot::channel::<i32>();
    drop(tell);
    i + word.await.unwrap_or_default()
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}
