//! Starting a PostgreSQL server and making sure that it ends.
//!
//! The server is a child of a small shell that waits for the end of its standard input, a pipe whose other end only
//! this process holds. However this process ends (also by SIGKILL), the pipe closes, and the shell stops the server and
//! removes its folder. That needs no signal tied to a parent thread, and nothing left over to be swept up later.

use std::{
    fs::{self, File},
    io,
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    time::{Duration, Instant},
};

use super::binaries::{Binaries, cache_folder};

/// A running server.
pub(super) struct Server {
    pub(super) port: u16,
    pub(super) bin: PathBuf,
    folder: PathBuf,
    shell: Child,
    stop: Option<ChildStdin>,
}

/// `$1` = bin, `$2` = the server's folder, the rest are its arguments. A server that ends by itself leaves the file
/// `ended` beside its log.
const WATCHDOG: &str = r#"
bin=$1; folder=$2; shift 2
exec 3<&0
"$bin/postgres" -D "$folder/data" "$@" >>"$folder/log" 2>&1 </dev/null 3<&- &
server=$!
{ cat <&3 >/dev/null; kill -QUIT "$server" 2>/dev/null; } &
wait "$server" 2>/dev/null
: >"$folder/ended"
wait
rm -rf "$folder"
"#;

const SETTINGS: [&str; 9] = [
    "listen_addresses=127.0.0.1",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    // Room for many tests with many connections each.
    "max_connections=300",
    "shared_buffers=64MB",
    // Its locks and its timing would make tests differ from run to run.
    "autovacuum=off",
    "max_wal_size=4GB",
    "log_min_messages=warning",
];

impl Server {
    pub(super) fn start(binaries: &Binaries, settings: &[&str]) -> Self {
        let template = template(binaries);
        let mut log = String::new();
        // A port that was free a moment ago may be taken by the time the server asks for it.
        for _ in 0..5 {
            match Self::attempt(binaries, &template, settings) {
                Ok(server) => return server,
                Err(text) => log = text,
            }
        }
        panic!("PostgreSQL from {} does not start:\n{log}", binaries.bin.display());
    }

    fn attempt(binaries: &Binaries, template: &Path, settings: &[&str]) -> Result<Self, String> {
        let folder = private_folder(binaries);
        copy_folder(template, &folder.join("data"));
        Self::launch(binaries, &folder, settings)
    }

    /// A standby that streams from the server of that port.
    pub(super) fn standby_of(primary: u16, binaries: &Binaries) -> Self {
        let folder = private_folder(binaries);
        let mut copy = binaries.as_server_user(binaries.bin.join("pg_basebackup"));
        copy.args(["-h", "127.0.0.1", "-U", "postgres", "-R", "-X", "stream", "-c", "fast", "--no-sync", "-p"]);
        copy.arg(primary.to_string()).arg("-D").arg(folder.join("data"));
        let output = copy.current_dir(&folder).output().unwrap();
        assert!(output.status.success(), "pg_basebackup failed: {}", String::from_utf8_lossy(&output.stderr));
        Self::launch(binaries, &folder, &[]).unwrap_or_else(|log| panic!("the standby does not start:\n{log}"))
    }

    fn launch(binaries: &Binaries, folder: &Path, settings: &[&str]) -> Result<Self, String> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let mut command = binaries.as_server_user("sh");
        command.args(["-c", WATCHDOG, "schemadiff-test-postgres"]).arg(&binaries.bin).arg(folder);
        command.arg("-p").arg(port.to_string());
        command.arg("-c").arg(format!("unix_socket_directories={}", folder.display()));
        for setting in SETTINGS.iter().chain(settings) {
            command.arg("-c").arg(setting);
        }
        // A group of its own: Ctrl-C must reach this process first, and the server through the pipe.
        command.process_group(0).current_dir(folder);
        let mut shell = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let stop = shell.stdin.take();
        let server = Self { port, bin: binaries.bin.clone(), folder: folder.to_owned(), shell, stop };
        if server.accepts_within(Duration::from_secs(60), &folder.join("ended")) {
            return Ok(server);
        }
        Err(server.log())
    }

    /// What it wrote to its log: why it does not start, or which signal or full disk took one of its processes away.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// False as well as soon as the server has ended. What it logs until it is up says nothing: our own attempts to
    /// connect are fatal errors there, in words that differ between a server and a standby.
    fn accepts_within(&self, limit: Duration, ended: &Path) -> bool {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            let up = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
                && super::block_on({
                    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", self.port);
                    async move { super::run_on(&url, "SELECT 1").await.is_ok() }
                });
            if up {
                return true;
            }
            if ended.exists() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(30));
        }
        false
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.shell.wait();
    }
}

/// An initialized data folder, made once per installation and copied for every server.
fn template(binaries: &Binaries) -> PathBuf {
    let root = cache_folder();
    fs::create_dir_all(&root).unwrap();
    let template = root.join(format!("template-{}", binaries.label));
    let lock = File::create(root.join(format!("template-{}.lock", binaries.label))).unwrap();
    lock.lock().unwrap();
    if template.join("PG_VERSION").exists() {
        return template;
    }
    let folder = private_folder(binaries);
    let data = folder.join("data");
    let mut initdb = binaries.as_server_user(binaries.bin.join("initdb"));
    initdb.arg("-D").arg(&data).args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]);
    let output = initdb.current_dir(&folder).output().unwrap();
    assert!(output.status.success(), "initdb failed: {}", String::from_utf8_lossy(&output.stderr));
    let rules = data.join("pg_hba.conf");
    let trust = fs::read_to_string(&rules).unwrap();
    fs::write(&rules, format!("host all +needs_password all scram-sha-256\n{trust}")).unwrap();
    let unfinished = root.join(format!("template-{}.unfinished", binaries.label));
    let _ = fs::remove_dir_all(&unfinished);
    copy_folder(&data, &unfinished);
    let _ = fs::remove_dir_all(&template);
    fs::rename(&unfinished, &template).unwrap();
    let _ = fs::remove_dir_all(&folder);
    template
}

/// A folder that the server's user owns. Short, because a socket's path may have a hundred bytes only.
fn private_folder(binaries: &Binaries) -> PathBuf {
    let folder = tempfile::Builder::new().prefix("schemadiff-pg-").tempdir().unwrap().keep();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    if let Some((uid, gid)) = binaries.user {
        std::os::unix::fs::chown(&folder, Some(uid), Some(gid)).unwrap();
    }
    folder
}

/// Copies with owners and modes.
fn copy_folder(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
    let copied = status.and_then(|s| if s.success() { Ok(()) } else { Err(io::Error::other(s.to_string())) });
    copied.unwrap_or_else(|e| panic!("cannot copy {} to {}: {e}", from.display(), to.display()));
}
