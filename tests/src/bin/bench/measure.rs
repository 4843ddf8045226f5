//! Running commands in turns and comparing them.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// A command under measurement.
pub struct Contender {
    pub name: &'static str,
    pub command: Box<dyn Fn() -> Command>,
    /// Exit codes that count as success.
    pub success: &'static [i32],
}

/// What was seen of one contender.
pub struct Seen {
    pub name: &'static str,
    pub wall: Vec<Duration>,
    /// Largest resident set of any run, in KiB.
    pub peak_kib: i64,
}

impl Seen {
    pub fn median(&self) -> f64 {
        let mut wall: Vec<_> = self.wall.iter().map(Duration::as_secs_f64).collect();
        wall.sort_by(f64::total_cmp);
        wall.get(wall.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

/// Runs every contender once per round, so that a slow moment of the machine hits all of them.
pub fn rounds(contenders: &[Contender], rounds: usize) -> Vec<Seen> {
    let mut seen: Vec<_> = contenders.iter().map(|c| Seen { name: c.name, wall: Vec::new(), peak_kib: 0 }).collect();
    for _ in 0..rounds {
        for (contender, seen) in contenders.iter().zip(&mut seen) {
            let (wall, peak_kib) = once(contender);
            seen.wall.push(wall);
            seen.peak_kib = seen.peak_kib.max(peak_kib);
        }
    }
    seen
}

#[allow(clippy::zombie_processes, reason = "`wait` reaps it with wait4, which also tells its peak memory")]
fn once(contender: &Contender) -> (Duration, i64) {
    let mut command = (contender.command)();
    let output = tempfile::NamedTempFile::new().expect("a temporary file");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output.reopen().expect("a temporary file"));
    let start = Instant::now();
    let child = command.spawn().unwrap_or_else(|e| panic!("{} cannot be started: {e}", contender.name));
    let (code, peak_kib) = wait(child.id());
    let wall = start.elapsed();
    assert!(
        contender.success.contains(&code),
        "{} ended with {code}:\n{}",
        contender.name,
        std::fs::read_to_string(output.path()).unwrap_or_default()
    );
    (wall, peak_kib)
}

/// Waits for a child and returns its exit code and its peak resident set in KiB.
fn wait(pid: u32) -> (i32, i64) {
    let mut status = 0;
    // SAFETY: `rusage` is plain data, and both pointers live through the call.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::wait4(pid as libc::pid_t, &mut status, 0, &mut usage);
        usage
    };
    (if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -1 }, usage.ru_maxrss)
}

/// Prints medians and the ratio of each to the first.
pub fn print(title: &str, seen: &[Seen]) {
    println!("{title}");
    let base = seen.first().map_or(f64::NAN, Seen::median);
    for s in seen {
        println!(
            "  {:<34} median {:>7.3} s   x{:<6.2} peak {:>6.1} MiB   ({} runs)",
            s.name,
            s.median(),
            s.median() / base,
            s.peak_kib as f64 / 1024.0,
            s.wall.len()
        );
    }
}

/// What a benchmark has to show. Each bound is printed with what was seen, and whoever misses one ends with 1.
#[derive(Default)]
pub struct Bounds {
    missed: bool,
}

impl Bounds {
    /// It may not be less.
    pub fn at_least(&mut self, what: &str, seen: f64, bound: f64) {
        self.told(what, seen, "at least", bound, seen >= bound);
    }

    /// It may not be more.
    pub fn at_most(&mut self, what: &str, seen: f64, bound: f64) {
        self.told(what, seen, "at most", bound, seen <= bound);
    }

    fn told(&mut self, what: &str, seen: f64, which: &str, bound: f64, holds: bool) {
        let word = if holds { "holds " } else { "MISSED" };
        println!("  {word} {what}: {seen:.2}, {which} {bound}");
        self.missed |= !holds;
    }

    /// Whether all of them hold.
    pub fn hold(self) -> bool {
        !self.missed
    }
}

/// The largest resident set of a contender, in MiB.
pub fn peak_mib(seen: &Seen) -> f64 {
    seen.peak_kib as f64 / 1024.0
}

/// Whether a program is there.
pub fn installed(program: &str) -> bool {
    Command::new(program).arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// `reshape migration start ..`, without what it says.
pub fn reshape(url: &str, what: &[&str], migrations: Option<&Path>) -> Command {
    let mut command = Command::new("reshape");
    command.arg("migration").args(what).args(["--url", url]);
    if let Some(migrations) = migrations {
        command.arg("--dirs").arg(migrations);
    }
    command
}

/// The tool, as it was built beside this program.
pub fn tool() -> PathBuf {
    let mut path = std::env::current_exe().expect("our own path");
    path.set_file_name("cargo-schemadiff");
    assert!(path.exists(), "build the tool first: cargo build --release --bin cargo-schemadiff");
    path
}
