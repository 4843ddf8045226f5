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

/// `$1` = folder, the rest is the program. As with the servers: the end of standard input ends it. SIGTERM is its immediate
/// shutdown.
const WATCHDOG: &str = r#"
folder=$1; shift
"$@" "$folder/pgbouncer.ini" >"$folder/log" 2>&1 </dev/null &
pooler=$!
cat >/dev/null
kill -TERM "$pooler" 2>/dev/null
wait "$pooler" 2>/dev/null
rm -rf "$folder"
"#;

impl PgBouncer {
    /// Lends sessions of the server for one transaction each; at most `sessions` for each database. Debian 12's version, which
    /// knows no prepared statements.
    pub fn in_front_of(server: &Postgres, sessions: u32) -> Self {
        Self::opening_sessions_with(server, sessions, "")
    }

    /// The same, and opens its sessions with these settings.
    pub fn opening_sessions_with(server: &Postgres, sessions: u32, with: &str) -> Self {
        Self::start(Program::find(), server, sessions, with, "")
    }

    /// Debian 13's version, which keeps prepared statements for its clients in whatever session it lends them.
    pub fn that_prepares(server: &Postgres, sessions: u32) -> Self {
        Self::start(Program::find_newer(), server, sessions, "", "max_prepared_statements = 200\n")
    }

    fn start(program: Program, server: &Postgres, sessions: u32, with: &str, more: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("schemadiff-pool-").tempdir().unwrap().keep();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={} user=postgres {with}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nauth_type = any\npool_mode = transaction\ndefault_pool_size = {sessions}\n\
             max_client_conn = 300\nunix_socket_dir =\nserver_tls_sslmode = disable\n{more}",
            server.port()
        );
        fs::write(folder.join("pgbouncer.ini"), settings).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", WATCHDOG, "schemadiff-test-pgbouncer"]).arg(&folder).args(&program.command);
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
    /// The program, and what stands before it.
    command: Vec<PathBuf>,
    /// Where its libraries are, when they are not the system's.
    libraries: Option<PathBuf>,
}

impl Program {
    fn installed(path: impl Into<PathBuf>) -> Self {
        Self { command: vec![path.into()], libraries: None }
    }

    /// What `SCHEMADIFF_PGBOUNCER` names, what is installed, or a download of Debian's packages into the engines' folder.
    fn find() -> Self {
        if let Some(path) = std::env::var_os("SCHEMADIFF_PGBOUNCER") {
            return Self::installed(path);
        }
        if let Some(path) = INSTALLED.iter().map(Path::new).find(|path| path.exists()) {
            return Self::installed(path);
        }
        let folder = downloaded("pgbouncer", "SCHEMADIFF_PGBOUNCER", |to| {
            apt_get(to, &[], &["download", "pgbouncer", "libc-ares2", "libevent-2.1-7"]).or_else(|_| {
                run(Command::new("apt-get").arg("update"))?;
                apt_get(to, &[], &["download", "pgbouncer", "libc-ares2", "libevent-2.1-7"])
            })
        });
        Self { command: vec![folder.join("usr/sbin/pgbouncer")], libraries: Some(libraries_in(&folder)) }
    }

    /// What `SCHEMADIFF_PGBOUNCER_NEWER` names, what is installed and new enough, or a download of the packages of a newer Debian, with the loader and the libraries that
    /// it needs.
    fn find_newer() -> Self {
        if let Some(path) = std::env::var_os("SCHEMADIFF_PGBOUNCER_NEWER") {
            return Self::installed(path);
        }
        let installed = INSTALLED.iter().find(|path| Path::new(path).exists() && prepares(path));
        if let Some(path) = installed {
            return Self::installed(path);
        }
        let folder = downloaded("pgbouncer-newer", "SCHEMADIFF_PGBOUNCER_NEWER", |to| {
            // A state of its own: what the system knows of packages stays as it is.
            let state = to.join("apt");
            for inner in ["lists/partial", "cache/archives/partial"] {
                fs::create_dir_all(state.join(inner)).map_err(|e| e.to_string())?;
            }
            let source = "deb http://deb.debian.org/debian trixie main\n";
            fs::write(state.join("sources.list"), source).map_err(|e| e.to_string())?;
            fs::write(state.join("status"), "").map_err(|e| e.to_string())?;
            let at = |option: &str, inner: &str| format!("{option}={}", state.join(inner).display());
            let options = [
                at("Dir::Etc::sourcelist", "sources.list"),
                "Dir::Etc::sourceparts=/dev/null".to_owned(),
                at("Dir::State", ""),
                at("Dir::State::status", "status"),
                at("Dir::Cache", "cache"),
            ];
            apt_get(to, &options, &["update"])?;
            apt_get(to, &options, &NEWER)?;
            fs::remove_dir_all(&state).map_err(|e| e.to_string())
        });
        let libraries = libraries_in(&folder);
        let loader = fs::read_dir(&libraries).unwrap().map(|entry| entry.unwrap().path());
        let loader = loader
            .into_iter()
            .find(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("ld-linux")));
        let loader = loader.unwrap_or_else(|| panic!("there is no loader in {}", libraries.display()));
        let command = vec![loader, "--library-path".into(), libraries, folder.join("usr/sbin/pgbouncer")];
        Self { command, libraries: None }
    }
}

