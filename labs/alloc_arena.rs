//! What does an allocation cost, and what can you use instead?
//!
//! Run it: `cargo run --release --bin alloc_arena -- --step`
use underhood::{
    contenders::alloc::{ALIGN, Allocator},
    experiments::{
        burst,
        handed::handed,
        objects::{MANY, ORIGINS, Origin},
        our_malloc::{self, RIVALS},
    },
    lab::{
        Kind, Lab, Step, at, at_least, at_most, between, bytes, count, pick, plan::Plan, ratio,
        sample::Sample, shown_by, source,
    },
    measure::{cost, throughput},
};

/// The size of a block: that of an object of step `cheap`.
const OBJECT: usize = 64;

pub(crate) fn lab() -> Lab {
    underhood::lab!("alloc_arena", "What does an allocation cost, and what can you use instead?")
        .step(cheap())
        .step(own())
        .step(freed_elsewhere())
        .step(overhead())
        .say(
            "cheap",
            "With 64 live objects of 64 bytes, an object from glibc costs {ratio} as much as one from a bump arena: {value} and \
             {against}. That covers allocating, writing, reading and freeing it.",
            ratio(("glibc", "64 alive"), ("arena", "64 alive")),
            "objects live long and are freed one by one: an arena can't free a single object",
        )
        .say(
            "cheap",
            "An object from a thread-safe pool costs {value}, written and read, while only one thread uses the pool. An object from \
             glibc costs {against}.",
            ratio(("shared_pool", "64 alive"), ("glibc", "64 alive")),
            "the object is expensive to create or large to clear: then a pool saves that work, not the malloc",
        )
        .say(
            "own",
            "On one thread, our allocator of 400 lines takes {value} for a block of 64 bytes, and glibc's malloc takes {against}: \
             {ratio}. When the CPU runs slowly, both times double and the ratio stays the same.",
            ratio(("our_malloc", "64 B, 1 thread"), ("glibc", "64 B, 1 thread")),
            "blocks are larger than 1 KiB, or the program must give memory back: our allocator supports neither",
        )
        .not_said(&[
            "What an object costs when it is used for longer: these are written once, read once and freed.",
            "What any of these costs with cold caches: all 64 objects fit into the first-level cache.",
            "What malloc costs in its worst case. This is the best case: one thread, one size, the same blocks again and again.",
            "That our allocator could replace a real one: it never gives memory back, serves only small sizes, and detects no misuse.",
            "That an arena is safe in other languages: here the compiler checks that no object is used after the reset.",
        ])
        .next(&[
            "Why is malloc banned from the hot path? (because of its tail, not its median: a call may take a lock, call the kernel or \
             take a page fault)",
            "When does an arena waste memory? (one long-lived object keeps all of it)",
            "What must an object pool do that malloc need not? (clear each object, limit its own size, decide what happens when it is \
             empty)",
            "How does free know the size of a block? (glibc: from a header before the block; ours and mimalloc: from a header per \
             span, found by rounding the address down)",
            "Write malloc: what does each thread own, and what must it share? (its own free lists; an inbox for blocks that other \
             threads free)",
            "Why does a free list hand out the block that was freed last? (most likely it is still in the cache)",
        ])
        .sources(&[
            "D. R. Hanson, Fast allocation and deallocation of memory based on object lifetimes, 1990",
            "bumpalo 3.20, documentation: allocation is a bounds check and a pointer's move; drops are not run",
            "glibc 2.36, malloc/malloc.c: tcache (TCACHE_FILL_COUNT), fastbins",
            "D. Leijen, B. Zorn, L. de Moura, Mimalloc: Free List Sharding in Action, 2019",
            "J. Evans, A Scalable Concurrent malloc(3) Implementation for FreeBSD, 2006",
            "D. E. Knuth, The Art of Computer Programming, volume 1, section 2.5",
        ])
}

