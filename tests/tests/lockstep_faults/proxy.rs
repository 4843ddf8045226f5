//! A proxy on the loopback address: connections that break, stall, and lose answers, and a server that moves.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU16, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

const FORWARD: u8 = 0;
const STALL: u8 = 1;
const SWALLOW: u8 = 2;

/// One for each schedule, so that what breaks is its own.
pub struct Proxy {
    pub port: u16,
    target: Arc<AtomicU16>,
    mode: Arc<AtomicU8>,
    cut: watch::Sender<u64>,
    listening: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Proxy {
    pub async fn new(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (target, mode) = (Arc::new(AtomicU16::new(target)), Arc::new(AtomicU8::new(FORWARD)));
        let (cut, cuts) = watch::channel(0);
        let (to, how) = (Arc::clone(&target), Arc::clone(&mode));
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (to, how, cuts) = (to.load(Ordering::SeqCst), Arc::clone(&how), cuts.clone());
                tokio::spawn(async move {
                    // A server that is down is a connection that ends at once.
                    if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await {
                        between(client, server, how, cuts).await;
                    }
                });
            }
        });
        Self { port, target, mode, cut, listening }
    }

    /// Every connection breaks now.
    pub fn cut(&self) {
        self.cut.send_modify(|times| *times += 1);
    }

    /// Nothing comes through for a while.
    pub async fn stall(&self, time: Duration) {
        self.mode.store(STALL, Ordering::SeqCst);
        tokio::time::sleep(time).await;
        self.mode.store(FORWARD, Ordering::SeqCst);
    }

    /// The server does what it is told, and its answers are lost with the connections: nobody knows whether a commit went
    /// through.
    pub async fn swallow(&self, time: Duration) {
        self.mode.store(SWALLOW, Ordering::SeqCst);
        tokio::time::sleep(time).await;
        self.mode.store(FORWARD, Ordering::SeqCst);
    }

    /// From now on it is another server.
    pub fn lead_to(&self, target: u16) {
        self.target.store(target, Ordering::SeqCst);
        self.cut();
    }
}

async fn between(client: TcpStream, server: TcpStream, mode: Arc<AtomicU8>, mut cuts: watch::Receiver<u64>) {
    cuts.mark_unchanged();
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::select! {
        () = pump(from_client, to_server, &mode, false) => {}
        () = pump(from_server, to_client, &mode, true) => {}
        _ = cuts.changed() => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mode: &AtomicU8, answers: bool) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        while mode.load(Ordering::SeqCst) == STALL {
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        if answers && mode.load(Ordering::SeqCst) == SWALLOW {
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