/// Where packages put it.
const INSTALLED: [&str; 4] =
    ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/usr/local/bin/pgbouncer", "/opt/homebrew/bin/pgbouncer"];

/// Whether it keeps prepared statements, as it does from 1.21 on.
fn prepares(program: &str) -> bool {
    let said = run(Command::new(program).arg("--version")).unwrap_or_default();
    let version =
        said.lines().next().and_then(|line| line.strip_prefix("PgBouncer 1.")?.split('.').next()?.parse().ok());
    version.is_some_and(|minor: u32| minor >= 21)
}

/// PgBouncer 1.24 of Debian 13, and every library that it loads.
const NEWER: [&str; 16] = [
    "download",
    "pgbouncer",
    "libaudit1",
    "libc6",
    "libcap-ng0",
    "libcap2",
    "libcares2",
    "libevent-2.1-7t64",
    "libgcc-s1",
    "liblz4-1",
    "liblzma5",
    "libpam0g",
    "libssl3t64",
    "libsystemd0",
    "libzstd1",
    "zlib1g",
];

/// The folder of that name among the engines, made by `get` where there is none: it puts packages into a folder.
fn downloaded(name: &str, variable: &str, get: impl FnOnce(&Path) -> Result<(), String>) -> PathBuf {
    let engines = engines_folder();
    fs::create_dir_all(&engines).unwrap();
    let lock = File::create(engines.join(".lock")).unwrap();
    lock.lock().unwrap();
    let folder = engines.join(name);
    if !folder.exists() {
        eprintln!("PgBouncer is not installed: downloading Debian's packages into {}", engines.display());
        unpack(&engines.join(format!("{name}.unfinished")), &folder, get).unwrap_or_else(|why| {
            panic!(
                "this test needs PgBouncer and could not get it ({why}).\nInstall it, in a version that will do, \
                 or name the program in {variable}."
            )
        });
    }
    folder
}

fn unpack(unfinished: &Path, folder: &Path, get: impl FnOnce(&Path) -> Result<(), String>) -> Result<(), String> {
    let _ = fs::remove_dir_all(unfinished);
    fs::create_dir_all(unfinished).map_err(|e| e.to_string())?;
    get(unfinished)?;
    for package in fs::read_dir(unfinished).map_err(|e| e.to_string())? {
        let package = package.map_err(|e| e.to_string())?.path();
        run(Command::new("dpkg").arg("-x").arg(&package).arg(unfinished))?;
        fs::remove_file(package).map_err(|e| e.to_string())?;
    }
    fs::rename(unfinished, folder).map_err(|e| e.to_string())
}

fn apt_get(within: &Path, options: &[String], args: &[&str]) -> Result<(), String> {
    let options = options.iter().flat_map(|option| ["-o", option]);
    run(Command::new("apt-get").args(options).args(args).current_dir(within)).map(drop)
}

fn libraries_in(folder: &Path) -> PathBuf {
    let inner = fs::read_dir(folder.join("usr/lib")).unwrap().map(|entry| entry.unwrap().path());
    let mut inner = inner.filter(|path| path.is_dir());
    let found = inner.find(|path| path.display().to_string().contains("linux-gnu"));
    found.unwrap_or_else(|| panic!("there are no libraries in {}", folder.display()))
}
