//! Telling whether a process is the one that wrote a row.

use serde::{Deserialize, Serialize};

/// A process, so that another process of the same machine can tell whether it still runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Host name, for people.
    pub host: String,
    /// Process id within `machine`.
    pub pid: i64,
    /// Boot and pid namespace that `pid` belongs to; empty where neither can be known.
    pub machine: String,
    /// Start time in the kernel's words; a pid that is used again has another one.
    pub started: String,
}

impl Process {
    /// This process.
    pub fn current() -> Self {
        let pid = i64::from(std::process::id());
        let started = match start_time(pid) {
            Seen::Since(started) => started,
            Seen::Gone | Seen::Hidden => String::new(),
        };
        Self { host: host_name(), pid, machine: machine(), started }
    }

    /// Whether it runs; `None` when it is of another machine or nothing can be known.
    pub fn runs(&self) -> Option<bool> {
        if self.machine.is_empty() || self.started.is_empty() || self.machine != machine() {
            return None;
        }
        match start_time(self.pid) {
            Seen::Since(started) => Some(started == self.started),
            Seen::Gone => Some(false),
            Seen::Hidden => None,
        }
    }
}

fn host_name() -> String {
    let from_kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    from_kernel
        .or_else(|| std::env::var("HOSTNAME").ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "unknown".to_owned())
}

/// Identity of the pid number space: containers on one host do not see each other's processes.
fn machine() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok();
    match (boot, namespace) {
        (Some(boot), Some(namespace)) => format!("{} {}", boot.trim(), namespace.display()),
        _ => String::new(),
    }
}

/// What the kernel shows of a process.
enum Seen {
    /// It runs, since this time in the kernel's words.
    Since(String),
    /// There is none, or it has ended and waits to be reaped.
    Gone,
    /// It cannot be told: `/proc` is not that of our own processes, or hides those of other users.
    Hidden,
}

/// No such process, on every Unix.
const ESRCH: i32 = 3;

/// Field 22 of `/proc/<pid>/stat`.
fn start_time(pid: i64) -> Seen {
    let stat = match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && shows_everybody() => return Seen::Gone,
        // One that ends while it is read.
        Err(error) if error.raw_os_error() == Some(ESRCH) => return Seen::Gone,
        Err(_) => return Seen::Hidden,
    };
    // The second field is the command in parentheses and may hold anything, also spaces and parentheses.
    let fields = stat.rfind(')').and_then(|end| stat.get(end + 1..)).unwrap_or_default();
    let mut fields = fields.split_whitespace();
    match fields.next() {
        None => Seen::Hidden,
        Some("Z" | "X") => Seen::Gone,
        Some(_) => fields.nth(18).map_or(Seen::Hidden, |started| Seen::Since(started.to_owned())),
    }
}

/// Whether `/proc` is that of this process's own pid namespace and hides nobody (`hidepid`, `ProtectProc` of systemd).
fn shows_everybody() -> bool {
    let own = std::fs::read_link("/proc/self").ok();
    let is_own = own.as_deref().and_then(std::path::Path::to_str) == Some(&std::process::id().to_string());
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    is_own && hides_nobody(&mounts)
}

/// Reads `/proc/self/mounts`: device, place, type, options.
fn hides_nobody(mounts: &str) -> bool {
    let mut options = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        (fields.nth(1) == Some("/proc") && fields.next() == Some("proc")).then(|| fields.next()).flatten()
    });
    // The last one mounted lies on top.
    options.next_back().is_some_and(|options| {
        let hides = |option: &str| option.strip_prefix("hidepid=").is_some_and(|how| !matches!(how, "0" | "off"));
        !options.split(',').any(hides)
    })
}

/// A random name: 16 hexadecimal digits.
pub fn random_name() -> String {
    let random = getrandom::u64().unwrap_or_else(|_| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        u64::from(std::process::id()) << 32 ^ u64::from(since.subsec_nanos())
    });
    format!("{random:016x}")
}

#[cfg(test)]
mod tests {
    use super::Process;

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_runs_and_another_with_its_pid_does_not() {
        let me = Process::current();
        assert_eq!(me.runs(), Some(true));
        assert_eq!(Process { started: "1".to_owned(), ..me.clone() }.runs(), Some(false));
        assert_eq!(Process { machine: "elsewhere".to_owned(), ..me }.runs(), None);
    }

    #[test]
    fn who_is_hidden_is_not_gone() {
        let proc = |options: &str| format!("/dev/vda / ext4 rw 0 0\nproc /proc proc {options} 0 0\n");
        assert!(super::hides_nobody(&proc("rw,nosuid,relatime")));
        assert!(super::hides_nobody(&proc("rw,hidepid=0")));
        for hidden in ["rw,hidepid=2", "rw,gid=5,hidepid=invisible", "hidepid=ptraceable"] {
            assert!(!super::hides_nobody(&proc(hidden)), "{hidden}");
            assert!(!super::hides_nobody(&format!("{}{}", proc("rw"), proc(hidden))), "the one on top counts");
        }
        assert!(!super::hides_nobody(""), "nothing is known");
    }
}
