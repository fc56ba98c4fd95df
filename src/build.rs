//! Bakes into the binary what only the build knows: the compiler, the profile, and which code it is.
//!
//! Looks at no repository: a commit, a staged file or an edited page of prose rebuilds nothing. The revision is looked up when a record
//! is written ([`machine::built`](../underhood/machine/built/index.html)).
use std::{env, fmt::Write as _, fs, path::Path, process::Command};

#[path = "machine/code.rs"]
#[allow(dead_code, unreachable_pub, reason = "the library uses the other half, and other crates too")]
mod code;

/// The library's sources, each with its path from the root of the package.
fn sources(dir: &Path, out: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for path in entries.filter_map(|e| Some(e.ok()?.path())) {
        if path.is_dir() {
            sources(&path, out);
        } else if let Some(path) = path.to_str().filter(|p| p.ends_with(".rs")) {
            out.push(path.replace('\\', "/"));
        }
    }
    out.sort();
}

fn main() {
    let get = |k: &str| env::var(k).unwrap_or_else(|_| "unknown".to_string());
    let version =
        |rustc: String| Command::new(rustc).arg("--version").output().ok().filter(|o| o.status.success());
    let rustc = env::var("RUSTC").ok().and_then(version);
    let rustc =
        rustc.map_or_else(|| "unknown".into(), |o| String::from_utf8_lossy(&o.stdout).trim().to_string());
    println!("cargo:rustc-env=UNDERHOOD_RUSTC={rustc}");
    println!("cargo:rustc-env=UNDERHOOD_PROFILE={}", get("PROFILE"));
    println!("cargo:rustc-env=UNDERHOOD_OPT={}", get("OPT_LEVEL"));
    println!("cargo:rustc-env=UNDERHOOD_TARGET={}", get("TARGET"));
    println!(
        "cargo:rustc-env=UNDERHOOD_RUSTFLAGS={}",
        env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default().replace('\x1f', " ")
    );

    let mut files = Vec::new();
    sources(Path::new("src"), &mut files);
    // All of it decides whether a revision holds this very code.
    let mut all = Vec::new();
    for file in &files {
        all.extend_from_slice(file.as_bytes());
        all.extend(fs::read(file).unwrap_or_default());
    }
    let hash = format!("{:032x}", code::hash(&all));
    println!("cargo:rustc-env=UNDERHOOD_CODE={hash}");
    println!("cargo:rustc-env=UNDERHOOD_SHORT={}", &hash[..12]);

    let mut table = String::from("[\n");
    for file in &files {
        let module = file
            .trim_start_matches("src/")
            .trim_end_matches(".rs")
            .trim_end_matches("/mod")
            .replace('/', "::");
        if !code::is_measured(&module) || module == "lib" {
            continue;
        }
        let (hash, paths) = code::of_module(&module, &fs::read_to_string(file).unwrap_or_default());
        let _ = writeln!(table, "({module:?}, {hash:#x}, &{paths:?}),");
    }
    table.push(']');
    let to = Path::new(&env::var("OUT_DIR").expect("cargo sets it")).join("modules.rs");
    fs::write(to, table).expect("OUT_DIR can be written");

    for path in ["src", "Cargo.toml", "Cargo.lock", ".cargo"] {
        if Path::new(path).exists() {
            println!("cargo:rerun-if-changed={path}");
        }
    }
}