fn cheap() -> Step {
    let against_glibc = |case| ratio((case, "64 alive"), ("glibc", "64 alive"));
    Step::new("cheap", Kind::Single, "object_ns")
        .ask_number(
            "A program gets 64 objects of 64 bytes from glibc's malloc, writes them, reads them and frees them. What does one \
             object cost, in ns?",
            "glibc",
            "64 alive",
        )
        .contenders(ORIGINS)
        .slice(0.4)
        .over([count("1 alive", 1), count("64 alive", MANY)], |plan, p| {
            let (there, missing): (Vec<&Origin>, Vec<&Origin>) =
                ORIGINS.into_iter().partition(|o| o.absent().is_none());
            let missing = missing
                .into_iter()
                .map(|o| Sample::unmeasured(o.as_ref().id, p.id(), o.absent().unwrap_or_default()));
            let rounds = cost::solo(plan, p.id(), there.iter().map(|o| o.solo(p.value)));
            let objects = rounds.into_iter().map(|mut round| {
                if let Some(ns) = round.values.remove("op_ns") {
                    round.values.insert("object_ns".into(), ns / p.value as f64);
                }
                round
            });
            objects.chain(missing).collect()
        })
        .bench("cheap/{case}/1", ORIGINS, |_, origin| cost::timed(&origin.solo(1)))
        .bench("cheap/{case}/64", ORIGINS, |_, origin| cost::timed(&origin.solo(MANY)))
        .claim(
            at_least(1.5, ratio(("glibc", "64 alive"), ("arena", "64 alive"))),
            "64 alive: an object from glibc costs at least 1.5 times as much as one from an arena",
        )
        .claim(
            at_most(2.0, ratio(("arena", "64 alive"), ("stack", "64 alive"))),
            "64 alive: an object in an arena costs at most twice as much as one on the stack",
        )
        .claim(
            between(0.5, 2.0, ratio(("arena", "64 alive"), ("bumpalo", "64 alive"))),
            "64 alive: our arena and bumpalo cost the same within a factor of 2",
        )
        .claim(
            at_least(0.5, against_glibc("shared_pool")),
            "64 alive: an object from the shared pool costs at least half as much as malloc and free",
        )
        .claim(at_most(1.0, against_glibc("mimalloc")), "64 alive: mimalloc costs at most as much as glibc")
        .because(
            "All rows write and read the same 64 bytes. The stack's row costs about as much as that work alone. With one object \
             alive, each round waits for its own writes, so the differences say little.",
            shown_by(at_most(0.67, ratio(("stack", "64 alive"), ("glibc", "64 alive")))),
        )
        .because(
            "The shared pool is expensive because of its compare-and-swaps: one to take an object, and one to return it. The thread's \
             own pool keeps the same boxes without atomic operations.",
            shown_by(at_least(1.5, ratio(("shared_pool", "64 alive"), ("own_pool", "64 alive")))),
        )
        .because(
            "glibc keeps a short list of free blocks for each thread: up to glibc 2.41, seven of each size. With one object alive, \
             its block is always in that list. With 64 alive, the list runs empty, and glibc must go to the heap behind it.",
            shown_by(at_least(1.1, ratio(("glibc", "64 alive"), ("glibc", "1 alive")))),
        )
        .because(
            "To allocate, an arena compares two pointers and moves one. It can't free a single object: the reset sets the \
             pointer back and frees all of them at once.",
            source("src/structures/alloc/bump.rs; bumpalo's documentation"),
        )
        .because(
            "On the stack the space is already there: the function moved the stack pointer once, for all of its variables.",
            source("System V ABI for x86-64, section 3.2.2: the stack frame"),
        )
}

fn own() -> Step {
    let crowd = |case| ratio((case, "64 B, all"), (case, "64 B, 1 thread"));
    // Threads, if not all.
    let points = [at("64 B, 1 thread", Some(1)), at("64 B, all", None)];
    Step::new("own", Kind::Contended, "pair_ns")
        .ask_number(
            "Our allocator has a free list for each size and thread. One thread allocates and frees blocks of 64 bytes. How many ns \
             do malloc, a first write and free take together?",
            "our_malloc",
            "64 B, 1 thread",
        )
        .columns(&["min_max_share"])
        .contenders(&RIVALS)
        .slice(0.4)
        .over(points, |plan, p| {
            let plan = Plan { threads: p.value.unwrap_or(plan.threads), ..plan.clone() };
            let check = |a: &'static Allocator| a.check(OBJECT, ALIGN).err();
            let (there, missing): (Vec<&'static Allocator>, Vec<&'static Allocator>) =
                RIVALS.into_iter().partition(|&a| check(a).is_none());
            let measured = throughput::crowd(&plan, p.id(), 0.0, there.iter().map(|a| burst::crowd(a, OBJECT)));
            let per_block = measured.into_iter().map(|mut sample| {
                if let Some(ns) = sample.values.remove("lane_op_ns") {
                    sample.values.insert("pair_ns".into(), ns);
                }
                sample
            });
            let said = |a: &&'static Allocator| {
                Some(Sample::unmeasured(a.id(), p.id(), check(a)?.to_string()))
            };
            per_block.chain(missing.iter().filter_map(said)).collect()
        })
        .claim(
            at_most(1.0, ratio(("our_malloc", "64 B, 1 thread"), ("glibc", "64 B, 1 thread"))),
            "one thread: our allocator costs at most as much as glibc's malloc",
        )
        .claim(
            between(0.5, 2.0, ratio(("our_malloc", "64 B, 1 thread"), ("mimalloc", "64 B, 1 thread"))),
            "one thread: our allocator and mimalloc cost the same within a factor of 2",
        )
        .claim(
            at_most(1.3, crowd("our_malloc")).cores(2),
            "our allocator: a block costs at most 1.3 times as much with all threads as with one",
        )
        .because(
            "Threads that free their own blocks share nothing. Each thread has its own lists, so a block costs no more with many \
             threads.",
            shown_by(at_most(1.3, crowd("our_malloc")).cores(2)),
        )
        .because(
            "malloc looks up the size class in a table and takes the first block of that class's list. free rounds the address down \
             to find the size class and the owner.",
            source("src/structures/alloc/small.rs"),
        )
}

