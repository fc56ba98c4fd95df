//! What this machine is and what it is fit to show: recorded trees and numbers for the judgement, and the real machine for
//! "it ends, and what it says is possible". No test asserts a time.
mod built;
mod cgroup;
mod code;
mod during;
mod facts;
mod grades;
mod group;
mod live;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

/// A root folder with these files, which is gone when it is dropped.
struct Tree(PathBuf);

impl Tree {
    fn new(files: &[(&str, &str)]) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("machine-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self(root)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
