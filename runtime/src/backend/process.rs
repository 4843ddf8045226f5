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
        Self { host: host_name(), pid, machine: machine(), started: start_time(pid).unwrap_or_default() }
    }

    /// Whether it runs; `None` when it is of another machine or nothing can be known.
    pub fn runs(&self) -> Option<bool> {
        if self.machine.is_empty() || self.started.is_empty() || self.machine != machine() {
            return None;
        }
        Some(start_time(self.pid).as_deref() == Some(&self.started))
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

/// Field 22 of `/proc/<pid>/stat`; none when there is no such process or it is a zombie.
fn start_time(pid: i64) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the command in parentheses and may hold anything, also spaces and parentheses.
    let mut after_command = stat.get(stat.rfind(')')? + 1..)?.split_whitespace();
    if matches!(after_command.next()?, "Z" | "X") {
        return None;
    }
    after_command.nth(18).map(ToOwned::to_owned)
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
}
