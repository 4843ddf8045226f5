//! PgBouncer in transaction mode, in front of a server of the tests.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    Postgres,
    binaries::{engines_folder, run, server_user},
};

/// A running pooler; it ends when this is dropped, and when the process ends in whatever way.
pub struct PgBouncer {
    port: u16,
    folder: PathBuf,
    shell: Child,
    stop: Option<ChildStdin>,
}

/// `$1` = program, `$2` = folder. As with the servers: the end of standard input ends it. SIGTERM is its immediate shutdown.
const WATCHDOG: &str = r#"
"$1" "$2/pgbouncer.ini" >"$2/log" 2>&1 </dev/null &
pooler=$!
cat >/dev/null
kill -TERM "$pooler" 2>/dev/null
wait "$pooler" 2>/dev/null
rm -rf "$2"
"#;

impl PgBouncer {
    /// Lends sessions of the server for one transaction each; at most `sessions` for each database.
    pub fn in_front_of(server: &Postgres, sessions: u32) -> Self {
        Self::opening_sessions_with(server, sessions, "")
    }

    /// The same, and opens its sessions with these settings.
    pub fn opening_sessions_with(server: &Postgres, sessions: u32, with: &str) -> Self {
        let program = Program::find();
        let folder = tempfile::Builder::new().prefix("schemadiff-pool-").tempdir().unwrap().keep();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={} user=postgres {with}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nauth_type = any\npool_mode = transaction\ndefault_pool_size = {sessions}\n\
             max_client_conn = 300\nunix_socket_dir =\nserver_tls_sslmode = disable\n",
            server.port()
        );
        fs::write(folder.join("pgbouncer.ini"), settings).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", WATCHDOG, "schemadiff-test-pgbouncer"]).arg(&program.path).arg(&folder);
        if let Some(libraries) = &program.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        // It refuses root, as the server does.
        if let Some((uid, gid)) = server_user() {
            std::os::unix::fs::chown(&folder, Some(uid), Some(gid)).unwrap();
            command.uid(uid).gid(gid);
        }
        let mut shell =
            command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let stop = shell.stdin.take();
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let said = || fs::read_to_string(folder.join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "PgBouncer does not start:\n{}", said());
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { port, folder, shell, stop }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address of a database through it.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.shell.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

struct Program {
    path: PathBuf,
    /// Where its libraries are, when they are not the system's.
    libraries: Option<PathBuf>,
}

impl Program {
    /// What `SCHEMADIFF_PGBOUNCER` names, what is installed, or a download of Debian's packages into the engines' folder.
    fn find() -> Self {
        if let Some(path) = std::env::var_os("SCHEMADIFF_PGBOUNCER") {
            return Self { path: path.into(), libraries: None };
        }
        let installed =
            ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/usr/local/bin/pgbouncer", "/opt/homebrew/bin/pgbouncer"];
        if let Some(path) = installed.iter().map(Path::new).find(|path| path.exists()) {
            return Self { path: path.to_owned(), libraries: None };
        }
        let engines = engines_folder();
        fs::create_dir_all(&engines).unwrap();
        let lock = File::create(engines.join(".lock")).unwrap();
        lock.lock().unwrap();
        let folder = engines.join("pgbouncer");
        if !folder.exists() {
            download(&engines, &folder).unwrap_or_else(|why| {
                panic!(
                    "this test needs PgBouncer and could not get it ({why}).\nInstall it (Debian: `apt-get install pgbouncer`) \
                     or name the program in SCHEMADIFF_PGBOUNCER."
                )
            });
        }
        let libraries = fs::read_dir(folder.join("usr/lib")).unwrap().map(|entry| entry.unwrap().path());
        let libraries =
            libraries.filter(|path| path.is_dir()).find(|path| path.display().to_string().contains("linux-gnu"));
        Self { path: folder.join("usr/sbin/pgbouncer"), libraries }
    }
}

fn download(engines: &Path, folder: &Path) -> Result<(), String> {
    eprintln!("PgBouncer is not installed: downloading Debian's package into {}", engines.display());
    let unfinished = engines.join("pgbouncer.unfinished");
    let _ = fs::remove_dir_all(&unfinished);
    fs::create_dir_all(&unfinished).map_err(|e| e.to_string())?;
    let get = || {
        run(Command::new("apt-get")
            .args(["download", "pgbouncer", "libc-ares2", "libevent-2.1-7"])
            .current_dir(&unfinished))
    };
    if get().is_err() {
        run(Command::new("apt-get").arg("update"))?;
        get()?;
    }
    for package in fs::read_dir(&unfinished).map_err(|e| e.to_string())? {
        let package = package.map_err(|e| e.to_string())?.path();
        run(Command::new("dpkg").arg("-x").arg(&package).arg(&unfinished))?;
        fs::remove_file(package).map_err(|e| e.to_string())?;
    }
    fs::rename(&unfinished, folder).map_err(|e| e.to_string())
}
