//! A machine without .NET, with half of it, or with one that does not work: the lab says what is missing and how to get it. The runtimes
//! and compilers here are shell scripts, so that it needs no .NET to find out.
use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use tempfile::TempDir;

/// A runtime with one framework, no SDK, and this when a program is started.
fn runtime(exec: &str) -> String {
    format!(
        "case \"$1\" in\n--list-runtimes) echo 'Microsoft.NETCore.App 8.0.4 [/x]';;\n--list-sdks) ;;\nexec) {exec};;\n*) exit 9;;\nesac"
    )
}

/// A compiler that makes a program of whatever it gets.
const COMPILER: &str =
    "case \"$1\" in\n--version) echo 'a compiler 1.2.3';;\n*) echo program >underhood.dll;;\nesac";

/// A folder of scripts, by name and text.
fn scripts(all: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in all {
        script(&dir.path().join(name), "/bin/sh", text);
    }
    dir
}

fn script(file: &Path, shell: &str, text: &str) {
    fs::write(file, format!("#!{shell}\n{text}\n")).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Step `edge` with that runtime, that search path and more of an environment: exit code, and everything it said.
fn edge(dotnet: &Path, path: &Path, more: &[(&str, &str)]) -> (Option<i32>, String) {
    let (store, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_underhood"));
    command.args([
        "run",
        "dotnet_large_objects",
        "--only",
        "edge",
        "--smoke",
        "--anyway",
        "--plain",
        "--all",
    ]);
    command.arg("--store").arg(store.path()).env("HOME", home.path()).env("PATH", path);
    command.env("UNDERHOOD_DOTNET", dotnet).env_remove("XDG_CACHE_HOME").envs(more.iter().copied());
    let out = command.output().unwrap();
    let said = [out.stdout, out.stderr].concat();
    // A sentence may be broken over lines.
    let said = String::from_utf8_lossy(&said).split_whitespace().collect::<Vec<_>>().join(" ");
    (out.status.code(), said)
}

#[test]
fn what_is_missing_is_said_in_a_sentence() {
    let empty = tempfile::tempdir().unwrap();
    let lists_nothing = scripts(&[("dotnet", "exit 0")]);
    // What the real one says where ICU is missing, unless it is told to do without.
    let needs_icu = scripts(&[(
        "dotnet",
        "[ \"$DOTNET_SYSTEM_GLOBALIZATION_INVARIANT\" = 1 ] || { echo \"Couldn't find a valid ICU package\" >&2; exit 134; }",
    )]);
    let broken = scripts(&[("dotnet", "echo 'libhostfxr.so is missing' >&2; exit 150")]);
    let alone = scripts(&[("dotnet", &runtime("exit 9"))]);
    // Built for another C library: the program is there, and what should load it is not.
    let musl = tempfile::tempdir().unwrap();
    script(&musl.path().join("dotnet"), "/lib/ld-musl-of-nobody.so.1", "");
    for (dir, sentence) in [
        (empty.path(), "and there is no dotnet"),
        (lists_nothing.path(), "has no runtime Microsoft.NETCore.App: install the .NET SDK"),
        (needs_icu.path(), "has no runtime Microsoft.NETCore.App"),
        (broken.path(), "does not work here: libhostfxr.so is missing"),
        (alone.path(), "there is a .NET runtime, but no C# compiler: install the .NET SDK"),
        (musl.path(), "is built for another C library"),
    ] {
        let (code, said) = edge(dir, empty.path(), &[]);
        assert_eq!(code, Some(3), "{sentence}: {said}");
        assert!(said.contains(sentence), "{sentence}: {said}");
    }
}

#[test]
fn a_compiler_that_fails_is_quoted() {
    let dotnet = scripts(&[("dotnet", &runtime("exit 9"))]);
    let fails = "case \"$1\" in\n--version) echo 1.2.3;;\n*) echo 'Large.cs(3,1): error CS1002: ; expected'; exit 1;;\nesac";
    let path = scripts(&[("mcs", fails)]);
    let (code, said) = edge(dotnet.path(), path.path(), &[]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("the C# compiler failed: Large.cs(3,1): error CS1002"), "{said}");
}

#[test]
fn settings_in_the_environment_do_not_reach_a_program() {
    // It has values only if nobody's setting arrived. Its own did if the two rows differ. 12,345 and 54,321 bytes, which no text of the lab has.
    let exec = "if env | grep -qi 'gcserver\\|COMPlus_\\|GCHeapCount'; then exit 7; fi; \
                if [ \"$DOTNET_GCLOHThreshold\" = 30D40 ]; then echo '= edge_bytes 54321'; else echo '= edge_bytes 12345'; fi";
    let (dotnet, path) = (scripts(&[("dotnet", &runtime(exec))]), scripts(&[("mcs", COMPILER)]));
    for name in ["env", "grep", "sh"] {
        let real = ["/usr/bin", "/bin"].map(|d| Path::new(d).join(name));
        let real = real.iter().find(|p| p.exists()).unwrap();
        std::os::unix::fs::symlink(real, path.path().join(name)).unwrap();
    }
    let theirs = [("DOTNET_gcServer", "1"), ("dotnet_GCHeapCount", "3"), ("COMPlus_gcConcurrent", "0")];
    let (code, said) = edge(dotnet.path(), path.path(), &theirs);
    assert_eq!(code, Some(3), "a smoke run that measured: {said}");
    assert!(said.contains("12.1 KiB") && said.contains("53.0 KiB"), "{said}");
}

#[test]
fn a_program_that_ends_early_is_no_number() {
    let path = scripts(&[("mcs", COMPILER)]);
    for (exec, sentence) in [
        // What the runtime says when a hard limit is below what lives.
        ("echo 'Out of memory.' >&2; exit 134", "Out of memory."),
        ("kill -9 $$", "the program said no number before it was killed (SIGKILL, as a memory limit does)"),
        ("echo '= edge_bytes many'", "this line of the program is not understood: = edge_bytes many"),
        ("echo '! this version has no such method'", "this version has no such method"),
    ] {
        let dotnet = scripts(&[("dotnet", &runtime(exec))]);
        let (code, said) = edge(dotnet.path(), path.path(), &[]);
        assert_eq!(code, Some(3), "{exec}: {said}");
        assert!(said.contains(sentence), "{exec}: {said}");
    }
}

#[test]
fn a_compiler_without_a_runtime_is_no_dotnet() {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/dotnet/dotnet");
    if ours.exists() {
        // `.ci/dotnet` put a runtime where the lab finds it; on a fresh clone there is none.
        return;
    }
    let (empty, compiler) = (tempfile::tempdir().unwrap(), scripts(&[("mcs", COMPILER)]));
    for path in [empty.path(), compiler.path()] {
        // An empty name asks for nothing.
        let (code, said) = edge(Path::new(""), path, &[("DOTNET_ROOT", "/nowhere")]);
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains("there is no .NET here: install the .NET SDK"), "{said}");
    }
}

#[test]
fn an_sdk_compiles_for_its_own_framework() {
    // It sees the project that was written for it, and makes the program only for .NET 9.
    let sdk = "case \"$1\" in\n--list-runtimes) echo 'Microsoft.NETCore.App 9.0.1 [/x]';;\n--list-sdks) echo '9.0.100 [/x]';;\n\
               build) while read -r line; do case \"$line\" in *net9.0*) echo program >underhood.dll;; esac; done <underhood.csproj;;\n\
               exec) echo '= edge_bytes 12345';;\n*) exit 9;;\nesac";
    let (dotnet, empty) = (scripts(&[("dotnet", sdk)]), tempfile::tempdir().unwrap());
    let (code, said) = edge(dotnet.path(), empty.path(), &[]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("12.1 KiB"), "{said}");
    let no_program = sdk.replace("net9.0", "net7.0");
    let dotnet = scripts(&[("dotnet", &no_program)]);
    let (code, said) = edge(dotnet.path(), empty.path(), &[]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("the C# compiler failed"), "{said}");
}