fn freed_elsewhere() -> Step {
    let away = |case| ratio((case, "away"), (case, "home"));
    Step::new("freed_elsewhere", Kind::Contended, "pair_ns")
        .ask_number(
            "A producer gets blocks of 64 bytes from our allocator, and a consumer on another CPU uses and frees them. How many ns \
             does a block cost, malloc and free together?",
            "our_malloc",
            "away",
        )
        .columns(&["malloc_ns", "free_ns"])
        .slice(0.4)
        .withdrawn("it reports the median burst, which leaves out the rare bursts in which our allocator empties its inbox")
        .isolated(&RIVALS, [at("home", false), at("away", true)], |plan, allocator, p| {
            allocator.check(OBJECT, ALIGN).map_err(|e| e.to_string())?;
            let [first, second, ..] = plan.cpus[..] else {
                return Err("needs 2 CPUs: on one, the two threads take turns and never meet".into());
            };
            Ok(handed(allocator, OBJECT, p.value, plan.slice, [first, second]))
        })
        .claim(
            at_least(1.5, away("our_malloc")).cores(2),
            "our allocator: a block that another thread frees costs at least 1.5 times as much as one that its own thread frees",
        )
        .claim(
            at_most(1.0, ratio(("our_malloc", "away"), ("glibc", "away"))).cores(2),
            "freed by another thread, a block from our allocator costs at most as much as one from glibc",
        )
        .because(
            "When another thread frees a block, it pushes it into the owner's inbox with a compare-and-swap. In the control, the same \
             lists go through the same rings, but the owner frees the blocks.",
            shown_by(
                at_least(1.5, ratio(pick("our_malloc", "away", "free_ns"), pick("our_malloc", "home", "free_ns"))).cores(2),
            ),
        )
        .because(
            "The owner takes the whole inbox with one exchange, when its own list and its newest span are empty. In glibc, \
             blocks that do not fit into the consumer's thread cache go to a list of the producer's arena, with a \
             compare-and-swap. The producer takes the arena's lock to get blocks from there.",
            source("src/structures/alloc/inbox.rs; glibc malloc/malloc.c: _int_free"),
        )
}

fn overhead() -> Step {
    const BLOCKS: usize = 200_000;
    let over = |case, param| pick(case, param, "overhead_bytes");
    Step::new("overhead", Kind::Count, "each_bytes")
        .ask_number(
            "A program holds 200,000 blocks of 64 bytes from glibc. How many bytes of memory does each take?",
            "glibc",
            "64 B",
        )
        .columns(&["overhead_bytes"])
        .isolated(&RIVALS, [bytes("64 B", 64), bytes("100 B", 100)], |plan, allocator, p| {
            let count = if plan.is_smoke() { BLOCKS / 10 } else { BLOCKS };
            our_malloc::overhead(allocator, p.value, count)
        })
        .claim(
            at_least(8.0, over("glibc", "64 B")),
            "64 bytes: glibc takes at least 8 bytes more for each block",
        )
        .claim(
            at_most(1.0, ratio(("our_malloc", "64 B"), ("glibc", "64 B"))),
            "64 bytes: a block from our allocator takes no more memory than one from glibc",
        )
        .because(
            "Our allocator has no header before a block, only one per 64 KiB span of blocks of one size. The remaining overhead is \
             rounding up to the next size class, and what the system's allocator loses when it aligns a span.",
            source("src/structures/alloc/small.rs"),
        )
        .because(
            "glibc writes the size before each block, 8 bytes, and rounds up to a multiple of 16.",
            source("glibc malloc/malloc.c: request2size"),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}
