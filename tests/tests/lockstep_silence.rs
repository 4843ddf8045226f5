//! A network that dies without a word: nothing is refused and nothing ends, answers only stop coming.

use std::{
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};

use schemadiff::{
    Lockstep,
    lockstep::{
        Ready,
        admin::{ApplyOptions, apply, status},
    },
    model::Dialect,
    plan::Phase,
};
use schemadiff_tests::{
    engine::{Postgres, TestDatabase},
    lockstep::{Recorder, first, migrations, old_code, second},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};

const DIALECT: Dialect = Dialect::Postgres;

/// Passes everything on until it is dead, and then keeps everything.
struct Network {
    port: u16,
    dead: watch::Sender<bool>,
}

impl Network {
    async fn before(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (dead, is_dead) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mut is_dead = is_dead.clone();
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await else { return };
                    let ((mut a, mut b), (mut c, mut d)) = (client.into_split(), server.into_split());
                    let death = async { is_dead.wait_for(|dead| *dead).await.is_ok() };
                    tokio::select! {
                        biased;
                        _ = death => {}
                        () = pump(&mut a, &mut d) => return,
                        () = pump(&mut c, &mut b) => return,
                    }
                    // Both ends stay open: what nobody closes, nobody notices.
                    std::future::pending::<()>().await;
                    drop((a, b, c, d));
                });
            }
        });
        Self { port, dead }
    }

    /// No word comes through any more, on whatever connection.
    fn dies(&self) {
        self.dead.send_replace(true);
    }

    /// New connections come through again; those that were open stay dead.
    fn comes_back(&self) {
        self.dead.send_replace(false);
    }

    fn url(&self, db: &TestDatabase) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{}", self.port, db.name)
    }
}

async fn pump(from: &mut tokio::net::tcp::OwnedReadHalf, to: &mut tokio::net::tcp::OwnedWriteHalf) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

async fn until(lockstep: &Lockstep, within: Duration, wanted: impl Fn(&Ready) -> bool) {
    let since = Instant::now();
    loop {
        let ready = lockstep.ready().await;
        if wanted(&ready) {
            return;
        }
        assert!(since.elapsed() < within, "{ready:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_notices_and_comes_back_and_a_shutdown_ends() {
    let db = Postgres::shared().database();
    let network = Network::before(Postgres::shared().port()).await;
    let instance = Lockstep::builder("shop", migrations(DIALECT, &[first(DIALECT)]))
        .database_url(network.url(&db))
        .schema(old_code(DIALECT))
        .heartbeat(Duration::from_millis(100))
        .grace(Duration::from_secs(2))
        .start()
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    network.dies();
    until(&instance, Duration::from_secs(20), |r| matches!(r, Ready::Unreachable { .. })).await;
    // What was opened until now stays dead, new connections come through.
    network.comes_back();
    until(&instance, Duration::from_secs(20), |r| *r == Ready::Yes).await;
    assert_eq!(status(&db.url, None).await.unwrap().versions[0].instances.len(), 1);

    network.dies();
    let asked = Instant::now();
    instance.shutdown().await;
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
}

/// A transaction that has written.
async fn writer(db: &TestDatabase) -> sqlx::PgConnection {
    let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect(&db.url).await.unwrap();
    sqlx::Executor::execute(&mut connection, "BEGIN; LOCK TABLE users IN ROW EXCLUSIVE MODE").await.unwrap();
    connection
}

/// What the executor sends takes long, and its connection is forgotten by something on the way, as an idle one is by a
/// firewall. The statement comes to its end on the server, and nobody hears of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_statement_whose_answer_is_lost_is_gone_on_from() {
    let db = Postgres::shared().database();
    let network = Network::before(Postgres::shared().port()).await;
    let plans = [first(DIALECT), second(DIALECT)];
    let all = migrations(DIALECT, &plans);
    let until_filled = ApplyOptions { until: Phase::Expand, ..ApplyOptions::default() };
    apply(&db.url, &all, &until_filled, Arc::new(schemadiff::lockstep::NoProgress)).await.unwrap();
    db.execute("INSERT INTO users (id, fullname) SELECT i, 'User ' || i FROM generate_series(1, 500) i").await;

    // A concurrent build waits for a transaction that writes, for as long as the test wants, and does not begin beside one
    // that is old already.
    let mut old = writer(&db).await;
    let (recorder, url) = (Recorder::default(), network.url(&db));
    let progress = recorder.shared();
    let options = ApplyOptions { wait: Some(Duration::from_secs(60)), ..ApplyOptions::default() };
    let going = tokio::spawn(async move { apply(&url, &all, &options, progress).await });
    let building = "SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() \
                    AND query LIKE 'CREATE INDEX CONCURRENTLY%' AND state = 'active' AND wait_event_type = 'Lock'";
    'begins: loop {
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(3) {
            if db.text(building).await.as_deref() == Some("1") {
                break 'begins;
            }
            assert!(!going.is_finished(), "{:?}", going.await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // The next one begins before this one ends.
        let next = writer(&db).await;
        sqlx::Connection::close(std::mem::replace(&mut old, next)).await.unwrap();
    }
    // The watcher is on a connection of its own by now; both are forgotten.
    tokio::time::sleep(Duration::from_millis(500)).await;
    network.dies();
    tokio::time::sleep(Duration::from_millis(100)).await;
    network.comes_back();
    tokio::time::sleep(Duration::from_millis(200)).await;
    sqlx::Connection::close(old).await.unwrap();

    let since = Instant::now();
    going.await.unwrap().unwrap();
    println!("it went on after {:?}", since.elapsed());
    assert!(since.elapsed() > Duration::from_secs(5), "the answer was not lost: {:?}", since.elapsed());
    assert!(since.elapsed() < Duration::from_secs(90), "{:?}", since.elapsed());
    assert!(db.try_execute("SELECT fullname FROM users").await.is_err(), "it came to its end");
    let built = "SELECT count(*)::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
                 WHERE c.relname = 'users_email_key_idx' AND i.indisvalid";
    assert_eq!(db.text(built).await.as_deref(), Some("1"));
    let open = "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND database = \
                (SELECT oid FROM pg_database WHERE datname = current_database())";
    assert_eq!(db.text(open).await.as_deref(), Some("0"), "the session that was given up holds nothing");
}
